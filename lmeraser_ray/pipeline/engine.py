"""Who carries the work out: an engine streams features and runs jobs. This one does it in this
process; `distributed/` does it on Ray.

Invariant: which engine, how many workers and in which order results arrive change no byte.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from lmeraser_ray.config import Config
from lmeraser_ray.data.feature_file import Features
from lmeraser_ray.data.reader import Rows
from lmeraser_ray.errors import LmeraserError
from lmeraser_ray.models.learners.base import Learner
from lmeraser_ray.models.learners.registry import make_learner
from lmeraser_ray.pipeline.jobs import Job, Worker
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.storage.store import Store

T = TypeVar("T")
AHEAD = 16
"""Jobs that are made and submitted for each slot: enough that a cluster sees what it is asked for,
few enough for a driver's memory."""


@dataclass(frozen=True)
class Outcome:
    """How a submitted job ended: with its result, or with the error that it raised."""

    ticket: int
    result: Any = None
    error: Exception | None = None


class Engine(ABC):
    """Carries work out: jobs one by one (`submit`, `wait`, `cancel`), or all of a list (`run`)."""

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many jobs can be under way at once. Known once started."""

    @abstractmethod
    def start(self) -> None:
        """Be ready for work; called before each use, and only where there is work."""

    @abstractmethod
    def features(self, parts: Sequence[Rows]) -> Iterator[tuple[int, int, Features]]:
        """The features [m, d] float32 of rows, a batch of the backbone's at a time, in any order:
        the place of the part, and which of its rows is the batch's first."""

    @abstractmethod
    def submit(self, job: Job[Any]) -> int:
        """Begin a job. Returns the ticket that its outcome will have."""

    @abstractmethod
    def wait(self, seconds: float | None = None) -> list[Outcome]:
        """Outcomes since the last call: waits for the first, so many seconds at most (None: for
        ever). None where no job is under way."""

    @abstractmethod
    def cancel(self, ticket: int) -> None:
        """Stop a job: it has no outcome, and nothing that it might still write reaches the
        store."""

    @abstractmethod
    def records(self, ticket: int) -> int:
        """Record passes that a job under way has trained so far, where that is known, else 0."""

    @property
    def gpus(self) -> float:
        """GPUs, or the fraction of one, that each job is given. Known once started."""
        return 0.0

    @property
    def folders(self) -> tuple[Path, ...]:
        """Folders of this machine, outside the workspace, through which work may have passed: the
        absence scan looks there too."""
        return ()

    @abstractmethod
    def close(self) -> None:
        """Give back what was held."""

    def run(self, jobs: Iterable[Job[T]]) -> Iterator[tuple[int, T]]:
        """The result of each job with its place, as they finish; begun in this order, so the
        heaviest should come first. No more jobs are made than are soon begun. What still runs when
        the caller stops listening is cancelled. Errors: the first that a job raises."""
        coming, waiting = enumerate(jobs), dict[int, int]()
        try:
            while True:
                for at, job in islice(coming, max(0, AHEAD * self.slots - len(waiting))):
                    waiting[self.submit(job)] = at
                if not waiting:
                    return
                for outcome in self.wait():
                    at = waiting.pop(outcome.ticket)
                    if outcome.error:
                        raise outcome.error
                    yield at, outcome.result
        finally:
            for ticket in waiting:
                self.cancel(ticket)


class InlineEngine(Engine):
    """Everything in this process, one piece of work after the other; a job is done when someone
    waits for it."""

    slots = 1

    def __init__(
        self, store: Store, config: Config, card: BackboneCard, *, learner: Learner | None = None
    ) -> None:
        self.worker = Worker(store, config, learner or make_learner(config), card)
        self._waiting: dict[int, Job[Any]] = {}
        self._next = 0

    def start(self) -> None:
        """Load the backbone."""
        _ = self.worker.backbone

    def features(self, parts: Sequence[Rows]) -> Iterator[tuple[int, int, Features]]:
        """In order."""
        for at, part in enumerate(parts):
            for first, piece in part.pieces(self.worker.card.batch):
                yield at, first, self.worker.backbone.features(self.worker.reader.pixels(piece))

    def submit(self, job: Job[Any]) -> int:
        """Put it behind the others."""
        self._next += 1
        self._waiting[self._next] = job
        return self._next

    def wait(self, seconds: float | None = None) -> list[Outcome]:  # noqa: ARG002 - a job takes as long as it takes
        """Do the job that was submitted first."""
        if not self._waiting:
            return []
        ticket = next(iter(self._waiting))
        job = self._waiting.pop(ticket)
        try:
            return [Outcome(ticket, job.run(self.worker))]
        except LmeraserError as error:
            return [Outcome(ticket, error=error)]

    def cancel(self, ticket: int) -> None:
        """Forget it."""
        self._waiting.pop(ticket, None)

    def records(self, ticket: int) -> int:  # noqa: ARG002 - nobody can ask while a job runs
        """Jobs under way here are those that have not begun."""
        return 0

    def close(self) -> None:
        """Nothing is held."""
