"""What the scheduler is told and what it says: tickets, the progress of runs, starts; and the rule
by which a run starts over. Pure."""

from dataclasses import dataclass

Lane = int | None
"""A constituent's number; None is everything at once."""


@dataclass(frozen=True)
class Policy:
    """coalesce: whether requests share runs (False is for comparison); supersedes: how often a run
    may start over for newcomers."""

    coalesce: bool = True
    supersedes: int = 3


@dataclass(frozen=True)
class Ticket:
    """What a request needs. received, due: seconds on the caller's clock; lanes: to train again (an
    exclusive ticket's are ignored); tainted: it shares a run with nobody."""

    request: str
    received: float
    due: float
    lanes: frozenset[int]
    exclusive: bool = False
    tainted: bool = False


@dataclass(frozen=True)
class TrainingProgress:
    """How far a run is, in seconds: elapsed, and an estimate of what remains (None: unknown
    yet)."""

    elapsed: float
    remaining: float | None


@dataclass(frozen=True)
class Start:
    """Train this lane (None: everything) for these requests. superseding: in the place of the
    lane's run, whose requests are among them."""

    lane: Lane
    requests: tuple[str, ...]
    superseding: bool


def worth_superseding(
    progress: TrainingProgress | None, *, running: int, joining: int, slack: float
) -> bool | None:
    """Whether a run for `running` requests should start over with `joining` newcomers. None: cannot
    be told yet, ask again.

    With T the seconds of a whole run and p the share of it that is done, starting over saves (1 -
    p) T of training (one run of T instead of what is left of this one and another), serves each
    newcomer (1 - p) T earlier, and delays each that runs by p T. A second of training counts as a
    second of waiting, so it is worth it if

        (1 - p) T (1 + joining) > p T running

    slack: seconds until the first of the running requests is due; with less than 2 T of it nothing
    starts over. Where the remaining time is unknown, a run that has not begun (elapsed 0) starts
    over, because nothing is lost, and any other goes on for now: it may be at its end.
    """
    if progress is None:
        return None
    elapsed = max(progress.elapsed, 0.0)
    if progress.remaining is None:
        return None if elapsed else True
    remaining = max(progress.remaining, 0.0)
    return slack >= 2 * (elapsed + remaining) and remaining * (1 + joining) > elapsed * running
