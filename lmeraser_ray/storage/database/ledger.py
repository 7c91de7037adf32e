"""The ledger: what happened, append-only, each entry hashed over the one before. Keyed hashes and
counts only, no ids.

    hash(n) = SHA-256("ledger/1", hash(n - 1), canonical JSON of entry n), hash(0) = 64 zeros

Invariants: an entry is written in the transaction of what it tells of; write transactions are
serial, so that the chain has no forks. An entry that is changed, moved or taken out is found by
`check`; one cut off at the end only against an older head that was kept elsewhere.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, insert, select

from lmeraser_ray.storage.database import tables
from lmeraser_ray.storage.digests import canonical_json, key_of
from lmeraser_ray.storage.times import to_text, utcnow

STATES = ("PUBLICATION", "TRAINED", "RESTORED")
"""The kinds of entries that say which published state followed on which: {"before": fingerprint or
null, "after": fingerprint}."""
GENESIS = "0" * 64
Facts = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One entry. text: its canonical JSON, which is hashed."""

    seq: int
    at: str
    kind: str
    request: str | None
    facts: dict[str, object]
    text: str
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class LedgerHead:
    """The last entry's number and hash; 0 and zeros of an empty ledger."""

    seq: int
    hash: str


def hash_of(previous: str, text: str) -> str:
    """An entry's hash: 64 hexadecimal digits."""
    return key_of("ledger/1", bytes.fromhex(previous), text.encode())


LAST = (
    select(tables.ledger.c.seq, tables.ledger.c.hash).order_by(tables.ledger.c.seq.desc()).limit(1)
)
"""Built once: every write transaction asks for it while all other writers wait."""


def head(connection: Connection) -> LedgerHead:
    """The end of the chain."""
    found = connection.execute(LAST).one_or_none()
    return LedgerHead(found.seq, found.hash) if found else LedgerHead(0, GENESIS)


def append(connection: Connection, kind: str, request: str | None, facts: Facts) -> LedgerEntry:
    """Add an entry, within the transaction of what it tells of. facts: JSON values; no ids of
    records or subjects."""
    return append_all(connection, kind, [(request, facts)])[0]


def append_all(
    connection: Connection, kind: str, entries: Sequence[tuple[str | None, Facts]]
) -> list[LedgerEntry]:
    """Add several entries of one kind, in order."""
    end, at = head(connection), to_text(utcnow())
    made: list[LedgerEntry] = []
    for request, facts in entries:
        seq = end.seq + 1
        text = canonical_json(
            {"seq": seq, "at": at, "kind": kind, "request": request, "facts": dict(facts)}
        ).decode()
        made.append(
            LedgerEntry(
                seq, at, kind, request, dict(facts), text, end.hash, hash_of(end.hash, text)
            )
        )
        end = LedgerHead(seq, made[-1].hash)
    if made:
        rows = [
            {
                "seq": e.seq,
                "at": e.at,
                "kind": e.kind,
                "request_id": e.request,
                "entry": e.text,
                "previous": e.previous,
                "hash": e.hash,
            }
            for e in made
        ]
        connection.execute(insert(tables.ledger), rows)
    return made


def entries(connection: Connection, *, after: int = 0) -> Iterator[LedgerEntry]:
    """The entries behind number `after`, in order, as they are: unchecked."""
    rows = connection.execute(
        select(tables.ledger).where(tables.ledger.c.seq > after).order_by(tables.ledger.c.seq)
    )
    for row in rows:
        try:
            facts = json.loads(row.entry)["facts"]
        except (ValueError, KeyError, TypeError):
            facts = {}
        yield LedgerEntry(
            row.seq, row.at, row.kind, row.request_id, facts, row.entry, row.previous, row.hash
        )


def published(connection: Connection) -> str | None:
    """The fingerprint of the state that was published last, as the ledger knows; None before the
    first."""
    entry = tables.ledger.c
    which = entry.kind.in_(STATES) & entry.request_id.is_(None)
    found = connection.scalar(select(entry.entry).where(which).order_by(entry.seq.desc()).limit(1))
    return str(json.loads(found)["facts"]["after"]) if found else None


def contains(connection: Connection, kept: LedgerHead) -> bool:
    """Whether a head that was kept elsewhere is still in the chain: if `check` finds nothing,
    nothing up to it was rewritten or cut off."""
    if kept.seq == 0:
        return kept.hash == GENESIS
    return (
        connection.scalar(select(tables.ledger.c.hash).where(tables.ledger.c.seq == kept.seq))
        == kept.hash
    )


def check(connection: Connection) -> list[str]:
    """What is wrong with the chain, a sentence for each entry: changed, missing, out of order.
    Empty when all is well."""
    found: list[str] = []
    end = LedgerHead(0, GENESIS)
    for row in connection.execute(select(tables.ledger).order_by(tables.ledger.c.seq)):
        if row.seq != end.seq + 1:
            several = f"ledger entries {end.seq + 1} to {row.seq - 1} are missing"
            found.append(
                f"ledger entry {end.seq + 1} is missing" if row.seq == end.seq + 2 else several
            )
        elif row.previous != end.hash:
            found.append(
                f"ledger entry {row.seq} does not follow entry {end.seq}: it names another hash "
                "as the one before"
            )
        problem = wrong(row)
        if problem:
            found.append(f"ledger entry {row.seq} {problem}")
        end = LedgerHead(row.seq, row.hash)
    return found


def wrong(row: Row[tuple[object, ...]]) -> str | None:
    """What is wrong with one row by itself."""
    try:
        if hash_of(row.previous, row.entry) != row.hash:
            return "was changed: its hash is another"
        told = json.loads(row.entry)
        same = (told["seq"], told["at"], told["kind"], told["request"]) == (
            row.seq,
            row.at,
            row.kind,
            row.request_id,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return "was changed: it is no entry"
    return None if same else "was changed: its columns are not what its text says"
