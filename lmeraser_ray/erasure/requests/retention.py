"""The retention period of tombstones: how long it is known who was erased (`queue.tombstone_days`).

    a look finds some that are too old            → EXPIRING in the ledger: up to which moment
    a look a day or more later                    → they are removed, EXPIRED in the ledger

A tombstone is pseudonymous personal data; without it, a source that still has the record brings the
erased back. So nothing is removed at one look: a clock that jumps forward announces what it would
remove a day before, and one that went back since then announces again.

Invariants: no tombstone of an unanswered request is removed; what goes and its ledger entry are one
transaction; without a period nothing is ever removed.
"""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, select

from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.times import from_text, to_text, utcnow

NOTICE = timedelta(days=1)
"""Between the announcement and the removal."""
EXPIRING, EXPIRED = "EXPIRING", "EXPIRED"
Write = Callable[[], AbstractContextManager[Connection]]
stones = tables.tombstones


@dataclass(frozen=True)
class Retention:
    """What is kept of who was erased. tombstones: how many; days: the period, None for as long as
    the workspace; due: how many are past it, those of open requests included; next: when the next
    one is; announced: up to which moment removal is announced."""

    tombstones: int
    days: int | None
    due: int
    next: datetime | None
    announced: datetime | None

    def as_json(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "tombstones": self.tombstones,
            "days": self.days,
            "due": self.due,
            "next": to_text(self.next) if self.next else None,
            "announced": to_text(self.announced) if self.announced else None,
        }

    def line(self) -> str:
        """One line for people."""
        kept = f"{self.tombstones:,} tombstones, kept "
        if self.days is None:
            return f"{kept}as long as the workspace"
        then = f"; the next is due on {self.next:%Y-%m-%d}" if self.next else ""
        due = f"; {self.due:,} past that: they go a day after the announcement" if self.due else ""
        return f"{kept}{self.days:,} days{then}{due}"


def retention(connection: Connection, days: int | None) -> Retention:
    """Read what is kept, as of now."""
    count = connection.scalar(select(func.count()).select_from(stones)) or 0
    if days is None:
        return Retention(count, None, 0, None, None)
    until = to_text(utcnow() - timedelta(days=days))
    due = connection.scalar(select(func.count()).where(stones.c.at <= until)) or 0
    later = connection.scalar(select(func.min(stones.c.at)).where(stones.c.at > until))
    announced = pending(connection)
    return Retention(
        count,
        days,
        due,
        from_text(later) + timedelta(days=days) if later else None,
        from_text(until_of(announced)) if announced else None,
    )


def expire(database: Database, days: int | None, write: Write) -> int:
    """Announce the tombstones that are too old, or remove those that were announced long enough
    ago. write: begins a transaction. Returns how many were removed."""
    if days is None:
        return 0
    now = utcnow()
    until = to_text(now - timedelta(days=days))
    with database.read() as connection:
        if not connection.scalar(select(func.count()).where(past(until))):
            return 0
    with write() as connection:
        announced = pending(connection)
        if announced is None or announced.at > to_text(now) or until_of(announced) > until:
            count = connection.scalar(select(func.count()).where(past(until)))
            ledger.append(connection, EXPIRING, None, {"tombstones": count, "until": until})
            return 0
        if announced.at > to_text(now - NOTICE):
            return 0
        until = until_of(announced)
        gone = connection.execute(delete(stones).where(past(until))).rowcount
        ledger.append(connection, EXPIRED, None, {"tombstones": gone, "until": until})
    database.vacuum_names()
    return gone


def past(until: str) -> ColumnElement[bool]:
    """Which tombstones were set up to a moment, and belong to no unanswered request."""
    unanswered = tables.requests.c.state.in_(State.where(lambda state: not state.is_answered))
    needed = [
        select(table.c.hash)
        .where(
            table.c.hash == stones.c.hash, table.c.request_id == tables.requests.c.id, unanswered
        )
        .exists()
        for table in (tables.erased, tables.targets)
    ]
    return (stones.c.at <= until) & ~needed[0] & ~needed[1]


def pending(connection: Connection) -> Any:
    """The last announcement, where nothing was removed since."""
    entry = tables.ledger.c
    last = (
        select(entry.kind, entry.at, entry.entry)
        .where(entry.kind.in_((EXPIRING, EXPIRED)), entry.request_id.is_(None))
        .order_by(entry.seq.desc())
        .limit(1)
    )
    found = connection.execute(last).one_or_none()
    return found if found and found.kind == EXPIRING else None


def until_of(announced: Any) -> str:
    """Up to which moment an entry says that tombstones go."""
    return str(json.loads(announced.entry)["facts"]["until"])


def expired_until(connection: Connection) -> str | None:
    """The moment up to which tombstones may have been removed, by the ledger; None where none
    were. Of a request that was planned later, each tombstone is there, unless it was lifted."""
    entry = tables.ledger.c
    found = connection.scalars(
        select(entry.entry).where(entry.kind == EXPIRED, entry.request_id.is_(None))
    )
    return max((str(json.loads(text)["facts"]["until"]) for text in found), default=None)
