"""RequestRepository: what people may do with erasure requests. Any process, at any time; each call
is one transaction, with its ledger entry.

Invariants: what `submit` returns is committed; one key has one request, whatever crashes and
however often it is sent; a transition guards the state that it starts from, so that two people
cannot both win. Nothing here reads the store: ids are resolved by the queue.
"""

import getpass
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, Select, func, select

from lmeraser_ray.data.ids import clean_name
from lmeraser_ray.erasure.requests.group_commit import (
    Round,
    Standing,
    Submission,
    insert_all,
    together,
)
from lmeraser_ray.erasure.requests.request import (
    FURTHER_MONTHS,
    UNANSWERED,
    ErasureRequest,
    State,
    Target,
    extended,
    month_after,
    read_requests,
    request_of,
)
from lmeraser_ray.erasure.requests.transitions import Moved, chunks, held_by, move, wipe_names
from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.database.tombstones import lift_hashes
from lmeraser_ray.storage.digests import canonical_json
from lmeraser_ray.storage.times import from_text, to_text, utcnow

Clock = Callable[[], datetime]
requests, targets, erased = tables.requests, tables.targets, tables.erased
Found = list[ErasureRequest]
GIVEN_UP = (str(State.REFUSED), str(State.CANCELLED))


class RequestRepository:
    """The erasure requests of one workspace."""

    def __init__(self, database: Database, names: Pseudonymizer, *, clock: Clock = utcnow) -> None:
        self._database, self._names, self._clock = database, names, clock

    def submit(
        self,
        records: Sequence[str],
        subjects: Sequence[str],
        *,
        key: str | None = None,
        submitter: str | None = None,
        quarantine: bool = False,
        due: datetime | None = None,
        quota: int = 0,
    ) -> ErasureRequest:
        """Commit a request for these record ids and these subjects with all their records.

        key: sent again with the same ids, it gives the request that it gave before; submitter: the
        user of this process, if None; due: an earlier deadline than the month that the law gives;
        quota: unanswered requests that a submitter may have, 0 for any number. Errors:
        `ConfigError` where nothing is named, the key stands for other ids, `due` is too late or
        past, the quota is used up; `DataError` where an id cannot be one.
        """
        mine = self._submission(
            records, subjects, key, submitter or this_user(), quarantine, due, quota
        )

        def insert(here: Round) -> ErasureRequest:
            others = here.gather()
            with self._database.write() as connection:
                standing = Standing.read(connection, [mine, *others])
                known = self._known(connection, mine) if standing.holds(mine) else None
                if known is None:
                    require_quota(standing, mine)
                chosen = [each for each in (mine, *others) if standing.take(each)]
                insert_all(connection, chosen)
            here.committed = frozenset(each.id for each in chosen)
            return known or request_of(mine.row, mine.targets)

        path = self._database.waiting
        if path is None:
            return insert(Round(None))
        return together(path, mine, insert=insert, there=self._database.has_request) or request_of(
            mine.row, mine.targets
        )

    def _submission(
        self,
        records: Sequence[str],
        subjects: Sequence[str],
        key: str | None,
        who: str,
        quarantine: bool,
        due: datetime | None,
        quota: int,
    ) -> Submission:
        """What `submit` wants to insert. Errors: as there."""
        found = self._targets(records, subjects)
        content = self._names.hash(
            "content", canonical_json([[target.what, target.hash] for target in found]).decode()
        )
        now = self._clock()
        row = {
            "id": f"er-{now:%Y%m%d}-{secrets.token_hex(8)}",
            "idempotency": None if key is None else self._names.hash("key", key),
            "content": content,
            "submitter": who,
            "state": str(State.RECEIVED),
            "quarantine": quarantine,
            "received_at": to_text(now),
            "due_at": to_text(deadline_of(now, due)),
            "attempts": 0,
        }
        facts = {
            "content": content,
            "targets": len(found),
            "quarantine": quarantine,
            "due": row["due_at"],
        }
        return Submission(row, found, facts, quota)

    def _targets(self, records: Sequence[str], subjects: Sequence[str]) -> tuple[Target, ...]:
        """The ids, cleaned, once each, in the order of kind and hash. Errors: as `submit`."""
        named = {
            ("record", clean_name(name, what="record id", where="The request")) for name in records
        }
        named |= {
            ("subject", clean_name(name, what="subject", where="The request")) for name in subjects
        }
        if not named:
            raise ConfigError(
                "Nothing to erase was named: give --records, --subjects, --file or --subjects_file."
            )
        hashed = sorted((what, self._names.hash(what, name), name) for what, name in named)
        return tuple(
            Target("record" if what == "record" else "subject", name, found, "open")
            for what, found, name in hashed
        )

    @staticmethod
    def _known(connection: Connection, mine: Submission) -> ErasureRequest:
        """The request that has this one's id or its key. Errors: `ConfigError` where the key stands
        for something else."""
        its_own, key = requests.c.id == mine.id, mine.row["idempotency"]
        asked = select(requests).where(
            its_own if key is None else its_own | (requests.c.idempotency == key)
        )
        [found] = read_requests(connection, asked)
        if found.content != mine.row["content"]:
            raise ConfigError(
                f"This --key was used for the request {found.id}, which names other ids: take a "
                "new key for a new request."
            )
        return found

    def get(self, name: str) -> ErasureRequest:
        """A request by its id. Errors: `DataError` where there is none."""
        with self._database.read() as connection:
            return require(connection, name)

    def list(self, states: Iterable[State] | None = None, limit: int | None = None) -> Found:
        """The requests in these states (all, if None), the oldest first."""
        asked: Select[tuple[object, ...]] = (
            select(requests).order_by(requests.c.received_at, requests.c.id).limit(limit)
        )
        if states is not None:
            asked = asked.where(requests.c.state.in_(sorted(map(str, states))))
        with self._database.read() as connection:
            return read_requests(connection, asked)

    def counts(self) -> dict[State, int]:
        """How many requests are in each state."""
        with self._database.read() as connection:
            found = {
                row[0]: row[1]
                for row in connection.execute(
                    select(requests.c.state, func.count()).group_by(requests.c.state)
                )
            }
        return {state: found.get(str(state), 0) for state in State}

    def oldest_open(self) -> datetime | None:
        """When the oldest request came that is not answered."""
        asked = select(func.min(requests.c.received_at)).where(
            requests.c.state.in_(sorted(map(str, UNANSWERED)))
        )
        with self._database.read() as connection:
            found = connection.scalar(asked)
        return from_text(found) if found else None

    def cancel(self, name: str, reason: str) -> ErasureRequest:
        """RECEIVED → CANCELLED, by its submitter. Its names go. Errors: `ConfigError` where it is
        in another state, or without a reason."""
        return self._close(name, [State.RECEIVED], State.CANCELLED, reason)

    def refuse(self, name: str, reason: str) -> ErasureRequest:
        """RECEIVED, PLANNED or FAILED → REFUSED: a legal hold (GDPR art. 17(3)). Its names go, and
        the tombstones that only it needs.

        Errors: `ConfigError` where it is in another state, or without a reason.
        """
        return self._close(
            name, [State.RECEIVED, State.PLANNED, State.FAILED], State.REFUSED, reason
        )

    def _close(
        self, name: str, sources: Sequence[State], goal: State, reason: str
    ) -> ErasureRequest:
        """To REFUSED or CANCELLED."""
        facts = {"reason": self._names.hash("reason", self._reason(reason))}
        with self._database.write() as connection:
            values = {"closed_at": to_text(self._clock()), "reason": reason.strip()}
            self._require_moved(
                connection, move(connection, [name], sources, goal, values, facts), sources, goal
            )
            lift_hashes(connection, unneeded(connection, name))
            wipe_names(connection, [name])
            closed = require(connection, name)
        self._database.vacuum_names()
        return closed

    def extend(self, name: str, months: int, reason: str) -> ErasureRequest:
        """Put the deadline 1 or 2 months off, once, within the first month (GDPR art. 12(3)).
        Errors: `ConfigError` otherwise."""
        if months not in range(1, FURTHER_MONTHS + 1):
            raise ConfigError(
                f"--months is {months}: the law allows 1 or {FURTHER_MONTHS} further months."
            )
        facts = {"months": months, "reason": self._names.hash("reason", self._reason(reason))}
        with self._database.write() as connection:
            found = require(connection, name)
            if found.state not in UNANSWERED or found.extended_at is not None:
                state = (
                    f"is {found.state}" if found.state not in UNANSWERED else "was extended before"
                )
                raise ConfigError(
                    f"The request {name} {state}: only an unanswered request can be extended, and "
                    "only once."
                )
            if self._clock() > month_after(found.received_at):
                raise ConfigError(
                    f"The request {name} is older than a month: it could be extended only within "
                    "the first month."
                )
            until = to_text(extended(found.received_at, months))
            values = {"extended_at": until, "extension_reason": reason.strip()}
            connection.execute(requests.update().where(requests.c.id == name).values(values))
            ledger.append(connection, "EXTENDED", name, {**facts, "due": until})
            return require(connection, name)

    def retry(self, name: str) -> ErasureRequest:
        """FAILED → RECEIVED, its attempts forgotten. Errors: `ConfigError` where it is in another
        state."""
        with self._database.write() as connection:
            values = {"attempts": 0, "reason": None, "closed_at": None}
            moved = move(
                connection, [name], [State.FAILED], State.RECEIVED, values, {"retry": True}
            )
            self._require_moved(connection, moved, [State.FAILED], State.RECEIVED)
            return require(connection, name)

    @staticmethod
    def _reason(reason: str) -> str:
        if not reason.strip():
            raise ConfigError(
                "--reason is empty: say why, in a sentence without ids; it stays with the request."
            )
        return reason.strip()

    @staticmethod
    def _require_moved(
        connection: Connection, moved: Moved, sources: Sequence[State], goal: State
    ) -> None:
        """Errors: `DataError`, `ConfigError` where the request is not there, or in another state
        than one of `sources`."""
        for name in moved.meanwhile:
            allowed = " or ".join(sources)
            raise ConfigError(
                f"The request {name} is {require(connection, name).state}: only from {allowed} it "
                f"can become {goal}."
            )


def require(connection: Connection, name: str) -> ErasureRequest:
    """A request by its id. Errors: `DataError` where there is none."""
    found = read_requests(connection, select(requests).where(requests.c.id == name))
    if not found:
        raise DataError(
            f"There is no erasure request {name!r} here: `lmeraser status` lists those that are "
            "open."
        )
    return found[0]


def require_quota(standing: Standing, mine: Submission) -> None:
    """Errors: `ConfigError` where the submitter has as many unanswered requests as the quota
    allows."""
    if standing.full(mine):
        raise ConfigError(
            f"The submitter has {standing.open[mine.row['submitter']]:,} unanswered requests, the "
            f"quota is {mine.quota:,} (queue.quota): wait for some, or name more ids in one "
            "request."
        )


def deadline_of(received: datetime, due: datetime | None) -> datetime:
    """When a request that is received now must be answered. Errors: `ConfigError` where `due` is
    later than the law has it, or past."""
    month = month_after(received)
    if due is not None and not received < due.astimezone(UTC) <= month:
        raise ConfigError(
            f"--due {due.isoformat()} is "
            f"{'past' if due.astimezone(UTC) <= received else 'later than a month from now'}: "
            f"give a moment up to {to_text(month)}. A month is what the law gives; `lmeraser "
            "extend` puts it off, with a reason."
        )
    return due or month


def unneeded(connection: Connection, name: str) -> set[str]:
    """The tombstones that a request placed when it was planned, and that no other request keeps."""
    if connection.scalar(select(requests.c.planned_at).where(requests.c.id == name)) is None:
        return set()
    own = held_by(connection, name)
    others = select(requests.c.id).where(
        requests.c.planned_at.is_not(None), requests.c.state.not_in(GIVEN_UP), requests.c.id != name
    )
    kept: set[str] = set()
    for part in chunks(sorted(own)):
        for table in (erased, targets):
            kept.update(
                connection.scalars(
                    select(table.c.hash).where(
                        table.c.hash.in_(part), table.c.request_id.in_(others)
                    )
                )
            )
    return own - kept


def this_user() -> str:
    """The user of this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name for it, as in many containers
        return f"uid {os.getuid()}"
