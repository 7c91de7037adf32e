"""Who must not come back: what published erasures removed, less what was let in again since.

    ledger + certificates ──► standing_erasures ──► compared with tombstones and live records
                                                └─► put_back: tombstones that are missing

Tombstones are rows, and rows can be deleted. Invariant: what is compared here follows from the
ledger, which is keyed, and from certificates whose digests it holds; only of requests that are not
certified yet it follows from their rows.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from lmeraser_ray.erasure.certificate.dsse import sha256_of
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.erasure.requests.retention import EXPIRED
from lmeraser_ray.erasure.requests.transitions import chunks, held_by
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.ledger import LedgerEntry
from lmeraser_ray.storage.database.tables import requests, secrets, tombstones
from lmeraser_ray.storage.database.tombstones import Tombstone, bring_back

BEGUN = (State.PLANNED, State.TRAINING, State.FAILED)
"""States in which a request has tombstones already, and some of its records may have left."""


@dataclass(frozen=True)
class StandingErasures:
    """hashes: keyed hashes of the records and subjects that must not come back; missing: those of
    them, and of what is being erased, without a tombstone; lost: requests whose certificate is not
    at hand, a sentence each."""

    hashes: frozenset[str]
    missing: tuple[Tombstone, ...]
    lost: tuple[str, ...]

    def differences(self, live: frozenset[str]) -> Iterator[str]:
        """What does not hold, a sentence each. live: the keyed hashes of live records and
        subjects."""
        yield from self.lost
        if self.missing:
            yield (
                f"{len(self.missing)} tombstones of erased records and subjects are missing: "
                "somebody deleted them. `lmeraser train` puts them back."
            )
        back = len(self.hashes & live)
        if back:
            yield (
                f"{back} records or subjects that were erased are in the published state, and no "
                "training let them in again: erase them again with `lmeraser unlearn`."
            )


def standing_erasures(conn: Connection, entries: Sequence[LedgerEntry]) -> StandingErasures:
    """What must not come back, by all entries of the ledger."""
    states = last_states(entries)
    removed, lost = removed_by_requests(conn, states)
    begun = {name for name, entry in states.items() if entry.kind in BEGUN}
    under_way = {name: frozenset(held_by(conn, name)) for name in begun}
    versions = secrets_of(conn)
    stones = follow(entries, {**removed, **under_way}, versions)
    there = set(conn.scalars(select(tombstones.c.hash)))
    missing = tuple(stone for stone in stones if stone.hash not in there)
    gone = frozenset(stone.hash for stone in follow(entries, removed, versions))
    return StandingErasures(gone, missing, tuple(lost))


def last_states(entries: Sequence[LedgerEntry]) -> dict[str, LedgerEntry]:
    """The entry of each request's last state."""
    return {
        entry.request: entry
        for entry in entries
        if entry.request and entry.kind in State.__members__
    }


def secrets_of(conn: Connection) -> dict[str, int]:
    """The version of the secret that each request's hashes are under, but for retired versions,
    under which nobody is recognised any more."""
    retired = select(secrets.c.version).where(secrets.c.retired_at.is_not(None))
    asked = select(requests.c.id, requests.c.secret).where(requests.c.secret.not_in(retired))
    return {row.id: row.secret for row in conn.execute(asked)}


def follow(
    entries: Sequence[LedgerEntry],
    removed: Mapping[str, frozenset[str]],
    versions: Mapping[str, int],
) -> list[Tombstone]:
    """Go through the ledger: an erasure adds what it removes, a training takes out what it let in
    again (the first keyed entry: what earlier trainings did), and what is past the retention period
    goes, by when its request was planned."""
    planned: dict[str, str] = {}
    stones: dict[str, Tombstone] = {}
    for entry in entries:
        name = entry.request or ""
        if entry.kind == State.PLANNED:
            planned[name] = entry.at
        if entry.kind in (State.PLANNED, State.PUBLISHED) and name in versions:
            for each in removed.get(name, frozenset()):
                stones[each] = Tombstone(each, versions[name], planned.get(name, entry.at))
        elif entry.kind in ("TRAINED", ledger.KEYED):
            for each in entry.hashes("readmitted"):
                stones.pop(each, None)
        elif entry.kind == EXPIRED:
            until = str(entry.facts.get("until"))
            stones = {each: stone for each, stone in stones.items() if (stone.at or "") > until}
    return list(stones.values())


def removed_by_requests(
    conn: Connection, states: Mapping[str, LedgerEntry]
) -> tuple[dict[str, frozenset[str]], list[str]]:
    """The hashes that each published request removed, and sentences about those whose certificate
    is missing or another than the ledger has. states: the entries of the requests' last states."""
    removed: dict[str, frozenset[str]] = {}
    certified: dict[str, str] = {}
    for name, entry in states.items():
        if entry.kind == State.CERTIFIED:
            certified[name] = str(entry.facts.get("certificate"))
        elif entry.kind in (State.PUBLISHED, State.PURGED):
            removed[name] = frozenset(held_by(conn, name))
    lost = set(certified)
    for part in chunks(sorted(certified)):
        columns = requests.c.id, requests.c.envelope
        for row in conn.execute(select(*columns).where(requests.c.id.in_(part))):
            envelope = bytes(row.envelope or b"")
            hashes = hashes_in(envelope)
            if hashes is not None and sha256_of(envelope) == certified[row.id]:
                removed[row.id] = hashes
                lost.discard(row.id)
    return removed, [
        f"{name} was certified, and its certificate is not in the database: nobody can tell whom "
        "it erased."
        for name in sorted(lost)
    ]


def hashes_in(envelope: bytes) -> frozenset[str] | None:
    """The keyed hashes of what a certificate says was removed; None where it is none. The ledger
    holds its digest, so that neither its signature nor its encoding needs a check."""
    try:
        payload = base64.b64decode(json.loads(envelope)["payload"])
        said = json.loads(payload)["predicate"]["erased"]
        named = {one["hash"] for one in said["targets"] if one["outcome"] == "removed"}
        return frozenset(named | set(said["records"]))
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def put_back(conn: Connection) -> int:
    """Add the tombstones that are missing, within a transaction. Returns how many there were.

    Errors: `VerificationError` where the ledger's chain is broken, or a certificate is missing, so
    that nobody can tell who must not come back.
    """
    found = standing_erasures(conn, list(ledger.entries(conn)))
    wrong = [*ledger.check(conn), *found.lost]
    if wrong:
        raise VerificationError(
            f"Nobody can tell who was erased, because the request database does not hold: "
            f"{wrong[0]} Bring it back from a backup (`lmeraser restore`); `lmeraser audit` says "
            "what else is wrong."
        )
    bring_back(conn, found.missing)
    return len(found.missing)
