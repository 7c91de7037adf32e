"""Jobs: the work that a cluster, or this process, carries out. Keys go in, keys come out.

A job names the rows of the buckets that it needs; a worker reads only these from the store,
computes, and writes its result atomically. So a job may run twice, on any machine, and do no harm.
Nothing here imports Ray.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import Config
from lmeraser_ray.config.learner import LearnerConfig
from lmeraser_ray.data.order import canonical_order
from lmeraser_ray.data.reader import Read, Reader, Rows
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models import numerics
from lmeraser_ray.models.aggregation.answers import Answers
from lmeraser_ray.models.backbone import Backbone, load_backbone
from lmeraser_ray.models.learners.base import (
    Learner,
    Probabilities,
    ShardData,
    Stage,
    Watch,
    ignore,
)
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.passes import stage_passes
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.storage.store import Listing, Store, StoredObject

T_co = TypeVar("T_co", covariant=True)
Inputs = NDArray[np.uint8] | NDArray[np.float32]
ANSWER_ROWS = 16
"""Features that a learner answers at a time."""


@dataclass(frozen=True)
class Part:
    """Some rows of one bucket. features: the bucket's, for a learner that needs features; None for
    one that needs pictures."""

    rows: Rows
    features: StoredObject | None = None

    def take(self, rows: NDArray[np.int64]) -> "Part":
        """Some of the rows, by their places among them [m] int64, ascending."""
        about = self.rows.about and self.rows.about.take(rows)
        return Part(Rows(self.rows.bucket, self.rows.rows[rows], about), self.features)


@dataclass
class Worker:
    """What a process needs to run jobs: the store, the configuration, the learner of each system
    that it blends (one, where there is one system) and, at first use, the backbone."""

    store: Store
    config: Config
    learners: tuple[Learner, ...]
    card: BackboneCard
    """Of the backbone that the plan was made for."""
    gpus: float | None = None
    """GPUs, or the fraction of one, that this process may use; None: those that it sees."""
    report: Callable[[int], object] = ignore
    """Called with the record passes that the training under way has done so far."""

    @cached_property
    def backbone(self) -> Backbone:
        """The frozen backbone, loaded at first use. Errors: `ConfigError` where its identity is not
        that of the plan's backbone."""
        device = numerics.choose_device(self.config.execution.device, self.gpus)
        numerics.make_deterministic()
        backbone = load_backbone(
            self.config.with_fold().backbone,
            device,
            classifier=any(learner.needs_classifier for learner in self.learners),
            data=self.config.data,
        )
        if (self.card.identity, self.card.classifier) != (
            backbone.identity,
            backbone.classifier_identity,
        ):
            raise ConfigError(
                f"The backbone {self.config.backbone.name} with weights "
                f"{self.config.backbone.weights} has the identity {backbone.identity[:12]}…, but "
                f"this workspace was trained with {self.card.identity[:12]}…: use the same "
                "weights, timm model and preprocessing, or a new workspace."
            )
        return backbone

    @cached_property
    def reader(self) -> Reader:
        """Reads the store's records for the backbone."""
        return Reader(self.store, self.card.spec, self.config.data.max_pixels)

    def see(self, parts: Sequence[Part], *, decode: bool = True) -> Read:
        """Read rows as the parts name them, in their order: features [m, d] float32, or pictures
        [m, 3, s, s] uint8. decode: False checks the pictures and returns none of them."""
        found = [self.reader.read(part.rows, part.features, decode=decode) for part in parts]
        inputs: list[Any] = [read.inputs for read in found]
        labels = tuple(label for read in found for label in read.labels)
        return Read(
            np.concatenate(inputs), np.concatenate([read.digests for read in found]), labels
        )

    def train(self, shard: ShardData, stage: Stage, watch: Watch, member: int = 0) -> Constituent:
        """Train one stage on one thread: on a CPU the bits depend on the number of threads, and
        shards are trained side by side. member: the system whose shard it is."""
        learner = self.learners[member]
        with numerics.one_thread():
            if learner.needs == "features":
                return learner.train(shard, stage=stage, watch=watch)
            return learner.train(shard, self.backbone, stage=stage, watch=watch)

    def answer(
        self, constituent: Constituent, inputs: Inputs, group: int, member: int = 0
    ) -> "Answers":
        """A constituent's answers to queries [b, …], b ≥ 1, each the same to the bit whatever else
        is asked. A constituent with a single class is certain of it. group: the shard that answers,
        for a joint learner; member: the system whose constituent it is."""
        learner = self.learners[member]
        if len(constituent.classes) == 1:
            return Answers(constituent.classes, np.ones((len(inputs), 1), np.float32))
        if learner.needs == "features":
            seen, rows = np.asarray(inputs, np.float32), ANSWER_ROWS
            answer = partial(learner.answer, constituent, group=group)
        else:
            seen, rows = np.asarray(inputs, np.uint8), self.card.batch
            answer = partial(learner.answer, constituent, self.backbone, group=group)
        with numerics.one_thread():
            found = in_blocks(answer, seen, rows)
        return Answers(constituent.classes, found)

    def numerics(self, member: int = 0) -> dict[str, Any]:
        """The numerics on which the bytes of a system's constituent depend besides its key."""
        if self.learners[member].needs == "features":
            return numerics.describe(numerics.choose_device("cpu"))
        return numerics.describe(self.backbone.device)


def in_blocks(
    answer: Callable[[NDArray[Any]], Probabilities], inputs: NDArray[Any], rows: int
) -> Probabilities:
    """Answers to inputs [b, …], b ≥ 1, of which `answer` gets exactly `rows` at a time, the last
    ones filled up with zeros: the bits of a matrix product depend on its shape."""
    found = []
    for at in range(0, len(inputs), rows):
        part = inputs[at : at + rows]
        padded = np.zeros((rows, *inputs.shape[1:]), inputs.dtype)
        padded[: len(part)] = part
        found.append(answer(padded)[: len(part)])
    return np.concatenate(found)


class Job(Protocol[T_co]):
    """A unit of work for a worker."""

    @property
    def name(self) -> str:
        """What the job does, in a word: for dashboards and logs."""

    @property
    def key(self) -> str | None:
        """The key of the constituent that the job trains or asks; None where there is none."""

    @property
    def weight(self) -> int:
        """How long the job takes, relative to others."""

    def run(self, worker: Worker) -> T_co:
        """Do the work."""


@dataclass(frozen=True)
class Trained:
    """A constituent that was trained. stages: the objects of the stages that were trained, in
    order; passes: the record passes that this took; statistics: those of the shard, where it keeps
    some (without a stage, where only they were missing)."""

    key: str
    stages: tuple[StoredObject, ...]
    passes: int
    statistics: StoredObject | None = None

    @property
    def objects(self) -> dict[str, StoredObject]:
        """All that was made, by key."""
        kept = [self.statistics] if self.statistics else []
        return {item.key: item for item in (*self.stages, *kept)}


@dataclass(frozen=True)
class TrainConstituent:
    """Train one constituent from stage `first` on and store each stage.

    keys: of all stages; slices: for each stage the rows that it adds; share: of the configured
    epochs, for each stage; before: the constituent of the stage before `first`; groups: for a joint
    learner the shard of each row, in the order of the rows; member: the system that it belongs to.
    """

    keys: tuple[str, ...]
    slices: tuple[tuple[Part, ...], ...]
    share: float = 1.0
    first: int = 0
    before: StoredObject | None = None
    groups: NDArray[np.int32] | None = None
    member: int = 0
    name = "train"

    @property
    def key(self) -> str:
        """The finished constituent's key."""
        return self.keys[-1]

    @property
    def weight(self) -> int:
        """How many records the stages to train see."""
        return sum(self._sizes()[self.first :])

    def _sizes(self) -> list[int]:
        """How many records each stage sees."""
        return list(accumulate(sum(len(part.rows.rows) for part in parts) for parts in self.slices))

    def stages(self, worker: Worker, watch: Watch) -> Iterator[tuple[str, Constituent]]:
        """Train the stages from `first` on, each from the one before, and yield the key and the
        constituent of each. Stores nothing."""
        parts = [part for slice_ in self.slices for part in slice_]
        seen = worker.see(parts, decode=self._looks(worker, parts))
        start = Constituent.from_bytes(worker.store.read(self.before)) if self.before else None
        for key, size in list(zip(self.keys, self._sizes(), strict=True))[self.first :]:
            start = worker.train(
                shard_of(key, seen, size, self.groups), Stage(start, self.share), watch, self.member
            )
            yield key, start

    def stored(self, listing: Listing, learner: LearnerConfig) -> Trained | None:
        """What a run of this job that died has stored, as that would have returned it; None where a
        stage is missing. learner: of the system."""
        stages = [listing.get(("constituents", key)) for key in self.keys[self.first :]]
        abouts = [part.rows.about for parts in self.slices for part in parts]
        found = [item for item in stages if item]
        if len(found) < len(stages) or None in abouts:
            return None
        labels = [label for about in abouts if about for label in about.labels]
        sizes = self._sizes()[self.first :]
        several = np.array([len(set(labels[:size])) > 1 for size in sizes])
        passes = stage_passes(learner)(np.array(sizes), several)
        return Trained(self.key, tuple(found), int(passes.sum()))

    def _looks(self, worker: Worker, parts: Sequence[Part]) -> bool:
        """Whether a stage looks at the inputs: the last one sees all classes."""
        learner = worker.learners[self.member]
        labels = {label for part in parts for label in worker.reader.about(part.rows).labels}
        return learner.needs == "features" or learner.looks(len(labels))

    def run(self, worker: Worker) -> Trained:
        """Train and store the stages in order, each from the constituent of the one before."""
        passes = 0

        def count(records: int) -> None:
            nonlocal passes
            passes += records
            worker.report(passes)

        stages: list[StoredObject] = []
        for key, found in self.stages(worker, Watch(records=count)):
            found.about["numerics"] = worker.numerics(self.member)
            stages.append(worker.store.put("constituents", key, [found.to_bytes()]))
        return Trained(self.key, tuple(stages), passes)


def shard_of(key: str, seen: Read, size: int, groups: NDArray[np.int32] | None) -> ShardData:
    """The first `size` rows, in canonical order, whatever buckets they are in."""
    order = canonical_order(seen.digests[:size])
    labels = tuple(seen.labels[i] for i in order)
    inputs = seen.inputs[:size][order] if len(seen.inputs) else seen.inputs
    return ShardData(key, inputs, labels, None if groups is None else groups[:size][order])
