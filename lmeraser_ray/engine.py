"""Who carries the work out: an engine streams features and runs jobs. This one does it in this process; `distributed/` does it on Ray.

Invariant: which engine, how many workers and in which order results arrive change no byte.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from lmeraser_ray.config import Config
from lmeraser_ray.data.reading import Features, Rows
from lmeraser_ray.learners.choose import make_learner
from lmeraser_ray.learners.learner import Learner
from lmeraser_ray.state.manifest import BackboneCard
from lmeraser_ray.state.store import Store
from lmeraser_ray.work import Job, Worker

T = TypeVar("T")


class Engine(Protocol):
    """Carries work out. Results come with the position of what they answer, in any order."""

    def start(self) -> None:
        """Be ready for work; called before each use, and only where there is work."""

    def features(self, batches: Sequence[Rows]) -> Iterator[tuple[int, Features]]:
        """The features [m, d] float32 of each batch of rows (each at most the backbone's batch)."""

    def run(self, jobs: Sequence[Job[T]]) -> Iterator[tuple[int, T]]:
        """The result of each job."""

    def close(self) -> None:
        """Give back what was held."""


class InlineEngine:
    """Everything in this process, one piece of work after the other."""

    def __init__(self, store: Store, config: Config, card: BackboneCard, *, learner: Learner | None = None) -> None:
        self.worker = Worker(store, config, learner or make_learner(config), card)

    def start(self) -> None:
        """Load the backbone."""
        _ = self.worker.backbone

    def features(self, batches: Sequence[Rows]) -> Iterator[tuple[int, Features]]:
        """In order."""
        for at, part in enumerate(batches):
            yield at, self.worker.backbone.features(self.worker.reader.pixels(part))

    def run(self, jobs: Sequence[Job[T]]) -> Iterator[tuple[int, T]]:
        """The heaviest first, as on a cluster."""
        for at in sorted(range(len(jobs)), key=lambda i: -jobs[i].weight):
            yield at, jobs[at].run(self.worker)

    def close(self) -> None:
        """Nothing is held."""


def open_engine(store: Store, config: Config, card: BackboneCard) -> Engine:
    """The engine that the configuration asks for; Ray is imported only here, and started when there is something to do."""
    if config.execution.engine == "inline":
        return InlineEngine(store, config, card)
    from lmeraser_ray.distributed.engine import RayEngine

    return RayEngine(store, config, card)
