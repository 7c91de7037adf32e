"""The work that a cluster, or this process, carries out: key in, key out.

A job says which rows of which buckets it needs; a worker reads just these from the store, computes, and writes its result atomically. So a
job may run twice, anywhere, and do no harm. Nothing here knows Ray.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray import numerics
from lmeraser_ray.backbone import Backbone, load_backbone
from lmeraser_ray.config import Config
from lmeraser_ray.data.reading import Read, Reader, Rows
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.learners.constituent import Constituent
from lmeraser_ray.learners.prompt_head import PromptHead, ShardData
from lmeraser_ray.plan import canonical_order
from lmeraser_ray.state.manifest import BackboneCard
from lmeraser_ray.state.store import Store, StoredObject

T_co = TypeVar("T_co", covariant=True)


@dataclass
class Worker:
    """What a process that does jobs holds: the store, the configuration and, once needed, the backbone."""

    store: Store
    config: Config
    learner: PromptHead
    card: BackboneCard
    """The backbone that the plan was made for."""
    gpus: float | None = None
    """GPUs, or the fraction of one, that this process was given; None is whatever it sees."""

    @cached_property
    def backbone(self) -> Backbone:
        """The frozen backbone, loaded at first use. Errors: `ConfigError` where its weights are not those that were planned with."""
        device = numerics.choose_device(self.config.execution.device, self.gpus)
        numerics.make_deterministic()
        backbone = load_backbone(self.config.backbone, device)
        if self.card.identity != backbone.identity:
            raise ConfigError(
                f"The backbone {self.config.backbone.name} with weights {self.config.backbone.weights} has the identity "
                f"{backbone.identity[:12]}…, but this workspace was trained with {self.card.identity[:12]}…: use the same weights, "
                "timm model and preprocessing, or a new workspace."
            )
        return backbone

    @cached_property
    def reader(self) -> Reader:
        """Reads the store's records for the backbone."""
        return Reader(self.store, self.card.spec, self.config.data.max_pixels)


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
        shard = self._shard([worker.reader.read(part) for part in self.members])
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
        pixels = np.concatenate([worker.reader.read(part).pixels for part in self.members])
        with numerics.one_thread():
            return Answers(constituent.classes, worker.learner.answer(constituent, worker.backbone, pixels))
