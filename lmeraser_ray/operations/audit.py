"""`audit`: whether the ledger, the requests, the published states and every certificate agree, byte
for byte.

    the database itself → the ledger's chain → requests → published states
        → a head kept elsewhere → every certificate → (with rebuild) training

Invariants: nothing is changed; a queue may work meanwhile, since everything is read in one view of
the database, except for certificates, which never change once they are there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lmeraser_ray.erasure.certificate.cross_checks import (
    Certificates,
    RequestRow,
    intended,
    proofs_of,
    publication_differences,
    request_differences,
    rows_of,
)
from lmeraser_ray.erasure.certificate.dsse import SigningKey
from lmeraser_ray.erasure.certificate.ledger_head import export_head, head_differences, read_head
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.ledger import LedgerEntry, LedgerHead

PAGE = 100
"""Certificates that are read at a time: SQLite's writers wait for a reader."""


@dataclass(frozen=True)
class View:
    """The database at one moment, and what was published then."""

    broken: tuple[str, ...]
    entries: tuple[LedgerEntry, ...]
    head: LedgerHead
    rows: dict[str, RequestRow]
    begun: tuple[tuple[str | None, str | None], ...]
    current: str | None


@dataclass(frozen=True)
class Audit:
    """What an audit found. workspace: `Pseudonymizer.workspace_id`; differences: sentences, the
    first difference first."""

    workspace: str
    head: LedgerHead
    requests: int
    certificates: int
    fingerprint: str | None
    differences: tuple[str, ...]
    against: bool
    rebuilt: bool

    @property
    def ok(self) -> bool:
        """Whether everything agrees."""
        return not self.differences

    def signed_head(self, key: SigningKey) -> bytes:
        """Return the signed envelope of the ledger's head, to be kept elsewhere."""
        return export_head(self.workspace, self.head.seq, self.head.hash, key)


def audit(
    session: Session,
    keys: Mapping[str, Ed25519PublicKey],
    *,
    against: bytes | None = None,
    rebuild: bool = False,
) -> Audit:
    """Check a workspace's evidence. keys: the public keys that are trusted; against: a signed head
    that was kept elsewhere.

    With `rebuild`, the published state is trained again too, as `verify --rebuild` does. Errors:
    `VerificationError` where `against` is no signed head; else what does not hold is in the result.
    """
    kept = read_head(against, keys) if against is not None else None
    workspace = session.names().workspace_id
    with session.database() as database:
        damaged = [f"The request database: {what}." for what in database.check()]
        view = take_view(session, database)
        differences = [*damaged, *ledger_differences(view)]
        if kept is not None:
            differences += head_differences(
                kept, workspace, {entry.seq: entry.hash for entry in view.entries}
            )
        certified = [row for row in view.rows.values() if row.state == State.CERTIFIED]
        differences += certificate_differences(database, view.entries, certified, keys)
    if rebuild:
        differences += verify(session, rebuild=True).differences
    return Audit(
        workspace,
        view.head,
        len(view.rows),
        len(certified),
        view.current,
        tuple(differences),
        kept is not None,
        rebuilt=rebuild,
    )


def take_view(session: Session, database: Database) -> View:
    """Read all but the certificates at one moment: again where another state is published
    meanwhile."""
    while True:
        before = session.folder.current()
        with database.read() as conn:
            entries = tuple(ledger.entries(conn))
            found = (
                tuple(ledger.check(conn)),
                entries,
                ledger.head(conn),
                rows_of(conn),
                tuple(intended(conn)),
            )
        if session.folder.current() == before:
            return View(*found, before.key if before else None)


def ledger_differences(view: View) -> Iterator[str]:
    """Yield what is wrong with the ledger, and with the requests and states that it records."""
    yield from (f"{what[:1].upper()}{what[1:]}." for what in view.broken)
    yield from request_differences(view.entries, view.rows)
    yield from publication_differences(view.entries, view.current, view.begun)


def certificate_differences(
    database: Database,
    entries: Sequence[LedgerEntry],
    certified: Sequence[RequestRow],
    keys: Mapping[str, Ed25519PublicKey],
) -> Iterator[str]:
    """Yield what is wrong with each certificate."""
    compared = Certificates(entries, keys)
    for at in range(0, len(certified), PAGE):
        with database.read() as conn:
            proofs = proofs_of(conn, certified[at : at + PAGE])
        for proof in proofs:
            yield from compared.differences(proof)
