"""The comparisons of an audit: requests with the ledger, published states with one another, and
certificates with both.

Each function yields a sentence for each difference. An audit checks the ledger's chain first
(`ledger.check`). Certificates and signed heads name ledger entries by their hashes; up to the last
entry that one of them names, what agrees with the ledger was not changed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, select

from lmeraser_ray.erasure.certificate.statement import ErasedTarget
from lmeraser_ray.erasure.certificate.verifier import Certificate, check_certificate
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.database.ledger import STATES, LedgerEntry
from lmeraser_ray.storage.database.tables import erased, publications, requests, targets


@dataclass(frozen=True)
class RequestRow:
    """The columns of a request that an audit compares, as the database holds them."""

    id: str
    state: str
    received_at: str
    due_at: str
    extended_at: str | None


@dataclass(frozen=True)
class RecordedProof:
    """What the database holds of a certified request: the frozen statement, the envelope, the
    targets and the hashes of the removed records."""

    row: RequestRow
    statement: bytes
    envelope: bytes
    targets: frozenset[ErasedTarget]
    records: frozenset[str]


def rows_of(conn: Connection) -> dict[str, RequestRow]:
    """Every request by its id."""
    columns = (
        requests.c.id,
        requests.c.state,
        requests.c.received_at,
        requests.c.due_at,
        requests.c.extended_at,
    )
    return {
        row.id: RequestRow(*row) for row in conn.execute(select(*columns).order_by(requests.c.id))
    }


def proofs_of(conn: Connection, rows: Sequence[RequestRow]) -> list[RecordedProof]:
    """What the database holds of these certified requests, unchecked; a missing statement or
    envelope is empty."""
    ids = [row.id for row in rows]
    named: dict[str, set[ErasedTarget]] = {}
    for target in conn.execute(select(targets).where(targets.c.request_id.in_(ids))):
        named.setdefault(target.request_id, set()).add(
            ErasedTarget(target.what, target.hash, target.outcome)
        )
    gone: dict[str, set[str]] = {}
    for record in conn.execute(
        select(erased.c.request_id, erased.c.hash).where(erased.c.request_id.in_(ids))
    ):
        gone.setdefault(record.request_id, set()).add(record.hash)
    kept = {
        row.id: row
        for row in conn.execute(
            select(requests.c.id, requests.c.statement, requests.c.envelope).where(
                requests.c.id.in_(ids)
            )
        )
    }
    return [
        RecordedProof(
            *(row, bytes(kept[row.id].statement or b""), bytes(kept[row.id].envelope or b"")),
            *(frozenset(named.get(row.id, ())), frozenset(gone.get(row.id, ()))),
        )
        for row in rows
        if row.id in kept
    ]


def intended(conn: Connection) -> list[tuple[str | None, str | None]]:
    """The publications that were begun and not concluded: the states before and after."""
    rows = conn.execute(
        select(publications.c.before, publications.c.after).where(publications.c.done.is_(False))
    )
    return [(row.before, row.after) for row in rows]


def request_differences(
    entries: Sequence[LedgerEntry], rows: Mapping[str, RequestRow]
) -> Iterator[str]:
    """Compare the requests of the ledger and of the database, their states and deadlines."""
    by_request: dict[str, list[LedgerEntry]] = {}
    for entry in entries:
        if entry.request:
            by_request.setdefault(entry.request, []).append(entry)
    for name in sorted(by_request.keys() - rows.keys()):
        yield (
            f"{name} is in the ledger (entry {by_request[name][0].seq}) and not among the "
            "requests: it was taken out of the database."
        )
    for name, row in rows.items():
        if name not in by_request:
            yield f"{name} is among the requests and not in the ledger: nobody submitted it."
            continue
        changes = [entry.kind for entry in by_request[name] if entry.kind in State.__members__]
        if changes[-1:] != [row.state]:
            yield (
                f"{name} is {row.state} in the database, and "
                f"{changes[-1] if changes else 'in no state'} by the ledger."
            )
        if changes.count(State.CERTIFIED) > 1:
            yield f"{name} was certified {changes.count(State.CERTIFIED)} times by the ledger."
        received = [
            entry.facts.get("due")
            for entry in by_request[name]
            if entry.kind == State.RECEIVED and "due" in entry.facts
        ]
        extended = [
            entry.facts.get("due") for entry in by_request[name] if entry.kind == "EXTENDED"
        ]
        if [row.due_at] != received or ([row.extended_at] if row.extended_at else []) != extended:
            yield f"{name} has another deadline in the database than in the ledger."


def states_in(entries: Sequence[LedgerEntry]) -> list[LedgerEntry]:
    """The ledger entries of publications."""
    return [entry for entry in entries if entry.kind in STATES and entry.request is None]


def publication_differences(
    entries: Sequence[LedgerEntry],
    current: str | None,
    begun: Sequence[tuple[str | None, str | None]],
) -> Iterator[str]:
    """Check that each published state follows on the one before, and that the last one is what is
    published now.

    current: the published fingerprint; begun: `intended`, one of which may have moved the pointer
    without its ledger entry yet.
    """
    chain = states_in(entries)
    for one, other in pairwise(chain):
        before, after = other.facts.get("before"), one.facts.get("after")
        if before != after and (
            before is not None or other.kind != "TRAINED"
        ):  # damaged before, so trained from the source
            yield (
                f"Entry {other.seq} of the ledger ({other.kind}) follows on state "
                f"{short(before)}, and entry {one.seq} left state {short(after)}: one was "
                "published between them that is not in the ledger."
            )
    last = chain[-1].facts.get("after") if chain else current
    if current != last and (last, current) not in begun:
        yield (
            f"State {short(current)} is published, and the last one in the ledger (entry "
            f"{chain[-1].seq}) is {short(last)}: it was published past the ledger, or an older "
            "workspace or database was put in place of this one."
        )


def short(digest: object) -> str:
    """A digest in a sentence."""
    return f"{str(digest)[:12]}…" if digest else "none"


class Certificates:
    """Compares certificates with the ledger's entries and the public keys."""

    def __init__(
        self, entries: Sequence[LedgerEntry], keys: Mapping[str, Ed25519PublicKey]
    ) -> None:
        self._keys = keys
        self._hashes = {entry.seq: entry.hash for entry in entries}
        self._certified = {
            entry.request: entry for entry in entries if entry.kind == State.CERTIFIED
        }
        chain = states_in(entries)
        self._left = {
            entry.facts.get("before"): entry.seq for entry in reversed(chain)
        }  # first left, last reached
        self._reached = {entry.facts.get("after"): entry.seq for entry in chain}

    def differences(self, proof: RecordedProof) -> list[str]:
        """What does not hold of the certificate of one request, a sentence each."""
        name = proof.row.id
        try:
            found = check_certificate(proof.envelope, self._keys)
        except VerificationError as error:
            return [f"The certificate of {name}: {error}"]
        return [
            f"The certificate of {name} {what}."
            for what in (*self._against_ledger(name, found), *against_database(proof, found))
        ]

    def _against_ledger(self, name: str, found: Certificate) -> Iterator[str]:
        """Compare the certificate, and the head and the states that it names, with the ledger."""
        said, entry = found.statement, self._certified.get(name)
        if entry is not None and entry.facts != {"certificate": found.sha256, "key": found.keyid}:
            yield (
                f"is not the one that the ledger has (entry {entry.seq}): its SHA-256 is "
                f"{short(found.sha256)}"
            )
        if self._hashes.get(said.ledger.seq) != said.ledger.hash:
            yield (
                f"names entry {said.ledger.seq} of the ledger by another hash than it has: the "
                "ledger was cut off or written again"
            )
        before, after = said.state.before, said.state.after
        left, reached = self._left.get(before, 0), self._reached.get(after, 0)
        if before != after and not 0 < left <= reached:
            yield (
                f"says that state {short(before)} became {short(after)}, and the ledger has no "
                "such publication"
            )


def against_database(proof: RecordedProof, found: Certificate) -> Iterator[str]:
    """Where a certificate and the database differ: the request, its targets, what was removed."""
    said, row = found.statement, proof.row
    terms = said.request
    if terms.id != row.id:
        yield f"is about {terms.id}"
    same = (terms.received, terms.due) == (row.received_at, row.due_at)
    if not same or terms.extended not in (None, row.extended_at):
        yield "has other times of receipt or deadline than the request"
    if set(said.erased.targets) != proof.targets:
        yield "names other records or subjects, or another outcome, than the request"
    if set(said.erased.records) != proof.records:
        yield "has other removed records than the request"
    if found.signed.payload != proof.statement:
        yield "is not over the statement that was frozen"
