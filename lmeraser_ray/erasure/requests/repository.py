"""The requests of a workspace: submit them, look at them, and what people decide about them. Any
process may do it at any time; each call is one transaction, together with its ledger entry.

Invariants: `submit` returns after COMMIT, so a returned request is never lost; an idempotency key
stands for one request, whatever crashes and however often it is sent; every transition names the
states that it starts from, so that of two people who decide at once one is refused. Nothing here
reads the store: the queue resolves ids to records.
"""

import getpass
import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection, Select, bindparam, func, select

from lmeraser_ray.data.ids import clean_name
from lmeraser_ray.erasure.requests.events import Event, event_of
from lmeraser_ray.erasure.requests.findings import accept, findings_in
from lmeraser_ray.erasure.requests.reasons import kept_reason
from lmeraser_ray.erasure.requests.request import (
    FURTHER_MONTHS,
    ErasureRequest,
    State,
    Target,
    extended,
    month_after,
    read_requests,
)
from lmeraser_ray.erasure.requests.search import RequestSearch
from lmeraser_ray.erasure.requests.submission import (
    NO_NOTES,
    Submission,
    SubmissionNotes,
    content_of,
    deadline_of,
    insert_submission,
)
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.erasure.requests.transitions import Moved, chunks, held_by, move, wipe_names
from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer, TargetKind
from lmeraser_ray.storage.database.secret_versions import require_newest
from lmeraser_ray.storage.database.tombstones import lift_hashes
from lmeraser_ray.storage.times import from_text, to_text, utcnow

Clock = Callable[[], datetime]
requests, targets, erased = tables.requests, tables.targets, tables.erased
Found = list[ErasureRequest]
Events = list[Event]
UNANSWERED = requests.c.state.in_(State.where(lambda state: not state.is_answered))
ID_OF_KEY = select(requests.c.id).where(
    requests.c.idempotency.in_(bindparam("keys", expanding=True))
)
COUNT_OF_SUBMITTER = select(func.count()).where(
    requests.c.submitter.in_(bindparam("who", expanding=True)), UNANSWERED
)
"""Built once: while one process builds a statement under the lock, all others wait."""


class RequestRepository:
    """The erasure requests of one workspace."""

    def __init__(
        self, database: Database, pseudonymizer: Pseudonymizer, *, clock: Clock = utcnow
    ) -> None:
        self._database, self._pseudonymizer, self._clock = database, pseudonymizer, clock

    def submit(
        self,
        records: Iterable[str],
        subjects: Iterable[str],
        *,
        key: str | None = None,
        submitter: str | None = None,
        quarantine: bool = False,
        due: datetime | None = None,
        notes: SubmissionNotes = NO_NOTES,
        quota: int = 0,
    ) -> ErasureRequest:
        """Commit a request for these record ids, and for these subjects with all their records.

        key: idempotency key; sent again with the same ids, the existing request is returned.
        submitter: None for the user of this process. due: a deadline before the month that the law
        gives. notes: kept with the request, without names of the erased. quota: how many unanswered
        requests a submitter may have, 0 for any number. Errors: `ConfigError` where nothing is
        named, the key stands for other ids, `due` is too late or past, a note is empty or too long,
        or the quota is used up; `DataError` where a name cannot be an id.
        """
        who = submitter or this_user()
        mine = self._submission(records, subjects, key, who, quarantine, due, notes)
        with self._database.write() as connection:
            require_newest(connection, self._pseudonymizer)
            known = None if key is None else known_request(connection, mine)
            if known is not None:
                return known
            require_quota(connection, mine.submitters, quota)
            return insert_submission(connection, mine, self._pseudonymizer)

    def _submission(
        self,
        records: Iterable[str],
        subjects: Iterable[str],
        key: str | None,
        submitter: str,
        quarantine: bool,
        due: datetime | None,
        notes: SubmissionNotes,
    ) -> Submission:
        """What `submit` inserts. Errors: as there."""
        found, names, now = self._targets(records, subjects), self._pseudonymizer, self._clock()
        contents = tuple(content_of(names, found, version) for version in names.versions)
        keys = () if key is None else names.hashes("key", key)
        submitters = names.hashes("submitter", submitter)
        row = {
            "id": f"er-{now:%Y%m%d}-{secrets.token_hex(8)}",
            "idempotency": keys[0] if keys else None,
            "content": contents[0],
            "submitter": submitters[0],
            "secret": names.version,
            "state": str(State.RECEIVED),
            "quarantine": quarantine,
            "received_at": to_text(now),
            "due_at": to_text(deadline_of(now, due)),
            "attempts": 0,
        }
        facts = {
            "content": contents[0],
            "targets": len(found),
            "quarantine": quarantine,
            "received": row["received_at"],
            "due": row["due_at"],
        }
        return Submission(row, notes, found, facts, keys, submitters, contents)

    def _targets(self, records: Iterable[str], subjects: Iterable[str]) -> tuple[Target, ...]:
        """The ids, cleaned, once each, in the order of kind and hash. Errors: as `submit`."""
        named = ErasureTargets(records, subjects)
        kinds: tuple[tuple[TargetKind, str, Sequence[str]], ...] = (
            ("record", "record id", named.records),
            ("subject", "subject", named.subjects),
        )
        found = {
            Target(what, clean, self._pseudonymizer.hash(what, clean), "open")
            for what, title, names in kinds
            for clean in (
                clean_name(name, what=title, where="The request", kept=True) for name in names
            )
        }
        if not found:
            raise ConfigError(
                "Nothing to erase was named: give --records, --subjects, --file or --subjects_file."
            )
        return tuple(sorted(found, key=lambda target: (target.what, target.hash)))

    def get(self, name: str) -> ErasureRequest:
        """The request of this id. Errors: `DataError` where there is none."""
        with self._database.read() as connection:
            return require(connection, name)

    def list(self, states: Iterable[State] | None = None, limit: int | None = None) -> Found:
        """The requests in these states (None: in all), the oldest first."""
        asked: Select[tuple[object, ...]] = (
            select(requests).order_by(requests.c.received_at, requests.c.id).limit(limit)
        )
        if states is not None:
            asked = asked.where(requests.c.state.in_(list(states)))
        with self._database.read() as connection:
            return read_requests(connection, asked)

    def search(self, asked: RequestSearch, limit: int | None = None) -> Found:
        """The requests that a search asks for, the newest first, without their statements and
        certificates."""
        columns = [each for each in requests.c if each.name not in ("statement", "envelope")]
        found = select(*columns).where(*asked.conditions(self._pseudonymizer))
        found = found.order_by(requests.c.received_at.desc(), requests.c.id).limit(limit)
        with self._database.read() as connection:
            return read_requests(connection, found)

    def history(self, name: str) -> Events:
        """What happened to a request, as the ledger has it, in order. Errors: `DataError` where
        there is none."""
        with self._database.read() as connection:
            require(connection, name)
            found = ledger.entries(connection, request=name)
            return [event_of(entry, {}) for entry in found]

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
        """When the oldest unanswered request was received; None where all are answered."""
        asked = select(func.min(requests.c.received_at)).where(UNANSWERED)
        with self._database.read() as connection:
            found = connection.scalar(asked)
        return from_text(found) if found else None

    def cancel(self, name: str, reason: str) -> ErasureRequest:
        """RECEIVED → CANCELLED, by the submitter. The names are wiped. Errors: `ConfigError` where
        the request is in another state, or the reason is empty."""
        return self._close(name, [State.RECEIVED], State.CANCELLED, reason)

    def refuse(self, name: str, reason: str) -> ErasureRequest:
        """RECEIVED, PLANNED or FAILED → REFUSED: a legal hold (GDPR art. 17(3)). The names are
        wiped, and tombstones that no other request needs are removed.

        Errors: `ConfigError` where the request is in another state, or the reason is empty.
        """
        return self._close(
            name, [State.RECEIVED, State.PLANNED, State.FAILED], State.REFUSED, reason
        )

    def _close(
        self, name: str, sources: Sequence[State], goal: State, reason: str
    ) -> ErasureRequest:
        """Change a request to REFUSED or CANCELLED."""
        with self._database.write() as connection:
            reason = self._reason(connection, reason)
            facts = {"reason": self._pseudonymizer.hash("reason", reason)}
            values = {"closed_at": to_text(self._clock()), "reason": reason}
            self._require_moved(
                connection, move(connection, [name], sources, goal, values, facts), sources, goal
            )
            lift_hashes(connection, unneeded(connection, name))
            wipe_names(connection, [name])
            closed = require(connection, name)
        self._database.vacuum_names()
        return closed

    def extend(self, name: str, months: int, reason: str) -> ErasureRequest:
        """Extend the deadline by 1 or 2 months, once, within the first month (GDPR art. 12(3)).
        Errors: `ConfigError` otherwise."""
        if months not in range(1, FURTHER_MONTHS + 1):
            raise ConfigError(
                f"--months is {months}: the law allows 1 or {FURTHER_MONTHS} further months."
            )
        with self._database.write() as connection:
            reason = self._reason(connection, reason)
            facts = {"months": months, "reason": self._pseudonymizer.hash("reason", reason)}
            found = require(connection, name)
            if found.state.is_answered or found.extended_at is not None:
                state = f"is {found.state}" if found.state.is_answered else "was extended before"
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
            values = {"extended_at": until, "extension_reason": reason}
            connection.execute(requests.update().where(requests.c.id == name).values(values))
            ledger.append(connection, "EXTENDED", name, {**facts, "due": until})
            return require(connection, name)

    def retry(self, name: str) -> ErasureRequest:
        """FAILED → RECEIVED, with its attempts back to 0; FAILED → PUBLISHED, to be proven again,
        where the request's records had left before an earlier release gave it up. Errors:
        `ConfigError` where the request is in another state."""
        with self._database.write() as connection:
            left = require(connection, name).published_at is not None
            goal = State.PUBLISHED if left else State.RECEIVED
            values = {"attempts": 0, "reason": None, "closed_at": None, "purged_at": None}
            moved = move(connection, [name], [State.FAILED], goal, values, {"retry": True})
            self._require_moved(connection, moved, [State.FAILED], goal)
            return require(connection, name)

    def accept(self, name: str, reason: str) -> ErasureRequest:
        """Accept the findings that hold a PUBLISHED request back, so that the queue certifies the
        erasure with these findings named. Errors: `ConfigError` where no finding holds the request
        back, or the reason is empty."""
        with self._database.write() as connection:
            reason = self._pseudonymizer.hash("reason", self._reason(connection, reason))
            found = require(connection, name)
            if found.state is not State.PUBLISHED or not found.findings:
                raise ConfigError(
                    f"The request {name} is {found.state}, and no finding of the absence scan "
                    "holds it back: there is nothing to accept."
                )
            values = {"exceptions": accept(found.findings, found.exceptions, self._clock(), reason)}
            connection.execute(requests.update().where(requests.c.id == name).values(values))
            count = len(findings_in(found.findings))
            digest = hashlib.sha256(found.findings.encode()).hexdigest()
            facts = {"findings": count, "digest": digest, "reason": reason}
            ledger.append(connection, "ACCEPTED", name, facts)
            return require(connection, name)

    def _reason(self, connection: Connection, reason: str) -> str:
        """A typed reason as it is kept. Errors: `ConfigError` where it is empty."""
        return kept_reason(connection, self._pseudonymizer, reason)

    @staticmethod
    def _require_moved(
        connection: Connection, moved: Moved, sources: Sequence[State], goal: State
    ) -> None:
        """Errors: `DataError` where the request does not exist, `ConfigError` where it is in none
        of the states `sources`."""
        for name in moved.meanwhile:
            allowed = " or ".join(sources)
            raise ConfigError(
                f"The request {name} is {require(connection, name).state}: only from {allowed} it "
                f"can become {goal}."
            )


def require(connection: Connection, name: str) -> ErasureRequest:
    """The request of this id. Errors: `DataError` where there is none."""
    found = read_requests(connection, select(requests).where(requests.c.id == name))
    if not found:
        raise DataError(
            f"There is no erasure request {name!r} here: `lmeraser status` lists those that are "
            "open."
        )
    return found[0]


def known_request(connection: Connection, mine: Submission) -> ErasureRequest | None:
    """The request that already has this submission's idempotency key, None where the key is new.
    Errors: `ConfigError` where that request names other ids."""
    name = connection.scalar(ID_OF_KEY, {"keys": mine.keys})
    if name is None:
        return None
    found = require(connection, name)
    if found.content not in mine.contents:
        raise ConfigError(
            f"This --key was used for the request {name}, which names other ids: take a "
            "new key for a new request."
        )
    return found


def require_quota(connection: Connection, submitter: Sequence[str], quota: int) -> None:
    """Errors: `ConfigError` where the submitter (by hashes) has as many unanswered requests as the
    quota allows (0: any number)."""
    if not quota:
        return
    count = connection.scalar(COUNT_OF_SUBMITTER, {"who": submitter}) or 0
    if count >= quota:
        raise ConfigError(
            f"The submitter has {count:,} unanswered requests, the quota is {quota:,} "
            "(queue.quota): wait for some, or name more ids in one request."
        )


def unneeded(connection: Connection, name: str) -> set[str]:
    """The tombstones that a request set when it was planned and that no other request keeps."""
    if connection.scalar(select(requests.c.planned_at).where(requests.c.id == name)) is None:
        return set()
    own = held_by(connection, name)
    others = select(requests.c.id).where(
        requests.c.planned_at.is_not(None),
        requests.c.state.not_in(State.where(lambda state: state.is_given_up)),
        requests.c.id != name,
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
    """The name of the user of this process, or `uid` with the number where there is no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name for it, as in many containers
        return f"uid {os.getuid()}"
