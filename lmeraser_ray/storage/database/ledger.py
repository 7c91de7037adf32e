"""The ledger: an append-only list of what happened, in which each entry is hashed over the one
before. It holds keyed hashes and counts, no ids.

    hash(n) = SHA-256("ledger/1", hash(n - 1), canonical JSON of entry n), hash(0) = 64 zeros

    >>> from pathlib import Path; from tempfile import TemporaryDirectory
    >>> from lmeraser_ray.storage.database.database import Database
    >>> with TemporaryDirectory() as root, Database.open(Path(root), None).write() as connection:
    ...     entry = append(connection, "TRAINED", None, {"before": None, "after": "f" * 64})
    ...     entry.seq, entry.previous == GENESIS, head(connection).hash == entry.hash
    (1, True, True)

Invariants: an entry is written in the transaction of what it records; write transactions are
serial, so that the chain has no forks. `check` finds an entry that was changed, moved or taken out;
entries cut off at the end are found only with an older head that was kept elsewhere.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, insert, select

from lmeraser_ray.storage.database import tables
from lmeraser_ray.storage.digests import canonical_json, key_of
from lmeraser_ray.storage.times import to_text, utcnow

STATES = ("PUBLICATION", "TRAINED", "RESTORED")
"""The kinds of entries of publications, with the facts {"before": fingerprint or null, "after":
fingerprint}."""
GENESIS = "0" * 64
Facts = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One entry. text: its canonical JSON, over which the hash is."""

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
    """Add an entry, within the transaction of what it records. facts: JSON values; no ids of
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
    """The entries after number `after`, in order, unchecked."""
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
    """The fingerprint of the state that the ledger names as published last; None before the
    first."""
    entry = tables.ledger.c
    which = entry.kind.in_(STATES) & entry.request_id.is_(None)
    found = connection.scalar(select(entry.entry).where(which).order_by(entry.seq.desc()).limit(1))
    return str(json.loads(found)["facts"]["after"]) if found else None


def contains(connection: Connection, kept: LedgerHead) -> bool:
    """Whether a head that was kept elsewhere is still in the chain. If it is, and `check` finds
    nothing, no entry up to the head was rewritten or cut off."""
    if kept.seq == 0:
        return kept.hash == GENESIS
    return (
        connection.scalar(select(tables.ledger.c.hash).where(tables.ledger.c.seq == kept.seq))
        == kept.hash
    )


def check(connection: Connection) -> list[str]:
    """What is wrong with the chain: a sentence for each entry that was changed, is missing or is
    out of order."""
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
        said = json.loads(row.entry)
        same = (said["seq"], said["at"], said["kind"], said["request"]) == (
            row.seq,
            row.at,
            row.kind,
            row.request_id,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return "was changed: it is no entry"
    return None if same else "was changed: its columns are not what its text says"
