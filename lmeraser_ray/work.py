"""The work that a cluster, or this process, carries out: key in, key out.

A job says which rows of which buckets it needs; a worker reads just these from the store, computes, and writes its result atomically. So a
job may run twice, anywhere, and do no harm. Nothing here knows Ray.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lmeraser_ray import numerics
from lmeraser_ray.backbone import Backbone, load_backbone
from lmeraser_ray.config import Config
from lmeraser_ray.data.buckets import Bucket, columns, read_pictures, read_rows
from lmeraser_ray.data.pictures import prepare_picture
from lmeraser_ray.data.spec import PictureSpec
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.learners.constituent import Constituent
from lmeraser_ray.learners.prompt_head import PromptHead, ShardData
from lmeraser_ray.plan import canonical_order
from lmeraser_ray.state.store import Store, StoredObject

Pixels = NDArray[np.uint8]
KEPT_BYTES = 256 << 20
"""Rows of buckets (no pictures) that a worker keeps: a shard's members lie in all buckets, and the next shard's too."""
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Rows:
    """Some rows of one bucket: `rows` [m] int64, ascending."""

    bucket: Bucket
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Read:
    """Rows as they were read. pixels: [m, 3, s, s] uint8; digests: [m, 32] uint8; labels: m names."""

    pixels: Pixels
    digests: NDArray[np.uint8]
    labels: tuple[str, ...]


def prepare(image: bytes, spec: PictureSpec, max_pixels: int) -> Pixels:
    """An encoded picture as the backbone's pixels [3, s, s] uint8."""
    interpolation = spec.interpolation
    if interpolation not in ("bilinear", "bicubic", "nearest"):
        raise ConfigError(f"backbone.interpolation is {interpolation}: choose bilinear, bicubic or nearest.")
    return prepare_picture(
        image,
        input_size=spec.input_size,
        resize=spec.resize,
        interpolation=interpolation,  # type: ignore[arg-type]
        max_pixels=max_pixels,
    )


def read(store: Store, part: Rows, spec: PictureSpec, max_pixels: int, rows: pa.Table | None = None) -> Read:
    """Read and decode rows of a bucket, each checked against its record's digest. `rows` are the bucket's, where they are known."""
    table = (read_rows(store, part.bucket) if rows is None else rows).take(part.rows)
    pixels = np.empty((table.num_rows, 3, spec.input_size, spec.input_size), np.uint8)
    for at, image in enumerate(read_pictures(store, part.bucket, table)):
        pixels[at] = prepare(image, spec, max_pixels)
    labels, digests = columns(table, "label", "digest")
    return Read(pixels, np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32), tuple(labels))  # type: ignore[arg-type]


@dataclass
class Worker:
    """What a process that does jobs holds: the store, the configuration and, once needed, the backbone."""

    store: Store
    config: Config
    learner: PromptHead
    expected: str
    """The backbone identity that the plan was made for."""
    gpus: float | None = None
    """GPUs, or the fraction of one, that this process was given; None is whatever it sees."""
    _rows: dict[StoredObject, pa.Table] = field(default_factory=dict, repr=False)

    @cached_property
    def backbone(self) -> Backbone:
        """The frozen backbone, loaded at first use. Errors: `ConfigError` where its weights are not those that were planned with."""
        device = numerics.choose_device(self.config.execution.device, self.gpus)
        numerics.make_deterministic()
        backbone = load_backbone(self.config.backbone, device)
        if self.expected != backbone.identity:
            raise ConfigError(
                f"The backbone {self.config.backbone.name} with weights {self.config.backbone.weights} has the identity "
                f"{backbone.identity[:12]}…, but this workspace was trained with {self.expected[:12]}…: use the same weights, "
                "timm model and preprocessing, or a new workspace."
            )
        return backbone

    @property
    def spec(self) -> PictureSpec:
        """How pictures become pixels."""
        return self.backbone.spec

    def read(self, part: Rows) -> Read:
        """Read and decode rows of a bucket."""
        rows = self._rows.get(part.bucket.records)
        if rows is None:
            rows = read_rows(self.store, part.bucket)
            if sum(table.nbytes for table in self._rows.values()) < KEPT_BYTES:
                self._rows[part.bucket.records] = rows
        return read(self.store, part, self.spec, self.config.data.max_pixels, rows)


class Job(Protocol[T_co]):
    """A unit of work for a worker. `weight` orders jobs, the heaviest first."""

    @property
    def weight(self) -> int:
        """Relative length of the work."""

    def run(self, worker: Worker) -> T_co:
        """Do it."""


@dataclass(frozen=True)
class Trained:
    """A shard that was trained. `passes`: records times epochs, the work that was done."""

    key: str
    constituent: StoredObject
    passes: int


@dataclass(frozen=True)
class TrainShard:
    """Train one shard from its members' rows and store its constituent."""

    key: str
    members: tuple[Rows, ...]

    @property
    def weight(self) -> int:
        """Records in the shard."""
        return sum(len(part.rows) for part in self.members)

    def run(self, worker: Worker, progress: Callable[[int], object] = lambda _: None) -> Trained:
        """Train on one thread: on the CPU training bits depend on their number, and shards run side by side."""
        shard = self._shard([worker.read(part) for part in self.members])
        passes: list[int] = []

        def count(records: int) -> None:
            passes.append(records)
            progress(records)

        with numerics.one_thread():
            constituent = worker.learner.train(shard, worker.backbone, count)
        constituent.about["numerics"] = numerics.describe(worker.backbone.device)
        stored = worker.store.put("constituents", self.key, [constituent.to_bytes()])
        return Trained(self.key, stored, sum(passes))

    def _shard(self, parts: list[Read]) -> ShardData:
        """The members in canonical order, whatever buckets they lie in."""
        order = canonical_order(np.concatenate([part.digests for part in parts]))
        labels = [label for part in parts for label in part.labels]
        return ShardData(self.key, np.concatenate([part.pixels for part in parts])[order], tuple(labels[i] for i in order))


@dataclass(frozen=True)
class Answers:
    """A constituent's answers to queries. probabilities: [m, c] float32, columns as `classes`; rows as the job's."""

    classes: tuple[str, ...]
    probabilities: NDArray[np.float32]


@dataclass(frozen=True)
class AnswerRows:
    """Ask one constituent about stored records (in the order of `members`)."""

    constituent: StoredObject
    members: tuple[Rows, ...]

    @property
    def weight(self) -> int:
        """Queries."""
        return sum(len(part.rows) for part in self.members)

    def run(self, worker: Worker) -> Answers:
        """Read the pictures and answer. Where there is one class, no picture needs to be read."""
        constituent = Constituent.from_bytes(worker.store.read(self.constituent))
        if len(constituent.classes) == 1:
            return Answers(constituent.classes, np.ones((self.weight, 1), np.float32))
        pixels = np.concatenate([worker.read(part).pixels for part in self.members])
        with numerics.one_thread():
            return Answers(constituent.classes, worker.learner.answer(constituent, worker.backbone, pixels))
