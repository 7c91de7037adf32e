"""The ledger: an append-only list of what happened, in which each entry is hashed over the one
before, under the workspace's secret. It holds keyed hashes and counts, no ids.

    hash(n) = HMAC-SHA-256(secret, "ledger/2", hash(n - 1), canonical JSON of entry n)
    hash(0) = 64 zeros

    >>> from pathlib import Path; from tempfile import TemporaryDirectory
    >>> from lmeraser_ray.storage.database.database import Database
    >>> with TemporaryDirectory() as root, Database.open(Path(root), None).write() as connection:
    ...     state = state_of(connection, "f" * 64)
    ...     entry = append(connection, "TRAINED", None, {"before": None, "after": state})
    ...     entry.seq, entry.previous == GENESIS, head(connection).hash == entry.hash
    (1, True, True)

Invariants: an entry is written in the transaction of what it records; write transactions are
serial, so that the chain has no forks. `check` finds an entry that was changed, moved, taken out,
or added without the secret; entries cut off at the end are found only with an older head that was
kept elsewhere.

Before format 2 of the database a hash was SHA-256("ledger/1", hash(n - 1), entry n): a plain entry.
The upgrade appended one entry `KEYED`, and no plain one is accepted after a keyed one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from pydantic import model_validator
from sqlalchemy import Connection, Row, insert, select

from lmeraser_ray.storage.database import tables
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.digests import canonical_json, key_of
from lmeraser_ray.storage.foreign_json import ForeignJson, JsonObject, Natural
from lmeraser_ray.storage.times import to_text, utcnow

STATES = ("PUBLICATION", "TRAINED", "RESTORED")
"""The kinds of entries of publications, with the facts {"before": state or null, "after": state}. A
state is the keyed hash of its fingerprint; in a plain entry, the fingerprint."""
KEYED = "KEYED"
"""The kind of the first keyed entry of a ledger that an earlier release began."""
SEAL = "ledger_seal"
"""The execution option of a connection that holds its `Seal`."""
GENESIS = "0" * 64
Facts = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Seal:
    """Keys a workspace's ledger, under the first version of the secret: entries and states stay
    comparable when it is rotated. Nothing else in the ledger knows of the secret."""

    names: Pseudonymizer

    def entry(self, previous: str, text: str) -> str:
        """An entry's hash: 64 hexadecimal digits."""
        data = bytes.fromhex(previous) + text.encode()
        return self.names.seal("ledger/2", data, version=self.names.first)

    def state(self, fingerprint: str) -> str:
        """The keyed hash of a state's fingerprint: without the secret nobody can compare it with
        the fingerprint of records that are guessed."""
        return self.names.seal("state", fingerprint.encode(), version=self.names.first)


def seal_of(connection: Connection) -> Seal:
    """The seal of the database that opened this connection."""
    found: Seal = connection.get_execution_options()[SEAL]
    return found


def state_of(connection: Connection, fingerprint: str) -> str:
    """The keyed hash of a state's fingerprint, as the facts of an entry name the state."""
    return seal_of(connection).state(fingerprint)


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

    @property
    def plain(self) -> bool:
        """Whether an earlier release wrote the entry, without a key."""
        return plain_hash(self.previous, self.text) == self.hash

    def hashes(self, fact: str) -> frozenset[str]:
        """The keyed hashes that a fact lists; an earlier release only counted them."""
        found = self.facts.get(fact)
        return frozenset(str(each) for each in found) if isinstance(found, list) else frozenset()

    def states(self, seal: Seal) -> tuple[str | None, str | None]:
        """The keyed hashes of the states before and after, of an entry of a publication."""
        both = self.facts.get("before"), self.facts.get("after")
        before, after = (None if state is None else str(state) for state in both)
        if not self.plain:
            return before, after
        return before and seal.state(before), after and seal.state(after)


class EntryJson(ForeignJson):
    """The text of an entry."""

    seq: Natural
    at: str
    kind: str
    request: str | None
    facts: JsonObject

    @model_validator(mode="after")
    def _states(self) -> Self:
        """The facts of a publication name states."""
        if self.kind in STATES and self.request is None:
            for name in ("before", "after"):
                if not isinstance(self.facts.get(name), str | None):
                    raise ValueError(f"{name} is no state")  # noqa: TRY004 - pydantic's
        return self


@dataclass(frozen=True, slots=True)
class LedgerHead:
    """The last entry's number and hash; 0 and zeros of an empty ledger."""

    seq: int
    hash: str


START = LedgerHead(0, GENESIS)
"""The head of an empty ledger."""


def plain_hash(previous: str, text: str) -> str | None:
    """The hash of an entry of an earlier release; None where these are no columns of an entry."""
    try:
        return key_of("ledger/1", bytes.fromhex(previous), text.encode())
    except (ValueError, TypeError, AttributeError):
        return None


LAST = (
    select(tables.ledger.c.seq, tables.ledger.c.hash).order_by(tables.ledger.c.seq.desc()).limit(1)
)
"""Built once: every write transaction asks for it while all other writers wait."""


def digest_of_hashes(hashes: Iterable[str]) -> str:
    """The digest over a set of keyed hashes, by which the facts of an entry name the set."""
    return key_of("hashes", "".join(sorted(set(hashes))).encode())


def head(connection: Connection) -> LedgerHead:
    """The end of the chain."""
    found = connection.execute(LAST).one_or_none()
    return LedgerHead(found.seq, found.hash) if found else START


def append(connection: Connection, kind: str, request: str | None, facts: Facts) -> LedgerEntry:
    """Add an entry, within the transaction of what it records. facts: JSON values; no ids of
    records or subjects."""
    return append_all(connection, kind, [(request, facts)])[0]


def append_all(
    connection: Connection, kind: str, entries: Sequence[tuple[str | None, Facts]]
) -> list[LedgerEntry]:
    """Add several entries of one kind, in order."""
    end, at, seal = head(connection), to_text(utcnow()), seal_of(connection)
    made: list[LedgerEntry] = []
    for request, facts in entries:
        seq = end.seq + 1
        text = canonical_json(
            {"seq": seq, "at": at, "kind": kind, "request": request, "facts": dict(facts)}
        ).decode()
        made.append(
            LedgerEntry(
                seq, at, kind, request, dict(facts), text, end.hash, seal.entry(end.hash, text)
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


def entries(
    connection: Connection, *, after: int = 0, request: str | None = None
) -> Iterator[LedgerEntry]:
    """The entries after number `after`, of one request where it is named, in order, unchecked."""
    entry = tables.ledger.c
    asked = select(tables.ledger).where(entry.seq > after).order_by(entry.seq)
    if request is not None:
        asked = asked.where(entry.request_id == request)
    yield from map(entry_of, connection.execute(asked))


def entry_of(row: Row[tuple[object, ...]]) -> LedgerEntry:
    """The entry in a row, unchecked; without facts where its text is no entry."""
    try:
        facts: dict[str, object] = dict(EntryJson.read(row.entry).facts)
    except ValueError:
        facts = {}
    cells = (row.at, row.kind, row.entry, row.previous, row.hash)
    at, kind, text, previous, found = (str(cell) for cell in cells)
    request = None if row.request_id is None else str(row.request_id)
    return LedgerEntry(row.seq, at, kind, request, facts, text, previous, found)


def published(connection: Connection) -> str | None:
    """The keyed hash of the state that the ledger names as published last; None before the
    first."""
    entry = tables.ledger.c
    which = entry.kind.in_(STATES) & entry.request_id.is_(None)
    last = select(tables.ledger).where(which).order_by(entry.seq.desc()).limit(1)
    found = connection.execute(last).one_or_none()
    return entry_of(found).states(seal_of(connection))[1] if found else None


def contains(connection: Connection, kept: LedgerHead) -> bool:
    """Whether a head that was kept elsewhere is still in the chain. If it is, and `check` finds
    nothing, no entry up to the head was rewritten or cut off."""
    if kept.seq == 0:
        return kept.hash == GENESIS
    return (
        connection.scalar(select(tables.ledger.c.hash).where(tables.ledger.c.seq == kept.seq))
        == kept.hash
    )


def check(connection: Connection, after: LedgerHead = START, *, keyed_after: int = 0) -> list[str]:
    """What is wrong with the chain: a sentence for each entry that was changed, is missing, is out
    of order, or was added without the workspace's secret. after: where to begin; keyed_after: the
    number of an entry after which no plain one may come, 0 where none is known."""
    found: list[str] = []
    end, keyed, seal = after, False, seal_of(connection)
    later = select(tables.ledger).where(tables.ledger.c.seq > after.seq)
    for row in connection.execute(later.order_by(tables.ledger.c.seq)):
        found += out_of_place(row, end)
        sealed = seal_matches(row, seal)
        keyed = keyed or sealed or row.kind == KEYED or 0 < keyed_after < row.seq
        problem = wrong(row, sealed=sealed, keyed=keyed)
        if problem:
            found.append(f"ledger entry {row.seq} {problem}")
        end = LedgerHead(row.seq, row.hash)
    if end.seq and not keyed and after == START:
        found.append(
            "the ledger is not keyed, as that of an earlier release, and the database is not of one"
        )
    return found


def out_of_place(row: Row[tuple[object, ...]], end: LedgerHead) -> Iterator[str]:
    """What is wrong with the place of a row after the head `end`."""
    if row.seq != end.seq + 1:
        several = f"ledger entries {end.seq + 1} to {row.seq - 1} are missing"
        yield several if row.seq > end.seq + 2 else f"ledger entry {end.seq + 1} is missing"
    elif row.previous != end.hash:
        yield (
            f"ledger entry {row.seq} does not follow entry {end.seq}: it names another hash as the "
            "one before"
        )


def seal_matches(row: Row[tuple[object, ...]], seal: Seal) -> bool:
    """Whether a row's hash was made with the workspace's secret."""
    try:
        return bool(seal.entry(row.previous, row.entry) == row.hash)
    except (ValueError, TypeError, AttributeError):
        return False


def wrong(row: Row[tuple[object, ...]], *, sealed: bool, keyed: bool) -> str | None:
    """What is wrong with one row by itself. keyed: whether it must be sealed."""
    if not sealed:
        if not entry_of(row).plain:
            return "was changed: its hash is another"
        if keyed:
            return "was not written with the workspace's secret: somebody added it"
    try:
        said = EntryJson.read(row.entry)
        same = (said.seq, said.at, said.kind, said.request) == (
            row.seq,
            row.at,
            row.kind,
            row.request_id,
        )
    except ValueError:
        return "was changed: it is no entry"
    return None if same else "was changed: its columns are not what its text says"
