"""The state of a workspace's queue, from its request database alone: who works, what waits, what is
urgent. No Ray, no ids of records.

Invariant: one read transaction, so that all parts of an overview are of one moment.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import case, func, select

from lmeraser_ray.erasure.queue.lease import LeaseView, look
from lmeraser_ray.erasure.requests.request import ALERTS, State, level_of, used_of
from lmeraser_ray.erasure.requests.retention import Retention, retention
from lmeraser_ray.erasure.requests.search import DEADLINE
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.tables import requests
from lmeraser_ray.storage.times import from_text, to_text, utcnow

COUNTS = select(requests.c.state, func.count().label("many")).group_by(requests.c.state)
MOST_CLOSED = 5
"""How many requests a list shows that ended last."""
LAST_CLOSED = (
    select(requests.c.id, requests.c.state, requests.c.closed_at, DEADLINE)
    .where(
        requests.c.state.in_(State.where(lambda state: state.is_answered)),
        requests.c.closed_at.is_not(None),
    )
    .order_by(requests.c.closed_at.desc(), requests.c.id)
)


@dataclass(frozen=True)
class OpenRequest:
    """An unanswered request as a list shows it. used: the share of the time to its deadline that
    has passed."""

    id: str
    state: State
    received: datetime
    deadline: datetime
    used: float

    @property
    def alert(self) -> int | None:
        """The highest of 50, 80, 95 and 100 percent that is used up."""
        return level_of(self.used)


@dataclass(frozen=True)
class ClosedRequest:
    """A request that came to its end, as a list shows it."""

    id: str
    state: State
    closed: datetime
    late: bool


@dataclass(frozen=True)
class Overview:
    """The queue at one moment. live: whether the holder of the lease is alive; alerts: how many
    unanswered requests have reached each level, by the highest one; kept: the tombstones; first:
    the requests to be answered first; closed: those that were answered last."""

    now: datetime
    seen: LeaseView
    live: bool
    counts: Mapping[State, int]
    oldest: datetime | None
    alerts: Mapping[int, int]
    kept: Retention
    first: tuple[OpenRequest, ...]
    closed: tuple[ClosedRequest, ...] = ()

    @property
    def open(self) -> int:
        """How many requests the queue has to work on."""
        return sum(count for state, count in self.counts.items() if state.is_open)

    @property
    def snapshot(self) -> Mapping[str, Any]:
        """The last snapshot of the queue; empty where none is alive."""
        return (self.seen.snapshot or {}) if self.live else {}

    @property
    def training(self) -> list[dict[str, Any]]:
        """The runs in training: shard (None: all), requests, constituents, share, seconds,
        remaining."""
        return list(self.snapshot.get("training", ()))

    @property
    def heartbeat_age(self) -> float | None:
        """Seconds since the last heartbeat; None where there was none."""
        return (
            (self.now - self.seen.heartbeat_at).total_seconds() if self.seen.heartbeat_at else None
        )

    @property
    def in_use(self) -> int:
        """How many slots train something."""
        jobs = sum(run["constituents"] for run in self.training)
        slots = self.snapshot.get("slots")
        return int(jobs if slots is None else min(jobs, slots))

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        age, snapshot = self.heartbeat_age, self.snapshot
        return {
            "queue": {
                "live": self.live,
                "holder": self.seen.holder,
                "epoch": self.seen.epoch,
                "heartbeat_age": None if age is None else round(age, 3),
            },
            "requests": {str(state): count for state, count in self.counts.items()},
            "open": self.open,
            "oldest": to_text(self.oldest) if self.oldest else None,
            "alerts": {str(level): self.alerts.get(level, 0) for level in reversed(ALERTS)},
            "training": self.training,
            "slots": {
                "in_use": self.in_use,
                "all": snapshot.get("slots"),
                "gpus_each": snapshot.get("gpus"),
            },
            **{name: snapshot.get(name) for name in ("retrains", "saved", "superseded")},
            "erased": self.kept.as_json(),
            "error": snapshot.get("alert"),
        }


def overview(
    database: Database,
    *,
    lease_s: float,
    first: int = 0,
    now: datetime | None = None,
    days: int | None = None,
) -> Overview:
    """Read the overview. lease_s: `queue.lease`, seconds; first: how many of the requests that are
    to be answered first to list; days: `queue.tombstone_days`."""
    moment = now or utcnow()
    unanswered = requests.c.state.in_(State.where(lambda state: not state.is_answered))
    columns = (requests.c.id, requests.c.state, requests.c.received_at, DEADLINE.label("due"))
    by_urgency = (
        case((requests.c.state == str(State.FAILED), 0), else_=1),
        DEADLINE,
        requests.c.received_at,
    )
    with database.read() as conn:
        seen, kept = look(conn), retention(conn, days)
        found = {row.state: row.many for row in conn.execute(COUNTS)}
        dates = conn.execute(
            select(requests.c.received_at, DEADLINE.label("due")).where(unanswered)
        ).all()
        listed = (
            conn.execute(
                select(*columns).where(unanswered).order_by(*by_urgency).limit(first)
            ).all()
            if first
            else ()
        )
        ended = conn.execute(LAST_CLOSED.limit(min(first, MOST_CLOSED))).all()
    levels = Counter(
        level_of(used_of(from_text(row.received_at), from_text(row.due), moment)) for row in dates
    )
    return Overview(
        now=moment,
        seen=seen,
        live=seen.live(moment, lease_s),
        counts={state: found.get(str(state), 0) for state in State},
        oldest=from_text(min(row.received_at for row in dates)) if dates else None,
        alerts={level: count for level, count in levels.items() if level is not None},
        kept=kept,
        first=tuple(waiting_of(*row, now=moment) for row in listed),
        closed=tuple(closed_of(*row) for row in ended),
    )


def overview_of(session: Session, *, first: int = 0) -> Overview:
    """Read the overview of a workspace."""
    with session.database() as database:
        settings = session.config().queue
        return overview(database, lease_s=settings.lease, first=first, days=settings.tombstone_days)


def waiting_of(name: str, state: str, received: str, due: str, *, now: datetime) -> OpenRequest:
    """A row of the database as a list shows it."""
    start, end = from_text(received), from_text(due)
    return OpenRequest(name, State(state), start, end, used_of(start, end, now))


def closed_of(name: str, state: str, closed: str, due: str) -> ClosedRequest:
    """A row of the database as a list shows it."""
    return ClosedRequest(name, State(state), from_text(closed), closed > due)
