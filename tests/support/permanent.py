"""Permanent records of the tiny world."""

from collections.abc import Sequence
from typing import Any

from tests.support.world import World

LEARNER = {"kind": "prompt_head", "start": "permanent", "share": 0.5, "epochs": 4, "batch": 4}
PROMPT = {"prompt": {"width": 2, "init": "random"}}
RANDOM = {"kind": "random", "shards": 3, "unit": "record"}
PARTITIONS = {
    "random": RANDOM,
    "permanent": {"sampled": "permanent", "sample_size": 6, "shards": 3},
    "adaptive": {"sample_size": 8, "shards": 3},
    "people": {"sampled": "permanent", "sample_size": 3, "shards": 2, "unit": "subject"},
    "bounded": {**RANDOM, "shards": 1, "bound": 12},
}
STAFF = tuple(f"person-{n}" for n in range(0, 20, 3))


def listed(world: World, subjects: Sequence[str]) -> str:
    """A file of subjects."""
    path = world.folder / f"permanent-{len(list(world.folder.glob('permanent-*')))}.txt"
    path.write_text("".join(f"{name}\n" for name in subjects))
    return str(path)


def those(world: World, subjects: Sequence[str]) -> list[str]:
    """The records of subjects."""
    pairs = zip(world.ids, world.subjects, strict=True)
    return [name for name, subject in pairs if subject in subjects]


def common_start(world: World, kind: str = "random", **learner: object) -> dict[str, Any]:
    """Sections of a configuration with a common start."""
    partition = PARTITIONS[kind]
    aggregation = {"kind": "all"} if partition.get("kind") == "random" else {"kind": "nearest"}
    return {
        "partition": dict(partition),
        "data": {"permanent": listed(world, STAFF)},
        "learner": {**LEARNER, **PROMPT, **learner},
        "aggregation": aggregation,
    }
