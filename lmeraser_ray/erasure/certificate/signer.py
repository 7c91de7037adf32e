"""The signer: turns the frozen statements of purged requests into certificates. It runs outside
Ray, where the signing key is.

    PURGED with a statement → sign → [CERTIFIED + envelope + ledger entry, one transaction]

Invariants: only bytes that were frozen before are signed, so that a second try after a crash gives
the same certificate; the UPDATE names the state PURGED, so that two signers at once make one
certificate and one ledger entry.
"""

from sqlalchemy import select

from lmeraser_ray.erasure.certificate.dsse import SigningKey, sha256_of, sign
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.certificate.statement import read_statement
from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.tables import requests
from lmeraser_ray.storage.times import to_text, utcnow


def certify_pending(database: Database, keys: KeyFolder) -> list[str]:
    """Sign every frozen statement. Returns the ids of the requests that this call certified, in the
    order in which they were purged.

    The key is loaded (in the default place: created) only where there is something to sign. Errors:
    those of `KeyFolder.current`; `VerificationError`, after all others were signed, where a frozen
    statement is damaged or about another request.
    """
    waiting = pending(database)
    if not waiting:
        return []
    key = keys.current()
    done, wrong = [], []
    for request_id, statement in waiting:
        if not belongs(statement, request_id):
            wrong.append(request_id)
        elif certify(database, request_id, statement, key):
            done.append(request_id)
    if wrong:
        raise VerificationError(
            "The frozen statement of "
            f"{wrong[0]}{f' and {len(wrong) - 1} more' if wrong[1:] else ''} is damaged and was "
            "not signed: restore the request database from a backup, and keep the damaged one."
        )
    return done


def pending(database: Database) -> list[tuple[str, bytes]]:
    """The ids of the requests that wait for a signature, each with its frozen statement."""
    which = (requests.c.state == State.PURGED) & requests.c.statement.is_not(None)
    with database.read() as conn:
        rows = conn.execute(
            select(requests.c.id, requests.c.statement)
            .where(which)
            .order_by(requests.c.purged_at, requests.c.id)
        ).all()
    return [(row.id, bytes(row.statement)) for row in rows]


def belongs(statement: bytes, request_id: str) -> bool:
    """Whether these bytes are a statement about this request."""
    try:
        return read_statement(statement).request.id == request_id
    except VerificationError:
        return False


def certify(database: Database, request_id: str, statement: bytes, key: SigningKey) -> bool:
    """PURGED → CERTIFIED: sign one statement. Returns False, and changes nothing, where another
    signer was faster.

    The ledger's entry is {"certificate": SHA-256 of the envelope, "key": id of the key}.
    """
    envelope = sign(statement, key)
    facts = {"certificate": sha256_of(envelope), "key": key.keyid}
    with database.write() as conn:
        values = {"envelope": envelope, "closed_at": to_text(utcnow())}
        moved = transitions.move(conn, [request_id], [State.PURGED], State.CERTIFIED, values, facts)
    return bool(moved.done)
