"""The comparisons of an audit: requests with the ledger, published states with one another, and
certificates with both.

Each function yields a sentence for each difference. An audit checks the ledger's chain first
(`ledger.check`). Certificates and signed heads name ledger entries by their hashes; up to the last
entry that one of them names, what agrees with the ledger was not changed.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lmeraser_ray.erasure.certificate.database_view import RecordedProof, TargetRow, View
from lmeraser_ray.erasure.certificate.statement import Statement
from lmeraser_ray.erasure.certificate.verifier import Certificate, check_certificate
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.database.ledger import Seal


def request_differences(view: View) -> Iterator[str]:
    """Compare the requests of the ledger and of the database, their states and deadlines."""
    by_request, rows = view.of_requests, view.rows
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


def publication_differences(view: View) -> Iterator[str]:
    """Check that each published state follows on the one before, and that the last one is what is
    published now: or what a publication was to make of it that moved the pointer without its ledger
    entry yet."""
    for one, other in pairwise(view.changes):
        if other.before != one.after and (
            other.before is not None or other.entry.kind != "TRAINED"
        ):  # damaged before, so trained from the source
            yield (
                f"Entry {other.entry.seq} of the ledger ({other.entry.kind}) follows on state "
                f"{short(other.before)}, and entry {one.entry.seq} left state "
                f"{short(one.after)}: one was published between them that is not in the ledger."
            )
    last = view.changes[-1].after if view.changes else view.state
    if view.state != last and (last, view.state) not in view.begun:
        yield (
            f"State {short(view.current)} is published, and the last one in the ledger (entry "
            f"{view.changes[-1].entry.seq}) is another: it was published past the ledger, or an "
            "older workspace or database was put in place of this one."
        )


def short(digest: object) -> str:
    """A digest in a sentence."""
    return f"{str(digest)[:12]}…" if digest else "none"


def states_of(said: Statement, seal: Seal) -> tuple[str, str]:
    """The states before and after of a statement, as the ledger names them."""
    before, after = said.state.before, said.state.after
    return (before, after) if said.version > 1 else (seal.state(before), seal.state(after))


class Certificates:
    """Compares certificates with the ledger's entries and the public keys. Of a state that was
    left or reached more than once, the first leaving and the last reaching count."""

    def __init__(self, view: View, keys: Mapping[str, Ed25519PublicKey]) -> None:
        self._keys, self._seal, self._hashes = keys, view.seal, view.hashes
        self._certified = {
            entry.request: entry for entry in view.entries if entry.kind == State.CERTIFIED
        }
        self._left = {one.before: one.entry.seq for one in reversed(view.changes)}
        self._reached = {one.after: one.entry.seq for one in view.changes}

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
        before, after = states_of(said, self._seal)
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
    if TargetRow.said_in(said) != proof.targets:
        yield "names other records or subjects, or another outcome, than the request"
    if set(said.erased.records) != proof.records:
        yield "has other removed records than the request"
    if found.signed.payload != proof.statement:
        yield "is not over the statement that was frozen"
