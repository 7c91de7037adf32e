"""Every system over the tiny world: a partition, a learner, an aggregation and slices."""

import json
from pathlib import Path
from typing import Any

from lmeraser_ray.config import Config
from tests.support.world import TINY, World, picture

SGD: dict[str, Any] = {"epochs": 2, "batch": 4}
PICTURES: dict[str, Any] = {**SGD, "crop": 1, "flip": True}
PROMPT: dict[str, Any] = {"prompt": {"width": 2, "init": "random"}}
ADAPTIVE = {"kind": "adaptive", "sample_size": 12, "shards": 4}
NEAREST = {"kind": "nearest", "shards": 2}

LEARNERS: dict[str, dict[str, Any]] = {
    "padding": {**PICTURES, "prompt": {"width": 2, "init": "random"}},
    "fixed_patch": {**PICTURES, "prompt": {"kind": "fixed_patch", "width": 5}},
    "random_patch": {**PICTURES, "prompt": {"kind": "random_patch", "width": 5}},
    "none": {**PICTURES, "prompt": {"width": 0}},
    "shared_head": {"kind": "shared_head", **PICTURES, **PROMPT},
    "label_mapping": {"kind": "label_mapping", **PICTURES, **PROMPT},
    "whole_model": {"kind": "whole_model", **PICTURES},
    "linear_probe": {"kind": "linear_probe", **SGD},
    "class_means": {"kind": "class_means"},
    "neighbors": {"kind": "neighbors", "neighbors": 3},
    "ridge": {"kind": "ridge"},
    "ridge_relu": {"kind": "ridge", "projection": 24},
}
PARTITIONS: dict[str, dict[str, Any]] = {
    "adaptive": ADAPTIVE,
    "average": {
        "kind": "adaptive",
        "sample_size": 12,
        "linkage": "average",
        "shards": None,
        "threshold": 0.05,
    },
    "random": {"kind": "random", "shards": 5},
    "one": {"kind": "random", "shards": 1},
}
AGGREGATIONS: dict[str, dict[str, Any]] = {
    "nearest": NEAREST,
    "mean": {"kind": "all"},
    "vote": {"kind": "all", "combine": "vote"},
    "hash": {"kind": "hash"},
}


def public(folder: Path) -> Path:
    """A folder of public pictures."""
    (folder / "deep").mkdir(parents=True, exist_ok=True)
    for i in range(20):
        (folder / "deep" / f"{i}.png").write_bytes(picture(1000 + i, i % 3))
    return folder


def blend(world: World, *members: tuple[str, str, str, float], **data: object) -> Config:
    """Several systems over the tiny world that answer together, each as partition, learner, way and
    weight."""
    trees = [
        {
            "partition": {"unit": "record", **PARTITIONS[partition]},
            "learner": LEARNERS[learner],
            "aggregation": AGGREGATIONS[way],
            "weight": weight,
        }
        for partition, learner, way, weight in members
    ]
    first = trees[0]
    own = {"own" if name == "kind" else name: v for name, v in first["aggregation"].items()}
    tree = json.loads(json.dumps(TINY))
    tree |= {"partition": first["partition"], "learner": first["learner"]}
    tree["aggregation"] = {"kind": "blend", **own, "weight": first["weight"], "others": trees[1:]}
    tree["data"] |= {"path": str(world.path), **data}
    return Config.model_validate(tree)


def system(
    world: World, partition: str, learner: str, way: str, slices: int, **data: object
) -> Config:
    """One system over the tiny world."""
    chosen = (
        {
            "kind": "public",
            "path": str(public(world.folder / "public")),
            "sample_size": 15,
            "shards": 6,
        }
        if partition == "public"
        else PARTITIONS[partition]
    )
    tree = json.loads(json.dumps(TINY))
    tree |= {
        "partition": {"unit": "record", **chosen},
        "learner": {**LEARNERS[learner], "slices": slices},
        "aggregation": AGGREGATIONS[way],
    }
    tree["data"] |= {"path": str(world.path), **data}
    return Config.model_validate(tree)
