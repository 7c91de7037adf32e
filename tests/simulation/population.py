"""The people of a simulation, their pictures, and what training on some of them gives.

A population is trained once in each process, by the package's own `train`; each seed begins with a
copy.
"""

import hashlib
import io
import tempfile
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from lmeraser_ray.config import Config
from lmeraser_ray.data.spec import PictureSpec
from lmeraser_ray.pipeline.manifest import BackboneCard

CARD = BackboneCard(
    "ab" * 32, 16, 4, PictureSpec(16, 16, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
)
NAMES: tuple[tuple[str, ...], ...] = (
    ("person-1", "person-11", "person-111", "person-2", "person-21", "anna"),
    ("requests", "manifests", "record_id", "RECEIVED", "2026-12-30", "subject"),
    (
        "er-20261130-0123456789abcdef",
        "deadbeefdeadbeefdeadbeef",
        "Zoë",
        "写真",
        'a"b\\c',
        "publication",
    ),
    ("lmeraser", "CERTIFIED", "objects/records", "sqlite", "person-1", "secret"),
)
"""Subjects: plain ones that contain each other; words of the program; ids of its own shapes."""
SYSTEMS: tuple[dict[str, object], ...] = (
    {
        "partition": {"kind": "random", "shards": 3, "unit": "record"},
        "aggregation": {"kind": "all"},
    },
    {
        "partition": {"kind": "adaptive", "sample_size": 5, "shards": 3, "unit": "record"},
        "aggregation": {"kind": "nearest", "shards": 2},
    },
)
KINDS = len(NAMES) * len(SYSTEMS)


def picture(seed: int) -> bytes:
    """A small noisy PNG."""
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def features_of(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Features [b, d] float32 of pictures [b, 3, s, s] uint8: a function of each picture alone."""
    rows = [
        np.frombuffer(hashlib.sha512(np.ascontiguousarray(one).tobytes()).digest()[:32], np.int16)
        for one in pixels
    ]
    return np.stack(rows).astype(np.float32) / np.float32(1 << 12)


@dataclass(frozen=True)
class Person:
    """A record. trace: what only this record leaves in bytes."""

    record: str
    subject: str
    label: str
    image: bytes

    @cached_property
    def traces(self) -> dict[str, bytes]:
        """What a certified erasure must not leave anywhere: the picture, the pixels, the
        features."""
        with Image.open(io.BytesIO(self.image)) as opened:
            pixels = np.asarray(opened).transpose(2, 0, 1)
        feature = features_of(pixels[None])[0].tobytes()
        return {"picture": self.image[60:140], "pixels": pixels.tobytes()[:64], "feature": feature}


@dataclass(frozen=True)
class Population:
    """Twelve records of six people, and the system that they train. kind: which of `KINDS`."""

    kind: int
    folder: Path

    @cached_property
    def people(self) -> tuple[Person, ...]:
        names = NAMES[self.kind // len(SYSTEMS)]
        return tuple(
            Person(
                f"{name}/{at}" if at else name, name, f"label-{(i + at) % 2}", picture(100 * i + at)
            )
            for i, name in enumerate(names)
            for at in range(2)
        )

    @cached_property
    def config(self) -> Config:
        """What is trained, from a file of all records."""
        path = self.folder / f"people-{self.kind}.parquet"
        columns = {
            "record_id": [each.record for each in self.people],
            "subject_id": [each.subject for each in self.people],
            "label": [each.label for each in self.people],
            "image": [each.image for each in self.people],
        }
        pq.write_table(pa.table(columns), path)
        tree: dict[str, object] = {
            "data": {
                "source": "parquet",
                "path": str(path),
                "subject_column": "subject_id",
                "buckets": 2,
                "test_fraction": 0.0,
            },
            "backbone": {"name": "tiny", "weights": "random", "input_size": 16, "batch": 4},
            "learner": {"kind": "class_means"},
            "execution": {"engine": "inline"},
            "queue": {"lease": 20.0, "poll": 5.0},
            **SYSTEMS[self.kind % len(SYSTEMS)],
        }
        return Config.model_validate(tree)

    def records_of(self, records: frozenset[str], subjects: frozenset[str]) -> frozenset[str]:
        """The records that a request for these names."""
        return frozenset(
            each.record
            for each in self.people
            if each.record in records or each.subject in subjects
        )

    @cached_property
    def all(self) -> frozenset[str]:
        """The ids of all records."""
        return frozenset(each.record for each in self.people)


@cache
def scratch_folder() -> Path:
    """A folder of this process for the files of sources."""
    made = tempfile.TemporaryDirectory(prefix="lmeraser-simulation-")
    _kept.append(made)
    return Path(made.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []


@cache
def population(kind: int) -> Population:
    """One of `KINDS` populations."""
    return Population(kind, scratch_folder())
