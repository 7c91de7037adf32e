"""The signer: turns the frozen statements of purged requests into certificates. It runs outside
Ray, where the signing key is.

    PURGED with a statement → recompute → sign → [CERTIFIED + envelope + ledger entry, one
                                                  transaction] → keep the ledger's head

Invariants: only bytes that were frozen before are signed, so that a second try after a crash gives
the same certificate; nothing is signed that `recomputation.py` does not find again in ledger, store
and pointer, so that who can write to the database alone gets no certificate; the ledger must hold
the head that was kept at the last signature; the UPDATE names the state PURGED, so that two signers
at once make one certificate and one ledger entry.
"""

from collections.abc import Sequence

from sqlalchemy import select

from lmeraser_ray.erasure.certificate.database_view import RecordedProof, View, proofs_of, take_view
from lmeraser_ray.erasure.certificate.dsse import SigningKey, sha256_of, sign
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.certificate.ledger_head import (
    SignedHead,
    head_differences,
    keep_head,
    kept_head,
)
from lmeraser_ray.erasure.certificate.recomputation import PublishedRecords, Recomputation
from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.errors import HeldBackError, VerificationError
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.ledger import START, LedgerHead
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.database.tables import requests
from lmeraser_ray.storage.times import to_text, utcnow


def certify_pending(folder: WorkspaceFolder, database: Database, keys: KeyFolder) -> list[str]:
    """Sign every frozen statement that is found again in the workspace. Returns the ids of the
    requests that this call certified, in the order in which they were purged.

    The key is loaded (in the default place: created) only where there is something to sign. Errors:
    those of `KeyFolder.current`; `VerificationError`, before anything is signed, where the ledger
    does not hold; `VerificationError`, after all others were signed, that names a request whose
    statement does not hold, and what differs.
    """
    waiting = pending(database)
    if not waiting:
        return []
    key, names = keys.current(), folder.names()
    kept = kept_head(keys, names)
    since = LedgerHead(kept.seq, kept.hash) if kept else START
    view, records = look(folder, database, waiting, since)
    require_ledger(database, view, names, kept, keys)
    recomputation = Recomputation(view, names, records)
    done, wrong = [], []
    for proof in frozen(database, view, waiting):
        found = recomputation.differences(proof)
        if found:
            wrong.append(f"The statement of {proof.row.id} {found[0]}")
        elif certify(database, proof.row.id, proof.statement, key):
            done.append(proof.row.id)
    if done:
        keep_checked(database, view.head, names, keys, key)
    if wrong:
        more = f", nor were {len(wrong) - 1} more" if wrong[1:] else ""
        raise HeldBackError(
            f"{wrong[0]}: it was not signed{more}. Run `lmeraser audit`, keep the request "
            "database as it is, and restore one from a backup."
        )
    return done


def pending(database: Database) -> list[str]:
    """The ids of the requests that wait for a signature, in the order in which they were purged."""
    which = (requests.c.state == State.PURGED) & requests.c.statement.is_not(None)
    asked = select(requests.c.id).where(which).order_by(requests.c.purged_at, requests.c.id)
    with database.read() as conn:
        return list(conn.scalars(asked))


def require_ledger(
    database: Database, view: View, names: Pseudonymizer, kept: SignedHead | None, keys: KeyFolder
) -> None:
    """Errors: `VerificationError` where the ledger's chain is broken, or does not hold the head
    that was kept at the last signature."""
    found = list(view.broken)
    if kept is not None:
        at = LedgerHead(kept.seq, kept.hash)
        with database.read() as conn:
            known = {kept.seq: kept.hash} if ledger.contains(conn, at) else {}
        hashes = {view.head.seq: view.head.hash, **known}
        found = [
            f"{what} If you have restored an older backup yourself, remove "
            f"{keys.head_path(names)} first"
            for what in head_differences(kept, names.workspace_id, hashes)
        ] or found
    if found:
        raise HeldBackError(
            f"Nothing was signed, because the ledger does not hold: {found[0]}. Run `lmeraser "
            "audit`."
        )


def look(
    folder: WorkspaceFolder, database: Database, waiting: Sequence[str], signed: LedgerHead
) -> tuple[View, PublishedRecords | None]:
    """A view of these requests, and who lives in the state that is published then; again where
    another state is published, and this one purged, meanwhile. Errors: `VerificationError` where
    the published state is damaged."""
    while True:
        view = take_view(folder, database, of=waiting, signed=signed)
        if view.current is None:
            return view, None
        try:
            manifest = folder.require_published()
            if manifest.fingerprint == view.current:
                return view, PublishedRecords.read(folder, manifest)
        except VerificationError:
            current = folder.current()
            if current is None or current.key == view.current:
                raise


def frozen(database: Database, view: View, ids: Sequence[str]) -> list[RecordedProof]:
    """What the database holds of these requests, in their order."""
    rows = [view.rows[name] for name in ids if name in view.rows]
    with database.read() as conn:
        return proofs_of(conn, rows)


def certify(database: Database, request_id: str, statement: bytes, key: SigningKey) -> bool:
    """PURGED → CERTIFIED: sign one statement, which the caller has recomputed. Returns False, and
    changes nothing, where another signer was faster.

    The ledger's entry is {"certificate": SHA-256 of the envelope, "key": id of the key}.
    """
    envelope = sign(statement, key)
    facts = {"certificate": sha256_of(envelope), "key": key.keyid}
    with database.write() as conn:
        values = {"envelope": envelope, "closed_at": to_text(utcnow())}
        moved = transitions.move(conn, [request_id], [State.PURGED], State.CERTIFIED, values, facts)
    return bool(moved.done)


def keep_checked(
    database: Database, checked: LedgerHead, names: Pseudonymizer, keys: KeyFolder, key: SigningKey
) -> None:
    """Keep the ledger's head beside the keys, if all that follows the head `checked` holds."""
    with database.read() as conn:
        found = ledger.check(conn, checked, keyed_after=checked.seq)
        head = ledger.head(conn)
    if not found:
        keep_head(keys, names, head, key)
