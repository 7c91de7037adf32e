"""A tiny world (16-pixel pictures, a random convnet): its whole flow takes tenths of a second."""

import io
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lmeraser_ray.config import Config
from lmeraser_ray.models.learners.base import Learner
from lmeraser_ray.pipeline.engine import InlineEngine, Outcome
from lmeraser_ray.pipeline.jobs import Trained
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.paths import Location, location
from lmeraser_ray.storage.store import Store

TINY = {
    "data": {
        "source": "parquet",
        "subject_column": "subject_id",
        "buckets": 4,
        "test_fraction": 0.2,
    },
    "backbone": {
        "name": "tiny",
        "weights": "random",
        "input_size": 16,
        "batch": 4,
        "readout": {"layer": None, "pool": "mean"},
    },
    "partition": {"sample_size": 12, "shards": 4},
    "learner": {
        "prompt": {"width": 2, "init": "random"},
        "epochs": 2,
        "batch": 4,
        "crop": 1,
        "flip": True,
    },
    "aggregation": {"shards": 2, "temperature": None},
    "execution": {"engine": "inline"},
}
"""A configuration in which everything random in a learner is used."""


def picture(seed: int, label: int = 0, size: int = 16) -> bytes:
    """A small noisy PNG: its brightness is its own, so that shards hold several classes, and a band
    of rows shows its label."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(rng.uniform(40, 160), 20, (size, size, 3))
    pixels[label * 4 : label * 4 + 4] += 60
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def merged(below: object, above: object) -> object:
    """`above` laid over `below`, mapping by mapping."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return {**below, **{name: merged(below.get(name), value) for name, value in above.items()}}


class World:
    """A Parquet file of n records of 3 classes, two records a subject, and ways to train on all or
    some of them."""

    spaces: ClassVar[str | None] = None
    """The URL below which workspaces are, where they are not on the disk."""

    def __init__(self, folder: Path, n: int = 40, classes: int = 3) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.ids = [f"person-{i // 2}/picture-{i}" for i in range(n)]
        self.subjects = [f"person-{i // 2}" for i in range(n)]
        self.labels = [f"class-{i * 7 % classes}" for i in range(n)]
        self.images = [picture(i, i * 7 % classes) for i in range(n)]
        self.path = folder / "records.parquet"
        columns = {
            "record_id": self.ids,
            "subject_id": self.subjects,
            "label": self.labels,
            "image": self.images,
        }
        pq.write_table(pa.table(columns), self.path)
        self._count = 0

    def config(self, **sections: dict[str, object]) -> Config:
        """The tiny configuration, with some fields replaced by section. A section that names a kind
        starts from this kind's defaults."""
        tree = json.loads(json.dumps(TINY))
        for name, values in sections.items():
            tree[name] = (
                values
                if isinstance(values, dict) and "kind" in values
                else merged(tree.get(name), values)
            )
        tree["data"].setdefault("path", str(self.path))
        tree["partition"].setdefault("unit", "record")  # most tests count records
        return Config.model_validate(tree)

    def without(self, ids: Sequence[str], **sections: dict[str, object]) -> Config:
        """The configuration that trains on D \\ U."""
        self._count += 1
        listed = self.folder / f"exclude-{self._count}.txt"
        listed.write_text("".join(f"{name}\n" for name in ids))
        return self.config(
            **{**sections, "data": {**sections.get("data", {}), "exclude": str(listed)}}
        )

    def space(self) -> Location:
        """A new place for a workspace."""
        self._count += 1
        if self.spaces:
            return location(f"{self.spaces}/{secrets.token_hex(8)}/workspace-{self._count}")
        return self.folder / f"workspace-{self._count}"


class Recorder:
    """Makes inline engines and remembers which shards they trained: a test asserts the work and not
    only the answer."""

    def __init__(self, learner: Callable[[Config], Learner] | None = None) -> None:
        self.work: list[Trained] = []
        self.features = 0
        self._learner = learner

    @property
    def trained(self) -> list[str]:
        """The keys of the constituents that were trained, in order."""
        return [work.key for work in self.work]

    def __call__(self, store: Store, config: Config, card: BackboneCard) -> InlineEngine:
        recorder = self

        class Recording(InlineEngine):
            def wait(self, seconds: float | None = None) -> list[Outcome]:
                found = super().wait(seconds)
                recorder.work += [
                    outcome.result for outcome in found if isinstance(outcome.result, Trained)
                ]
                return found

            def features(self, parts: Sequence[object]) -> Iterator[tuple[int, int, object]]:
                recorder.features += sum(len(part.rows) for part in parts)
                yield from super().features(parts)

        return Recording(
            store, config, card, learner=self._learner(config) if self._learner else None
        )

    def session(self, root: Path) -> Session:
        """A session whose engine records."""
        return Session(root, make_engine=self)
