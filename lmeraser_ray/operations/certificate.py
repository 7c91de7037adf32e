"""`certificate`: the signed statement that an erasure was done, out of the request database."""

from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select

from lmeraser_ray.erasure.certificate.verifier import Certificate, read_certificate
from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.tables import requests
from lmeraser_ray.storage.whole_file import write_whole

LETTERS = (".html", ".pdf")
"""How the name of a letter's file may end."""


def certificate(
    session: Session, request_id: str, keys: Mapping[str, Ed25519PublicKey]
) -> Certificate:
    """Return the certificate of a request. Its signature is checked where its key is among `keys`.

    Errors: `DataError` where there is no such request, or the request is not CERTIFIED;
    `VerificationError` where the certificate is damaged.
    """
    with session.database() as database:
        return read_certificate(envelope_of(database, request_id), keys)


def require_letter(path: Path) -> None:
    """Errors: `ConfigError` where the name of a letter's file does not say HTML or PDF."""
    if path.suffix.lower() not in LETTERS:
        raise ConfigError(
            f"--letter {path} ends with {path.suffix or 'nothing'}: name a file that ends with "
            f"{' or '.join(LETTERS)}."
        )


def write_letter(found: Certificate, path: Path) -> None:
    """Write a certificate as a letter that a person understands. path: ends with .html or .pdf.
    Errors: those of `require_letter`; `VerificationError` where the signature was not checked."""
    from lmeraser_ray.erasure.letter.letter import letter_of

    require_letter(path)
    letter = letter_of(found)
    if path.suffix.lower() == ".pdf":
        from lmeraser_ray.erasure.letter.letter_pdf import pdf_of  # loads a tenth of a second

        write_whole(path, pdf_of(letter))
    else:
        from lmeraser_ray.erasure.letter.letter_html import html_of

        write_whole(path, html_of(letter))


def envelope_of(database: Database, request_id: str) -> bytes:
    """Return the signed envelope of a request, byte for byte as the database has it."""
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
