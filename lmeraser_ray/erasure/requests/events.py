"""What happens to erasure requests, as it happens: read behind the ledger's end, for logs and
metrics. No ids of records or subjects.

    ledger entries since the last look ──► Event ──► a line:  time=2026-01-31T12:00:00.000000Z event=certified request=er-20260131-… …

The ledger is where what happened is; these are views of it, and nothing is lost where nobody looks.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select

from lmeraser_ray.erasure.requests.request import State, level_of, used_of
from lmeraser_ray.errors import DataError, LmeraserError
from lmeraser_ray.pipeline.logs import line
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.tables import requests
from lmeraser_ray.storage.times import from_text, to_text, utcnow

PLAIN_FACTS = (
    "records",
    "targets",
    "quarantine",
    "publication",
    "certificate",
    "key",
    "epoch",
    "months",
    "due",
    "constituents",
)
"""Facts of the ledger's entries that a line repeats: counts, moments and digests."""
ALERTS_EVERY = 5.0
"""Seconds between two looks at all deadlines."""


@dataclass(frozen=True)
class Event:
    """Something that happened. what: a word; facts: JSON values."""

    what: str
    request: str | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    at: str = field(default_factory=lambda: to_text(utcnow()))

    def line(self) -> str:
        """As one line of a log, `name=value` each."""
        return line({"time": self.at, "event": self.what, "request": self.request, **self.facts})


Say = Callable[[Event], object]
"""Who is told."""


def redacted_message(error: LmeraserError) -> str:
    """What a log, or the database, may repeat of an error: one about data may name a record, so
    that only its kind is told."""
    return (
        "an input that cannot be used; run `lmeraser verify`"
        if isinstance(error, DataError)
        else str(error)
    )


class Follower:
    """Reads what the ledger has new since the last look. Begins at its end."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.read() as connection:
            self._after = ledger.head(connection).seq

    def new(self) -> list[Event]:
        """What was entered since."""
        with self._database.read() as connection:
            found = list(ledger.entries(connection, after=self._after))
            failed = [entry.request for entry in found if entry.kind == State.FAILED]
            asked = select(requests.c.id, requests.c.reason, requests.c.attempts).where(
                requests.c.id.in_(failed)
            )
            why = (
                {
                    row.id: {"attempts": row.attempts, "reason": row.reason}
                    for row in connection.execute(asked)
                }
                if failed
                else {}
            )
        if found:
            self._after = found[-1].seq
        return [event_of(entry, why.get(entry.request or "", {})) for entry in found]


def event_of(entry: ledger.LedgerEntry, more: Mapping[str, object]) -> Event:
    """What an entry says. more: facts that it does not have itself."""
    facts = {name: entry.facts[name] for name in PLAIN_FACTS if name in entry.facts}
    completed = entry.facts.get("requests")
    if isinstance(completed, list):
        facts["requests"] = len(completed)
    return Event(entry.kind.lower(), entry.request, {**facts, **more}, entry.at)


class Alerts:
    """Tells of each unanswered request when 50, 80, 95 and 100 percent of its time are used up,
    each once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._told: dict[str, int] = {}

    def new(self, now: datetime) -> list[Event]:
        """The alerts since the last look; of levels that were passed at once the highest. An
        extension makes room for new ones."""
        levels = alert_levels(self._database, now)
        found = [
            Event("alert", request, {"percent": level})
            for request, level in levels.items()
            if level is not None and level > self._told.get(request, 0)
        ]
        self._told = {request: level for request, level in levels.items() if level is not None}
        return found


def alert_levels(database: Database, now: datetime) -> dict[str, int | None]:
    """How urgent each unanswered request is: the highest of 50, 80, 95 and 100 percent of its time
    that is used up, or None."""
    columns = (requests.c.id, requests.c.received_at, requests.c.due_at, requests.c.extended_at)
    with database.read() as connection:
        rows = connection.execute(
            select(*columns).where(
                requests.c.state.in_(State.where(lambda state: not state.is_answered))
            )
        ).all()
    return {
        row.id: level_of(
            used_of(from_text(row.received_at), from_text(row.extended_at or row.due_at), now)
        )
        for row in rows
    }


class Narrator:
    """Tells what the ledger has new and which deadlines come near, and counts the requests that
    came to their end."""

    def __init__(self, database: Database, say: Say) -> None:
        self._follower, self._alerts, self._say = Follower(database), Alerts(database), say
        self._next_alerts = 0.0
        self.closed: Counter[State] = Counter()

    def look(self) -> None:
        """Tell what happened since the last look."""
        for event in self._follower.new():
            self._say(event)
            state = State.__members__.get(event.what.upper())
            if state is not None and state.is_closed:
                self.closed[state] += 1
        if time.monotonic() >= self._next_alerts:
            self._next_alerts = time.monotonic() + ALERTS_EVERY
            for event in self._alerts.new(utcnow()):
                self._say(event)
