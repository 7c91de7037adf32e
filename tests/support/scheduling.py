"""What tests of the scheduler share: tickets, what is known of the progress of runs, and a loop
that works everything off."""

from collections.abc import Callable

from lmeraser_ray.erasure.queue.scheduler import (
    AffectedConstituent,
    Scheduler,
    Start,
    Ticket,
    TrainingProgress,
)

MONTH = 30 * 86400.0


def unknown(_: AffectedConstituent) -> None:
    """Nothing is known of any run."""


def half(_: AffectedConstituent) -> TrainingProgress:
    """Every run is half done."""
    return TrainingProgress(5, 5)


def begun(_: AffectedConstituent) -> TrainingProgress:
    """Every run has just begun."""
    return TrainingProgress(0, 10)


def near_end(_: AffectedConstituent) -> TrainingProgress:
    """No run is worth superseding."""
    return TrainingProgress(1e6, 1e-6)


def ticket(
    request: str,
    *constituents: int,
    at: float = 0.0,
    due: float = MONTH,
    exclusive: bool = False,
    tainted: bool = False,
) -> Ticket:
    return Ticket(request, at, due, frozenset(constituents), exclusive, tainted)


def finish_all(
    scheduler: Scheduler,
    progress: Callable[[AffectedConstituent], TrainingProgress | None] = near_end,
    *,
    now: float = 0.0,
) -> list[Start]:
    """Start and finish until nothing is left. Returns the starts."""
    starts = []
    while len(scheduler):
        found = scheduler.next(now, progress)
        assert found or scheduler.running, "stuck"
        starts += found
        for constituent in scheduler.running:
            scheduler.finished(constituent)
    return starts
