"""The work that a cluster, or this process, carries out: key in, key out.

A job says which rows of which buckets it needs; a worker reads just these from the store, computes,
and writes its result atomically. So a job may run twice, anywhere, and do no harm. Nothing here
knows Ray.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import Config
from lmeraser_ray.data.order import canonical_order
from lmeraser_ray.data.reader import Read, Reader, Rows, pixel_hashes
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models import numerics
from lmeraser_ray.models.aggregation.answers import Answers
from lmeraser_ray.models.backbone import Backbone, load_backbone
from lmeraser_ray.models.learners.base import Learner, ShardData, Stage, Watch, ignore
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.storage.store import Store, StoredObject

T_co = TypeVar("T_co", covariant=True)
Inputs = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True)
class Part:
    """Some rows of one bucket, as a learner needs them: with the bucket's features, or without for
    one that sees pictures."""

    rows: Rows
    features: StoredObject | None = None


@dataclass
class Worker:
    """What a process that does jobs holds: the store, the configuration and, once needed, the
    backbone."""

    store: Store
    config: Config
    learner: Learner
    card: BackboneCard
    """The backbone that the plan was made for."""
    gpus: float | None = None
    """GPUs, or the fraction of one, that this process was given; None is whatever it sees."""
    report: Callable[[int], object] = ignore
    """Told the record passes that the training under way has done so far."""

    @cached_property
    def backbone(self) -> Backbone:
        """The frozen backbone, loaded at first use. Errors: `ConfigError` where its weights are not
        those that were planned with."""
        device = numerics.choose_device(self.config.execution.device, self.gpus)
        numerics.make_deterministic()
        backbone = load_backbone(
            self.config.backbone, device, classifier=self.learner.needs_classifier
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

    def see(self, parts: Sequence[Part]) -> Read:
        """Read rows as the learner needs them, in the order of the parts."""
        found = [self.reader.read(part.rows, part.features) for part in parts]
        inputs: list[Any] = [read.inputs for read in found]
        labels = tuple(label for read in found for label in read.labels)
        return Read(
            np.concatenate(inputs), np.concatenate([read.digests for read in found]), labels
        )

    def train(self, shard: ShardData, stage: Stage, watch: Watch) -> Constituent:
        """Train one stage on one thread: on the CPU training bits depend on their number, and
        shards run side by side."""
        with numerics.one_thread():
            if self.learner.needs == "features":
                return self.learner.train(shard, stage=stage, watch=watch)
            return self.learner.train(shard, self.backbone, stage=stage, watch=watch)

    def answer(self, constituent: Constituent, inputs: Inputs, group: int) -> "Answers":
        """A constituent's answers to queries, seen as the learner needs them. One that knows a
        single class is certain of it."""
        if len(constituent.classes) == 1:
            return Answers(constituent.classes, np.ones((len(inputs), 1), np.float32))
        with numerics.one_thread():
            if self.learner.needs == "features":
                found = self.learner.answer(
                    constituent, np.asarray(inputs, np.float32), group=group
                )
            else:
                found = self.learner.answer(
                    constituent, self.backbone, np.asarray(inputs, np.uint8), group=group
                )
        return Answers(constituent.classes, found)

    def numerics(self) -> dict[str, Any]:
        """What the bytes of a constituent depend on besides its key."""
        if self.learner.needs == "features":
            return numerics.describe(numerics.choose_device("cpu"))
        return numerics.describe(self.backbone.device)


class Job(Protocol[T_co]):
    """A unit of work for a worker."""

    @property
    def name(self) -> str:
        """What it does, in a word: for dashboards and logs."""

    @property
    def key(self) -> str | None:
        """The key of the constituent that it makes or asks, None where it is about none."""

    @property
    def weight(self) -> int:
        """Relative length of the work."""

    def run(self, worker: Worker) -> T_co:
        """Do it."""


@dataclass(frozen=True)
class Trained:
    """A constituent that was trained: its key, the objects of the stages that were trained, in
    order, and the record passes that took."""

    key: str
    stages: tuple[StoredObject, ...]
    passes: int


@dataclass(frozen=True)
class TrainConstituent:
    """Train one constituent from stage `first` on and store each stage.

    keys: of all stages; slices: for each stage the rows that come new to it; before: the
    constituent of the stage before `first`; shares: of the configured epochs for each stage;
    groups: for a joint learner the shard of each row, in the order of the rows.
    """

    keys: tuple[str, ...]
    slices: tuple[tuple[Part, ...], ...]
    share: float = 1.0
    first: int = 0
    before: StoredObject | None = None
    groups: NDArray[np.int32] | None = None
    name = "train"

    @property
    def key(self) -> str:
        """The finished constituent's key."""
        return self.keys[-1]

    @property
    def weight(self) -> int:
        """Records that the stages to train see."""
        return sum(self._sizes()[self.first :])

    def _sizes(self) -> list[int]:
        """Records that each stage sees."""
        return list(accumulate(sum(len(part.rows.rows) for part in parts) for parts in self.slices))

    def stages(self, worker: Worker, watch: Watch) -> Iterator[tuple[str, Constituent]]:
        """Train the stages from `first` on, each from the one before: key and constituent of each.
        Nothing is stored."""
        seen = worker.see([part for parts in self.slices for part in parts])
        start = Constituent.from_bytes(worker.store.read(self.before)) if self.before else None
        for key, size in list(zip(self.keys, self._sizes(), strict=True))[self.first :]:
            start = worker.train(
                shard_of(key, seen, size, self.groups), Stage(start, self.share), watch
            )
            yield key, start

    def run(self, worker: Worker) -> Trained:
        """Train the stages in order, each from the constituent of the one before, as if there had
        been no pause between them."""
        passes = 0

        def count(records: int) -> None:
            nonlocal passes
            passes += records
            worker.report(passes)

        stages: list[StoredObject] = []
        for key, found in self.stages(worker, Watch(records=count)):
            found.about["numerics"] = worker.numerics()
            stages.append(worker.store.put("constituents", key, [found.to_bytes()]))
        return Trained(self.key, tuple(stages), passes)


def shard_of(key: str, seen: Read, size: int, groups: NDArray[np.int32] | None) -> ShardData:
    """The first `size` rows in canonical order, whatever buckets they lie in."""
    order = canonical_order(seen.digests[:size])
    labels = tuple(seen.labels[i] for i in order)
    return ShardData(
        key, seen.inputs[:size][order], labels, None if groups is None else groups[:size][order]
    )


@dataclass(frozen=True)
class AnswerRows:
    """Ask one constituent about stored records (in the order of `members`). group: the shard, where
    the constituent serves several."""

    constituent: StoredObject
    members: tuple[Part, ...]
    group: int = 0
    name = "answer"

    @property
    def key(self) -> str:
        """The key of who is asked."""
        return self.constituent.key

    @property
    def weight(self) -> int:
        """Queries."""
        return sum(len(part.rows.rows) for part in self.members)

    def run(self, worker: Worker) -> Answers:
        """Read the queries and answer. Where there is one class, no query needs to be read."""
        constituent = Constituent.from_bytes(worker.store.read(self.constituent))
        if len(constituent.classes) == 1:
            return Answers(constituent.classes, np.ones((self.weight, 1), np.float32))
        return worker.answer(constituent, worker.see(self.members).inputs, self.group)


@dataclass(frozen=True)
class HashPixels:
    """The SHA-256 of each picture's pixels, as the backbone sees them: what a query is routed by
    where there are no prototypes."""

    members: tuple[Rows, ...]
    name = "hash"
    key = None

    @property
    def weight(self) -> int:
        """Pictures."""
        return sum(len(part.rows) for part in self.members)

    def run(self, worker: Worker) -> list[bytes]:
        """Read and hash, in the order of `members`."""
        return [
            found for part in self.members for found in pixel_hashes(worker.reader.pixels(part))
        ]
