"""`audit`: whether the ledger, the requests, the published states and every certificate agree, byte
for byte.

    the database itself → the ledger's chain → requests → published states → heads kept elsewhere
        → frozen statements → who must not come back → every certificate → (with rebuild) training

Invariants: nothing is changed; a queue may work meanwhile, since everything is read in one view of
the database, except for certificates, which never change once they are there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lmeraser_ray.erasure.certificate.cross_checks import Certificates
from lmeraser_ray.erasure.certificate.database_view import RequestRow, View, proofs_of
from lmeraser_ray.erasure.certificate.dsse import SigningKey
from lmeraser_ray.erasure.certificate.evidence_checks import check_evidence
from lmeraser_ray.erasure.certificate.ledger_head import SignedHead, export_head, read_head
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.erasure.requests.retention import Retention, retention
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.ledger import LedgerHead

PAGE = 100
"""Certificates that are read at a time: SQLite's writers wait for a reader."""


@dataclass(frozen=True)
class Audit:
    """What an audit found. workspace: `Pseudonymizer.workspace_id`; differences: sentences, the
    first difference first; stones: the tombstones."""

    workspace: str
    head: LedgerHead
    requests: int
    certificates: int
    fingerprint: str | None
    differences: tuple[str, ...]
    against: bool
    rebuilt: bool
    stones: Retention

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
    signed: SignedHead | None = None,
    rebuild: bool = False,
) -> Audit:
    """Check a workspace's evidence. keys: the public keys that are trusted; against: a signed head
    that was kept elsewhere; signed: the one that the signer keeps beside its keys.

    With `rebuild`, the published state is trained again too, as `verify --rebuild` does. Errors:
    `VerificationError` where `against` is no signed head; else what does not hold is in the result.
    """
    kept = read_head(against, keys) if against is not None else None
    heads = tuple(head for head in (kept, signed) if head is not None)
    with session.database() as database:
        evidence = check_evidence(session.folder, database, heads)
        view, differences = evidence.view, list(evidence.differences)
        certified = [row for row in view.rows.values() if row.state == State.CERTIFIED]
        differences += certificate_differences(database, view, certified, keys)
        with database.read() as conn:
            stones = retention(conn, session.config().queue.tombstone_days)
    if rebuild:
        differences += verify(session, rebuild=True).differences
    return Audit(
        session.names().workspace_id,
        view.head,
        len(view.rows),
        len(certified),
        view.current,
        tuple(dict.fromkeys(differences)),
        kept is not None,
        rebuilt=rebuild,
        stones=stones,
    )


def certificate_differences(
    database: Database,
    view: View,
    certified: Sequence[RequestRow],
    keys: Mapping[str, Ed25519PublicKey],
) -> Iterator[str]:
    """Yield what is wrong with each certificate."""
    compared = Certificates(view, keys)
    for at in range(0, len(certified), PAGE):
        with database.read() as conn:
            proofs = proofs_of(conn, certified[at : at + PAGE])
        for proof in proofs:
            yield from compared.differences(proof)
