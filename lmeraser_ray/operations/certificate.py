"""`certificate`: the signed statement that an erasure was done, out of the request database."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select

from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.certificate.verifier import Certificate, read_certificate
from lmeraser_ray.errors import DataError
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.tables import requests

What = Literal["init", "rotate", "list"]


def certificate(
    session: Session, request_id: str, keys: Mapping[str, Ed25519PublicKey]
) -> Certificate:
    """The certificate of a request; its signature is checked where its key is among `keys`.

    Errors: `DataError` where there is no such request, or it is not CERTIFIED; `VerificationError`
    where the certificate is damaged.
    """
    with session.database() as database:
        return read_certificate(stored(database, request_id), keys)


def stored(database: Database, request_id: str) -> bytes:
    """The envelope of a request, as it is in the database."""
    with database.read() as conn:
        row = conn.execute(
            select(requests.c.state, requests.c.envelope).where(requests.c.id == request_id)
        ).one_or_none()
    if row is None:
        raise DataError(
            f"There is no erasure request {request_id!r} here: `lmeraser status` lists them."
        )
    if row.envelope is None:
        raise DataError(
            f"{request_id} is {row.state} and has no certificate: an erasure gets one when it is "
            "done, purged and scanned."
        )
    return bytes(row.envelope)


@dataclass(frozen=True)
class Keys:
    """The keys of a folder: the id of the one that signs, None where there is none yet, and the
    file of each public key by its id."""

    folder: Path
    signs: str | None
    public: dict[str, Path]


def keys(folder: KeyFolder, what: What) -> Keys:
    """Do `what` and say which keys there are then. Errors: `ConfigError`, `VerificationError` as
    `KeyFolder` has them."""
    if what == "init":
        folder.init()
    elif what == "rotate":
        folder.rotate()
    signs = folder.current().keyid if folder.private_path.exists() else None
    return Keys(
        folder.path, signs, {keyid: folder.public_path(keyid) for keyid in folder.public_keys()}
    )
