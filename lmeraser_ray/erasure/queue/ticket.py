"""What goes into the scheduler and what comes out: tickets and the progress of runs in, starts out;
and the rule by which a run starts over. Pure."""

from dataclasses import dataclass

AffectedConstituent = int | None
"""What one run trains: the number of a constituent, or None for all of them at once."""


@dataclass(frozen=True)
class Policy:
    """coalesce: whether requests share runs (False: to measure what sharing saves); supersedes: how
    often a run may start over for requests that come while it runs."""

    coalesce: bool = True
    supersedes: int = 3


@dataclass(frozen=True)
class Ticket:
    """What a request needs.

    received, due: seconds on the caller's clock. constituents: the numbers of those to train again;
    ignored for an exclusive ticket. exclusive: all must be trained again, in a run of its own.
    tainted: a retrain for this request failed before, so that it shares no run.
    """

    request: str
    received: float
    due: float
    constituents: frozenset[int]
    exclusive: bool = False
    tainted: bool = False


@dataclass(frozen=True)
class TrainingProgress:
    """How far a run is, in seconds. remaining: an estimate; None while it is unknown."""

    elapsed: float
    remaining: float | None


@dataclass(frozen=True)
class Start:
    """Train this constituent (None: all of them) for these requests. superseding: instead of the
    run of this constituent that is under way, whose requests are among them."""

    constituent: AffectedConstituent
    requests: tuple[str, ...]
    superseding: bool


def worth_superseding(
    progress: TrainingProgress | None, *, running: int, joining: int, slack: float
) -> bool | None:
    """Whether a run for `running` requests should start over with `joining` new ones. None: not
    known yet, ask again.

    With T the seconds of a whole run and p the share of it that is done, starting over saves (1 -
    p) T of training (one run of T instead of what is left of this one and another), serves each new
    request (1 - p) T earlier, and delays each request that runs by p T. A second of training counts
    as a second of waiting, so starting over is worth it if

        (1 - p) T (1 + joining) > p T running

    slack: seconds until the first of the running requests is due; below 2 T nothing starts over.
    Where the remaining time is unknown, a run that has not begun (elapsed 0) starts over, because
    nothing is lost, and any other goes on for now, because it may be near its end.
    """
    if progress is None:
        return None
    elapsed = max(progress.elapsed, 0.0)
    if progress.remaining is None:
        return None if elapsed else True
    remaining = max(progress.remaining, 0.0)
    return slack >= 2 * (elapsed + remaining) and remaining * (1 + joining) > elapsed * running
