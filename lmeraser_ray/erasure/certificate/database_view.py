"""The request database at one moment, as the signer and an audit compare it: the ledger, the rows
of requests and publications, and what was published then.

    database + pointer ──► take_view ──► View ──► cross_checks.py, recomputation.py

Nothing here is believed: a view says what is there, and the comparisons what does not hold of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from lmeraser_ray.erasure.certificate.statement import Statement
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.ledger import START, LedgerEntry, LedgerHead, Seal
from lmeraser_ray.storage.database.tables import erased, publications, requests, targets


@dataclass(frozen=True)
class RequestRow:
    """The columns of a request that are compared, as the database holds them."""

    id: str
    state: str
    received_at: str
    due_at: str
    extended_at: str | None
    planned_at: str | None
    training_at: str | None
    published_at: str | None
    publication: int | None


class TargetRow(NamedTuple):
    """A target as the database has it, which may be none that a statement can have."""

    what: str
    hash: str
    outcome: str

    @classmethod
    def said_in(cls, statement: Statement) -> "frozenset[TargetRow]":
        """The targets that a statement names."""
        found = statement.erased.targets
        return frozenset(cls(each.what, each.hash, each.outcome) for each in found)


@dataclass(frozen=True)
class RecordedProof:
    """What the database holds of a purged or certified request: the frozen statement, the envelope,
    the targets, the hashes of the removed records, and the publications that they left with."""

    row: RequestRow
    statement: bytes
    envelope: bytes
    targets: frozenset[TargetRow]
    records: frozenset[str]
    publications: frozenset[int]


@dataclass(frozen=True)
class PublicationRow:
    """A publication. before, after: the states, as the ledger names them; facts: JSON."""

    id: int
    before: str | None
    after: str | None
    facts: str
    done: bool


@dataclass(frozen=True)
class StateEntry:
    """An entry of a publication, with the states before and after as keyed hashes."""

    entry: LedgerEntry
    before: str | None
    after: str | None


@dataclass(frozen=True)
class View:
    """The database at one moment, and what was published then.

    broken: what is wrong with the ledger's chain; entries: of the ledger, all of them or those
    since the first one of the requests that are looked at; keyed: the first keyed entry of a ledger
    that an earlier release began; current: the published fingerprint.
    """

    seal: Seal
    broken: tuple[str, ...]
    entries: tuple[LedgerEntry, ...]
    keyed: LedgerEntry | None
    head: LedgerHead
    rows: dict[str, RequestRow]
    publications: dict[int, PublicationRow]
    current: str | None

    @property
    def state(self) -> str | None:
        """The published state, as the ledger names it."""
        return self.seal.state(self.current) if self.current else None

    @property
    def begun(self) -> list[tuple[str | None, str | None]]:
        """The publications that were begun and not concluded: the states before and after."""
        return [(row.before, row.after) for row in self.publications.values() if not row.done]

    @cached_property
    def hashes(self) -> dict[int, str]:
        """The hashes of the entries by their numbers."""
        return {entry.seq: entry.hash for entry in self.entries}

    @cached_property
    def changes(self) -> list[StateEntry]:
        """The entries of publications, in order."""
        return [
            StateEntry(entry, *entry.states(self.seal))
            for entry in self.entries
            if entry.kind in ledger.STATES and entry.request is None
        ]

    @cached_property
    def of_requests(self) -> dict[str, list[LedgerEntry]]:
        """The entries of each request, in order."""
        found: dict[str, list[LedgerEntry]] = {}
        for entry in self.entries:
            if entry.request:
                found.setdefault(entry.request, []).append(entry)
        return found


def take_view(
    folder: WorkspaceFolder,
    database: Database,
    *,
    of: Sequence[str] | None = None,
    signed: LedgerHead = START,
) -> View:
    """Read all but the statements and certificates at one moment: again where another state is
    published meanwhile.

    of: the ids of the requests that are looked at, None for all: of the others, and of the ledger
    before them, nothing is read. signed: a head that was signed; what follows it must be keyed.
    """
    while True:
        before = folder.current()
        with database.read() as conn:
            found = read_view(conn, before.key if before else None, of, signed)
        if folder.current() == before:
            return found


def read_view(
    conn: Connection, current: str | None, of: Sequence[str] | None, signed: LedgerHead
) -> View:
    """Read a view within a transaction. current: the published fingerprint."""
    begin = START if of is None else before_first(conn, of, signed)
    keyed = select(tables.ledger).where(tables.ledger.c.kind == ledger.KEYED)
    first = conn.execute(keyed.order_by(tables.ledger.c.seq).limit(1)).one_or_none()
    return View(
        ledger.seal_of(conn),
        tuple(ledger.check(conn, begin, keyed_after=signed.seq)),
        tuple(ledger.entries(conn, after=begin.seq)),
        ledger.entry_of(first) if first else None,
        ledger.head(conn),
        rows_of(conn, of),
        publication_rows(conn),
        current,
    )


def before_first(conn: Connection, ids: Sequence[str], signed: LedgerHead) -> LedgerHead:
    """The head before the first entry of these requests, or `signed` where that is earlier. Without
    a signed head, the start of the ledger: nothing vouches for what is before."""
    entry = tables.ledger.c
    first = conn.scalar(select(func.min(entry.seq)).where(entry.request_id.in_(ids)))
    if not signed.seq or first is None:
        return START
    if first > signed.seq:
        return signed
    row = conn.execute(select(entry.seq, entry.hash).where(entry.seq == first - 1)).one_or_none()
    return LedgerHead(row.seq, row.hash) if row else START


def rows_of(conn: Connection, ids: Sequence[str] | None = None) -> dict[str, RequestRow]:
    """The requests of these ids, None for every one, by their ids."""
    columns = [requests.c[field.name] for field in fields(RequestRow)]
    asked = select(*columns).order_by(requests.c.id)
    if ids is not None:
        asked = asked.where(requests.c.id.in_(ids))
    return {row.id: RequestRow(*row) for row in conn.execute(asked)}


def publication_rows(conn: Connection) -> dict[int, PublicationRow]:
    """Every publication by its number."""
    columns = [publications.c[field.name] for field in fields(PublicationRow)]
    return {row.id: PublicationRow(*row) for row in conn.execute(select(*columns))}


def proofs_of(conn: Connection, rows: Sequence[RequestRow]) -> list[RecordedProof]:
    """What the database holds of these requests, unchecked; a missing statement or envelope is
    empty."""
    ids = [row.id for row in rows]
    named: dict[str, set[TargetRow]] = {}
    asked = targets.c.request_id, targets.c.what, targets.c.hash, targets.c.outcome
    for target in conn.execute(select(*asked).where(targets.c.request_id.in_(ids))):
        named.setdefault(target.request_id, set()).add(
            TargetRow(target.what, target.hash, target.outcome)
        )
    gone: dict[str, dict[str, int | None]] = {}
    columns = erased.c.request_id, erased.c.hash, erased.c.publication
    for record in conn.execute(select(*columns).where(erased.c.request_id.in_(ids))):
        gone.setdefault(record.request_id, {})[record.hash] = record.publication
    signed = requests.c.id, requests.c.statement, requests.c.envelope
    kept = {row.id: row for row in conn.execute(select(*signed).where(requests.c.id.in_(ids)))}
    return [
        RecordedProof(
            *(row, bytes(kept[row.id].statement or b""), bytes(kept[row.id].envelope or b"")),
            *(frozenset(named.get(row.id, ())), frozenset(gone.get(row.id, ()))),
            frozenset(number or 0 for number in gone.get(row.id, {}).values()),
        )
        for row in rows
        if row.id in kept
    ]
