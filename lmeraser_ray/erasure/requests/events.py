"""Events of erasure requests, for logs and metrics: new ledger entries, and deadlines that come
near. No ids of records or subjects.

    ledger entries since the last look ──► Event ──► a line of a log
    time=2026-01-31T12:00:00.000000Z event=certified request=er-20260131-…

The ledger itself is the record; an event is only a view of it, so nothing is lost where nobody
reads the events.
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
"""Facts of a ledger entry that an event repeats: counts, moments and digests."""
ALERTS_EVERY = 5.0
"""Seconds between two checks of all deadlines."""


@dataclass(frozen=True)
class Event:
    """Something that happened. what: the kind, one word; facts: JSON values."""

    what: str
    request: str | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    at: str = field(default_factory=lambda: to_text(utcnow()))

    def line(self) -> str:
        """The event as one line of a log, in `name=value` pairs."""
        return line({"time": self.at, "event": self.what, "request": self.request, **self.facts})


Say = Callable[[Event], object]
"""Takes each event: prints, logs or counts it."""


def redacted_message(error: LmeraserError) -> str:
    """The part of an error that a log or the database may repeat. The text of a `DataError` may
    name a record, so only its kind is repeated."""
    return (
        "an input that cannot be used; run `lmeraser verify`"
        if isinstance(error, DataError)
        else str(error)
    )


LONGEST_PAUSE = 60.0
"""The most seconds between two tries, where one after the other ends in an error."""


@dataclass
class Pauses:
    """The pauses between tries that end in an error: 1 s, then twice as long each time, at most
    `LONGEST_PAUSE`."""

    seconds: float = 0.0
    until: float = 0.0
    why: str | None = None

    def begin(self, why: str | None = None) -> float:
        """Begin the next pause. Returns its seconds. why: the error, as people may see it."""
        self.why = why
        self.seconds = min(LONGEST_PAUSE, max(1.0, 2 * self.seconds))
        self.until = time.monotonic() + self.seconds
        return self.seconds

    def end(self) -> None:
        """Note that a try went well."""
        self.seconds, self.until, self.why = 0.0, 0.0, None

    @property
    def left(self) -> float:
        """The seconds until the next try."""
        return max(0.0, self.until - time.monotonic())

    @property
    def over(self) -> bool:
        """Whether it is time for the next try."""
        return self.left == 0.0


def error_event(what: str, error: LmeraserError, pause: float) -> Event:
    """The event of an error after which something is tried again. pause: in seconds."""
    facts = {"error": type(error).__name__, "message": redacted_message(error), "pause": pause}
    return Event(what, facts=facts)


class Follower:
    """Reads new ledger entries. The first look begins at the ledger's present end."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.read() as connection:
            self._after = ledger.head(connection).seq

    def new(self) -> list[Event]:
        """The events since the last call."""
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
    """The event of a ledger entry. more: facts that the entry does not hold itself."""
    facts = {name: entry.facts[name] for name in PLAIN_FACTS if name in entry.facts}
    completed = entry.facts.get("requests")
    if isinstance(completed, list):
        facts["requests"] = len(completed)
    return Event(entry.kind.lower(), entry.request, {**facts, **more}, entry.at)


class Alerts:
    """Raises one alert for each unanswered request and level: 50, 80, 95 and 100 percent of the
    time to its deadline."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._raised: dict[str, int] = {}

    def new(self, now: datetime) -> list[Event]:
        """The alerts since the last call. Of several levels passed at once, only the highest is
        raised. An extension lowers the level, so that alerts are raised again."""
        levels = alert_levels(self._database, now)
        found = [
            Event("alert", request, {"percent": level})
            for request, level in levels.items()
            if level is not None and level > self._raised.get(request, 0)
        ]
        self._raised = {request: level for request, level in levels.items() if level is not None}
        return found


def alert_levels(database: Database, now: datetime) -> dict[str, int | None]:
    """The level of each unanswered request, by its id: the highest of 50, 80, 95 and 100 percent
    of its time that is used up, or None."""
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
    """Passes on new events and alerts, and counts the requests that were closed."""

    def __init__(self, database: Database, say: Say) -> None:
        self._follower, self._alerts, self._say = Follower(database), Alerts(database), say
        self._next_alerts = 0.0
        self.closed: Counter[State] = Counter()

    def look(self) -> None:
        """Pass on what happened since the last call."""
        for event in self._follower.new():
            self._say(event)
            state = State.__members__.get(event.what.upper())
            if state is not None and state.is_closed:
                self.closed[state] += 1
        if time.monotonic() >= self._next_alerts:
            self._next_alerts = time.monotonic() + ALERTS_EVERY
            for event in self._alerts.new(utcnow()):
                self._say(event)
