"""An erasure request as it stands in the database: its state, what it names, and its deadline.

    RECEIVED → PLANNED → TRAINING → PUBLISHED → PURGED → CERTIFIED, or REFUSED, CANCELLED, FAILED

Deadlines are those of GDPR art. 12(3): one calendar month from receipt, and once up to two further
months, with a reason, if that is decided within the first. They are stored when they are set and
never computed again from a clock.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from dateutil.relativedelta import relativedelta
from sqlalchemy import Connection, Select, select

from lmeraser_ray.storage.database import tables
from lmeraser_ray.storage.times import from_text, to_text, utcnow

What = Literal["record", "subject"]
Outcome = Literal["open", "removed", "already", "unknown"]
"""What became of a target: not known yet, removed, erased by an earlier request, never heard of."""
ALERTS = (100, 95, 80, 50)
"""Percentages of the time to the deadline; 100 is overdue."""
FURTHER_MONTHS = 2
"""What an extension may add to the first month."""


class State(StrEnum):
    """Where a request is."""

    RECEIVED = "RECEIVED"
    """Committed; nobody has looked at it."""
    PLANNED = "PLANNED"
    """Resolved to records and tombstoned; waiting for its shards."""
    TRAINING = "TRAINING"
    """Its shards are being trained."""
    PUBLISHED = "PUBLISHED"
    """The published state is without its records."""
    PURGED = "PURGED"
    """Nothing of them is left where the scan looks; its statement is frozen."""
    CERTIFIED = "CERTIFIED"
    """Signed: done."""
    REFUSED = "REFUSED"
    """Unknown ids, or a legal hold."""
    CANCELLED = "CANCELLED"
    """Withdrawn by its submitter before anyone looked at it."""
    FAILED = "FAILED"
    """Given up after bounded attempts; a person has to look at it, and may retry."""


OPEN = frozenset((State.RECEIVED, State.PLANNED, State.TRAINING, State.PUBLISHED, State.PURGED))
"""The queue is on it."""
CLOSED = frozenset((State.CERTIFIED, State.REFUSED, State.CANCELLED, State.FAILED))
"""Nothing more happens by itself."""
UNANSWERED = OPEN | {State.FAILED}
"""Its deadline still runs."""


@dataclass(frozen=True, slots=True)
class Target:
    """One id that a request names. name: None once it is worked off; hash: its keyed hash, which
    stays."""

    what: What
    name: str | None
    hash: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class ErasureRequest:
    """A request: one row, with its targets in the order of kind and hash."""

    id: str
    idempotency: str | None
    content: str
    submitter: str
    state: State
    quarantine: bool
    received_at: datetime
    due_at: datetime
    extended_at: datetime | None
    """The later moment that an extension put in the place of `due_at`."""
    extension_reason: str | None
    reason: str | None
    attempts: int
    planned_at: datetime | None
    training_at: datetime | None
    published_at: datetime | None
    purged_at: datetime | None
    closed_at: datetime | None
    publication: int | None
    statement: bytes | None
    envelope: bytes | None
    targets: tuple[Target, ...]

    @property
    def deadline(self) -> datetime:
        """By when it must be answered."""
        return self.extended_at or self.due_at

    def used(self, now: datetime) -> float:
        """The share of the time to the deadline that has passed; above 1 it is overdue."""
        whole = (self.deadline - self.received_at).total_seconds()
        return (now - self.received_at).total_seconds() / whole

    def alert(self, now: datetime) -> int | None:
        """The highest of 50, 80, 95 and 100 percent of the time that is used up; None below that,
        and once it is answered."""
        if self.state not in UNANSWERED:
            return None
        return next((percent for percent in ALERTS if self.used(now) * 100 >= percent), None)

    @property
    def certificate_sha256(self) -> str | None:
        """The SHA-256 of the certificate's bytes."""
        return None if self.envelope is None else hashlib.sha256(self.envelope).hexdigest()

    def as_json(self, now: datetime | None = None) -> dict[str, object]:
        """For `--json`: no names, targets only counted by outcome."""
        return {
            "request": self.id,
            "state": str(self.state),
            "deadline": {
                "received": to_text(self.received_at),
                "due": to_text(self.due_at),
                "extended": to_text(self.extended_at) if self.extended_at else None,
                "reason": self.extension_reason,
                "alert": self.alert(now or utcnow()),
            },
            "reason": self.reason,
            "targets": dict(sorted(Counter(target.outcome for target in self.targets).items())),
            "certificate": self.certificate_sha256,
        }


def month_after(received: datetime) -> datetime:
    """One calendar month later: the same day of the next month, or its last."""
    return received + relativedelta(months=1)


def extended(received: datetime, months: int) -> datetime:
    """The deadline after an extension by so many further months, counted from the end of the
    first."""
    return month_after(received) + relativedelta(months=months)


def request_of(row: Mapping[str, Any], found: tuple[Target, ...]) -> ErasureRequest:
    """A request from its columns (those that are missing are null) and its targets."""

    def moment(column: str) -> datetime | None:
        return from_text(row[column]) if row.get(column) else None

    plain = {field.name: row.get(field.name) for field in fields(ErasureRequest)}
    moments = {column: moment(column) for column in plain if column.endswith("_at")}
    return ErasureRequest(**{**plain, **moments, "state": State(row["state"]), "targets": found})  # type: ignore[arg-type]


def read_requests(connection: Connection, asked: Select[Any]) -> list[ErasureRequest]:
    """The requests that a selection of the table `requests` finds, in its order, with their
    targets: two queries, however many."""
    rows = connection.execute(asked).mappings().all()
    if not rows:
        return []
    columns = tables.targets.c
    wanted = asked.with_only_columns(tables.requests.c.id).subquery()
    named = (
        select(tables.targets)
        .where(columns.request_id.in_(select(wanted.c.id)))
        .order_by(columns.what, columns.hash)
    )
    found: defaultdict[str, list[Target]] = defaultdict(list)
    for target in connection.execute(named):
        found[target.request_id].append(
            Target(target.what, target.name, target.hash, target.outcome)
        )
    return [request_of(dict(row), tuple(found[row["id"]])) for row in rows]
