"""Engines carry the work out: they stream features and run jobs. `InlineEngine` works in this
process; `distributed/` has the engine that works on Ray.

Invariant: the kind of engine, the number of workers and the order of results change no byte.
"""

import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

from lmeraser_ray.config import Config
from lmeraser_ray.data.feature_file import Features
from lmeraser_ray.data.reader import Rows
from lmeraser_ray.errors import ExecutionError, LmeraserError
from lmeraser_ray.models.learners.base import Learner
from lmeraser_ray.models.learners.registry import make_learners
from lmeraser_ray.pipeline.jobs import Job, Worker
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.queries import HeldHere, HeldQueries, PrepareQueries
from lmeraser_ray.pipeline.work_ahead import WorkAhead
from lmeraser_ray.storage.store import Store

T = TypeVar("T")
EngineKind = Literal["inline", "ray"]
AHEAD = 16
"""How many jobs are made and submitted for each slot: enough that a cluster's autoscaler sees the
demand, few enough for the memory of the driver. Jobs that go together count as one."""
BUNDLES = 8
"""Into how many bundles for each slot small jobs are put at least, so that slots end together."""
LARGEST_BUNDLE = 16
"""How many jobs go together at most: they share what a task costs, and a worker that dies at one
of them leaves few behind."""


@dataclass(frozen=True)
class Outcome:
    """How a submitted job ended: with a result, or with the error that it raised. ticket: what
    `submit` returned."""

    ticket: int
    result: Any = None
    error: Exception | None = None


class Engine(ABC):
    """Carries work out: jobs one by one (`submit`, `wait`, `cancel`), or all of a list (`run`)."""

    @property
    def kind(self) -> EngineKind:
        """Where the work is done, as a certificate says it."""
        return "inline"

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many jobs can run at once. Known once the engine is started."""

    @abstractmethod
    def start(self) -> None:
        """Get ready for work. Called before each use, and only where there is work."""

    @property
    def undecided(self) -> bool:
        """Whether the engine has yet to choose who works."""
        return False

    def choose(self, ahead: WorkAhead) -> None:  # noqa: B027 - most engines have no choice
        """Hear of work before it begins: an engine that can choose who does it chooses now."""

    @abstractmethod
    def features(self, parts: Sequence[Rows]) -> Iterator[tuple[int, int, Features]]:
        """Yield the features of rows, one batch of the backbone at a time, in any order of parts:
        the index of the part, the row of the part that is the first of the batch, and the features
        [b, d] float32."""

    @abstractmethod
    def submit(self, job: Job[Any]) -> int:
        """Submit a job. Returns the ticket that its outcome will have."""

    def submit_together(self, jobs: Sequence[Job[Any]]) -> list[int]:
        """Submit jobs that run one after the other, in their order, and share what a submission
        costs. Returns a ticket for each; each has its outcome as soon as it ends, where one fails
        those behind it fail too, and where one is cancelled those that have not ended are."""
        return [self.submit(job) for job in jobs]

    @abstractmethod
    def wait(self, seconds: float | None = None) -> list[Outcome]:
        """The outcomes since the last call. Waits for the first one, at most so many seconds (None:
        without a limit). Returns an empty list where no job is under way."""

    @abstractmethod
    def cancel(self, ticket: int) -> None:
        """Cancel a job: it has no outcome, and nothing that it still writes reaches the store."""

    @abstractmethod
    def records(self, ticket: int) -> int:
        """How many record passes a job under way has trained so far; 0 where that is not known."""

    def hold(self, job: PrepareQueries) -> HeldQueries:
        """Prepare queries for later jobs of this engine, and hold them while anything refers to
        what is returned. Called once the engine is started."""
        return HeldHere(job)

    @property
    def gpus(self) -> float:
        """GPUs, or the fraction of one, that each job gets. Known once the engine is started."""
        return 0.0

    @property
    def folders(self) -> tuple[Path, ...]:
        """Folders of this machine outside the workspace in which work may have left data: the
        absence scan searches them too."""
        return ()

    @abstractmethod
    def close(self) -> None:
        """Release what the engine holds."""

    def run(self, jobs: Iterable[Job[T]], work: int = 0) -> Iterator[tuple[int, T]]:
        """Yield the index and the result of each job as it ends. Jobs begin in their order, so that
        the longest should come first; they are made shortly before they begin. Where the caller
        stops iterating, the other jobs are cancelled. work: the weight of all jobs, where small
        ones may go together. Errors: the first one that a job raises."""
        coming = bundles(enumerate(jobs), work / (BUNDLES * self.slots))
        waiting = dict[int, tuple[int, int]]()  # by ticket: the job's index, and its bundle's
        try:
            while True:
                under_way = len({first for _, first in waiting.values()})
                for bundle in islice(coming, max(0, AHEAD * self.slots - under_way)):
                    tickets = self.submit_together([job for _, job in bundle])
                    first = bundle[0][0]
                    waiting |= {
                        ticket: (at, first) for ticket, (at, _) in zip(tickets, bundle, strict=True)
                    }
                if not waiting:
                    return
                for outcome in self.wait():
                    at, _ = waiting.pop(outcome.ticket)
                    if outcome.error:
                        raise outcome.error
                    yield at, outcome.result
        finally:
            for ticket in waiting:
                self.cancel(ticket)


def bundles(
    jobs: Iterable[tuple[int, Job[T]]], weight: float
) -> Iterator[list[tuple[int, Job[T]]]]:
    """Yield jobs in their order, those together that weigh so much together, or that are
    `LARGEST_BUNDLE`."""
    bundle, weighs = list[tuple[int, Job[T]]](), 0
    for at, job in jobs:
        bundle.append((at, job))
        weighs += job.weight
        if weighs >= weight or len(bundle) == LARGEST_BUNDLE:
            yield bundle
            bundle, weighs = [], 0
    if bundle:
        yield bundle


def attempt(job: Job[T], worker: Worker) -> T:
    """Run a job. Errors: those of ours; any other as an `ExecutionError` that says what was raised,
    and where. Not its message, which may name a record, while this sentence is kept."""
    try:
        return job.run(worker)
    except LmeraserError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise ExecutionError(
            f"A job raised {type(error).__name__} ({Path(place.filename).name}, line "
            f"{place.lineno}): a defect, or a machine that is not as expected."
        ) from error


class InlineEngine(Engine):
    """Does all work in this process, one job after the other. A job runs when `wait` is called."""

    slots = 1

    def __init__(
        self, store: Store, config: Config, card: BackboneCard, *, learner: Learner | None = None
    ) -> None:
        learners = (learner,) if learner else make_learners(config)
        self.worker = Worker(store, config, learners, card)
        self._waiting: dict[int, Job[Any]] = {}
        self._next = 0

    def start(self) -> None:
        """Load the backbone."""
        _ = self.worker.backbone

    def features(self, parts: Sequence[Rows]) -> Iterator[tuple[int, int, Features]]:
        """In the order of the parts."""
        for at, part in enumerate(parts):
            for first, piece in part.pieces(self.worker.card.batch):
                yield at, first, self.worker.backbone.features(self.worker.reader.pixels(piece))

    def submit(self, job: Job[Any]) -> int:
        """Queue a job behind the others."""
        self._next += 1
        self._waiting[self._next] = job
        return self._next

    def wait(self, seconds: float | None = None) -> list[Outcome]:  # noqa: ARG002 - a job takes as long as it takes
        """Run the job that was submitted first."""
        if not self._waiting:
            return []
        ticket = next(iter(self._waiting))
        job = self._waiting.pop(ticket)
        try:
            return [Outcome(ticket, attempt(job, self.worker))]
        except LmeraserError as error:
            return [Outcome(ticket, error=error)]

    def cancel(self, ticket: int) -> None:
        """Drop a job that has not run."""
        self._waiting.pop(ticket, None)

    def records(self, ticket: int) -> int:  # noqa: ARG002 - nobody can ask while a job runs
        """Always 0: a job that is still queued has not begun."""
        return 0

    def close(self) -> None:
        """There is nothing to release."""
