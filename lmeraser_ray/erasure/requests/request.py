"""The life of an erasure request: its states, its targets and its deadline.

    RECEIVED ──► PLANNED ──► TRAINING ──► PUBLISHED ──► PURGED ──► CERTIFIED
        └─► CANCELLED, REFUSED, FAILED (the table says from where)

    from                         to         made by    function
    (new)                        RECEIVED   submitter  RequestRepository.submit
    RECEIVED                     CANCELLED  submitter  RequestRepository.cancel
    RECEIVED                     PLANNED    queue      transitions.plan
    RECEIVED                     REFUSED    queue      transitions.refuse_unknown
    PLANNED                      TRAINING   queue      transitions.begin_training
    TRAINING                     PLANNED    queue      transitions.replan
    PLANNED, TRAINING            PUBLISHED  queue      transitions.set_published
    PUBLISHED                    PURGED     queue      transitions.set_purged
    PURGED                       CERTIFIED  signer     signer.certify
    RECEIVED, PLANNED, TRAINING  FAILED     queue      transitions.fail
    FAILED                       RECEIVED   operator   RequestRepository.retry
    FAILED (of earlier releases) PUBLISHED  operator   RequestRepository.retry
    RECEIVED, PLANNED, FAILED    REFUSED    operator   RequestRepository.refuse

Rules:

- Each transition is one transaction that changes the state, sets the moment and appends a ledger
  entry of the new state's name. The UPDATE names the states that it starts from, so that of two
  processes that decide at once one wins and the other changes nothing.
- A PLANNED request has tombstones over its records and its targets: they cannot be ingested again.
- A retrain that is given up, or dies with its queue, brings its requests back to PLANNED.
- The queue gives a request up (FAILED) after `queue.attempts` retrains that ended in an error.
- A trace that the absence scan finds holds its own request back (PUBLISHED, with the finding), and
  no other. An operator may accept the finding, by `RequestRepository.accept`: it is then named in
  the certificate.
- Ids leave the database, typed reasons included, in the transaction that makes a request PURGED,
  REFUSED or CANCELLED; keyed hashes stay.
- The deadline is that of GDPR art. 12(3): one calendar month from receipt. An operator may extend
  it once, within the first month and with a reason, by one or two further months. Deadlines are
  stored when they are set and never computed again from a clock. They run until an answer:
  CERTIFIED, REFUSED or CANCELLED.

A request from its submission to its frozen statement:

    >>> from pathlib import Path; from tempfile import TemporaryDirectory
    >>> from lmeraser_ray.erasure.requests import transitions
    >>> from lmeraser_ray.erasure.requests.repository import RequestRepository
    >>> from lmeraser_ray.storage.database.database import Database
    >>> from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
    >>> folder = TemporaryDirectory(); root = Path(folder.name)
    >>> pseudonymizer, database = Pseudonymizer(root, root), Database.open(root, None)
    >>> requests = RequestRepository(database, pseudonymizer)
    >>> made = requests.submit(["cat.png"], [], key="ticket 7")
    >>> made.state, made.state.is_open, made.targets[0].outcome
    (<State.RECEIVED: 'RECEIVED'>, True, 'open')
    >>> requests.submit(["cat.png"], [], key="ticket 7") == made
    True
    >>> erased = transitions.ErasedRecord(made.targets[0].hash, "cat.png", b"traces")
    >>> with database.write() as connection:
    ...     _ = transitions.plan(connection, made.id, [erased], {})
    ...     _ = transitions.begin_training(connection, [made.id])
    ...     _ = transitions.set_published(connection, 1, [made.id])
    ...     _ = transitions.wipe_names(connection, [made.id])
    ...     _ = transitions.set_purged(connection, made.id, b"the statement")
    >>> found = requests.get(made.id)
    >>> found.state, found.state.keeps_names, found.targets[0].name, found.targets[0].outcome
    (<State.PURGED: 'PURGED'>, False, None, 'removed')
    >>> requests.cancel(made.id, "changed my mind")  # doctest: +ELLIPSIS, +NORMALIZE_WHITESPACE
    Traceback (most recent call last):
    lmeraser_ray.errors.ConfigError: The request er-... is PURGED: only from RECEIVED it can become
    CANCELLED.
    >>> database.close(); folder.cleanup()
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from dateutil.relativedelta import relativedelta
from sqlalchemy import Connection, Select, select

from lmeraser_ray.erasure.requests.findings import accepted_in, findings_in
from lmeraser_ray.storage.database import tables
from lmeraser_ray.storage.database.pseudonyms import TargetKind
from lmeraser_ray.storage.times import from_text, to_text, utcnow

Outcome = Literal["open", "removed", "already", "unknown"]
"""What became of a target: undecided, removed, erased by an earlier request, or not in the
workspace."""
ALERTS = (100, 95, 80, 50)
"""Percentages of the time to the deadline that raise an alert; 100 is overdue."""
FURTHER_MONTHS = 2
"""Months that an extension may add to the first one."""


class State(StrEnum):
    """Where a request is in its life."""

    RECEIVED = "RECEIVED"
    """Committed; the queue has not looked at it."""
    PLANNED = "PLANNED"
    """Resolved to records, which have tombstones; waits for its constituents to be trained."""
    TRAINING = "TRAINING"
    """Its constituents are being trained."""
    PUBLISHED = "PUBLISHED"
    """The published state is without its records."""
    PURGED = "PURGED"
    """The absence scan found nothing of its records; its statement is frozen for the signer."""
    CERTIFIED = "CERTIFIED"
    """Signed: done."""
    REFUSED = "REFUSED"
    """Not carried out: unknown ids, or a legal hold."""
    CANCELLED = "CANCELLED"
    """Withdrawn by its submitter before the queue planned it."""
    FAILED = "FAILED"
    """Given up by the queue; a person looks at it, and retries or refuses it."""

    @property
    def is_closed(self) -> bool:
        """Nothing more happens by itself."""
        return self in (State.CERTIFIED, State.REFUSED, State.CANCELLED, State.FAILED)

    @property
    def is_open(self) -> bool:
        """The queue or the signer still works on the request."""
        return not self.is_closed

    @property
    def is_answered(self) -> bool:
        """The submitter has an answer, so the deadline runs no longer. FAILED is no answer."""
        return self.is_closed and self is not State.FAILED

    @property
    def is_begun(self) -> bool:
        """The queue has planned the erasure, and the signer has not certified it."""
        return self.is_open and self is not State.RECEIVED

    @property
    def is_in_work(self) -> bool:
        """Planned and not published: the request waits for retrains, or they run."""
        return self in (State.PLANNED, State.TRAINING)

    @property
    def is_unpublished(self) -> bool:
        """Open, and the published state may still answer from the request's records."""
        return self is State.RECEIVED or self.is_in_work

    @property
    def is_given_up(self) -> bool:
        """Closed for good without an erasure."""
        return self in (State.REFUSED, State.CANCELLED)

    @property
    def keeps_names(self) -> bool:
        """The database may still hold the ids that the request names: until the erasure is proven
        or given up for good. A retry of a FAILED request needs them."""
        return not (self.is_given_up or self in (State.PURGED, State.CERTIFIED))

    @classmethod
    def where(cls, holds: Callable[["State"], bool]) -> tuple["State", ...]:
        """The states of which a fact holds, for `column.in_(...)`."""
        return tuple(state for state in cls if holds(state))


UNPUBLISHED = "its records may still be in the published state"
MEANING = {
    State.RECEIVED: f"nothing of it is done yet, {UNPUBLISHED}",
    State.PLANNED: f"its constituents wait to be trained again, {UNPUBLISHED}",
    State.TRAINING: f"its constituents are not all trained again and published, {UNPUBLISHED}",
    State.PUBLISHED: "the state without its records is published, but not yet purged and searched",
    State.PURGED: "everything is purged and searched, only the certificate is missing",
    State.CERTIFIED: "the erasure is done",
    State.REFUSED: "it is closed, and erased nothing",
    State.CANCELLED: "it is closed, and erased nothing",
    State.FAILED: f"the queue has given it up, {UNPUBLISHED}",
}
"""What a request's state means for the erasure."""
FOUND = (
    "the state without its records is published, but the search found something of them elsewhere"
)
GIVEN_UP_LATE = "the queue has given it up after the state without its records was published"


@dataclass(frozen=True, slots=True)
class Target:
    """One id that a request names. name: None where `State.keeps_names` no longer holds; hash: the
    id's keyed hash, which stays."""

    what: TargetKind
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
    secret: int
    """The version of the secret that the request's hashes are under."""
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
    findings: str | None
    """What holds a published request back (`findings.py`)."""
    exceptions: str | None
    """The findings that an operator accepted."""
    legal_basis: str | None
    """Why the law has it erased, as it was typed at the submission, without names of the erased."""
    identity: str | None
    """How the identity of whoever asks was checked, likewise."""
    targets: tuple[Target, ...]

    @property
    def deadline(self) -> datetime:
        """By when it must be answered."""
        return self.extended_at or self.due_at

    def used(self, now: datetime) -> float:
        """The share of the time to the deadline that has passed; above 1 it is overdue."""
        return used_of(self.received_at, self.deadline, now)

    def alert(self, now: datetime) -> int | None:
        """The highest of 50, 80, 95 and 100 percent of the time that is used up; None below 50,
        and for an answered request."""
        if self.state.is_answered:
            return None
        return level_of(self.used(now))

    @property
    def standing(self) -> str:
        """A sentence: the state, and what it means for the erasure."""
        meaning = MEANING[self.state]
        if self.state is State.PUBLISHED and self.findings:
            meaning = FOUND
        if self.state is State.FAILED and self.publication is not None:
            meaning = GIVEN_UP_LATE
        return f"The request {self.id} is {self.state}: {meaning}."

    @property
    def certificate_sha256(self) -> str | None:
        """The SHA-256 of the certificate's bytes."""
        return None if self.envelope is None else hashlib.sha256(self.envelope).hexdigest()

    def as_json(self, now: datetime | None = None) -> dict[str, object]:
        """The request as `--json` prints it: no names, targets only counted by outcome."""
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
            "legal_basis": self.legal_basis,
            "identity": self.identity,
            "findings": [asdict(each) for each in findings_in(self.findings)],
            "exceptions": [asdict(each) for each in accepted_in(self.exceptions)],
            "targets": dict(sorted(Counter(target.outcome for target in self.targets).items())),
            "certificate": self.certificate_sha256,
        }


def used_of(received: datetime, deadline: datetime, now: datetime) -> float:
    """The share of the time from receipt to a deadline that has passed; above 1 it is overdue."""
    return (now - received).total_seconds() / max((deadline - received).total_seconds(), 1e-6)


def level_of(used: float) -> int | None:
    """The highest of `ALERTS` that a used share of the time reaches, in percent; None below 50."""
    return next((percent for percent in ALERTS if used * 100 >= percent), None)


def month_after(received: datetime) -> datetime:
    """One calendar month later: the same day of the next month, or its last."""
    return received + relativedelta(months=1)


def extended(received: datetime, months: int) -> datetime:
    """The deadline after an extension by `months` further months, counted from the end of the first
    month."""
    return month_after(received) + relativedelta(months=months)


def request_of(row: Mapping[str, Any], found: tuple[Target, ...]) -> ErasureRequest:
    """Build a request from its columns (a missing one counts as null) and its targets."""

    def moment(column: str) -> datetime | None:
        return from_text(row[column]) if row.get(column) else None

    plain = {field.name: row.get(field.name) for field in fields(ErasureRequest)}
    moments = {column: moment(column) for column in plain if column.endswith("_at")}
    return ErasureRequest(**{**plain, **moments, "state": State(row["state"]), "targets": found})  # type: ignore[arg-type]


def read_requests(connection: Connection, asked: Select[Any]) -> list[ErasureRequest]:
    """The requests that `asked`, a selection of the table `requests`, finds, in its order, with
    their targets. Runs two queries, whatever the number of requests."""
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
