"""Verify a certificate with public keys alone, without a workspace: envelope → signature →
statement."""

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lmeraser_ray.erasure.certificate.dsse import Signed, sha256_of, verify
from lmeraser_ray.erasure.certificate.statement import Statement, read_statement


@dataclass(frozen=True)
class Certificate:
    """An envelope, byte for byte, and what it says. checked: whether the signature was verified."""

    envelope: bytes
    signed: Signed
    statement: Statement
    checked: bool

    @property
    def keyid(self) -> str:
        """The id of the key that signed it."""
        return self.signed.keyid

    @property
    def sha256(self) -> str:
        """The SHA-256 of the envelope, by which the ledger names the certificate."""
        return sha256_of(self.envelope)


def check_certificate(envelope: bytes, keys: Mapping[str, Ed25519PublicKey]) -> Certificate:
    """Read a certificate that one of `keys` must have signed. Errors: `VerificationError` that says
    what does not hold."""
    signed = verify(envelope, keys)
    return Certificate(envelope, signed, read_statement(signed.payload), checked=True)


def read_certificate(envelope: bytes, keys: Mapping[str, Ed25519PublicKey]) -> Certificate:
    """Read a certificate, and check its signature if its key is among `keys`. Errors:
    `VerificationError`."""
    signed = Signed.from_bytes(envelope)
    if signed.keyid in keys:
        return check_certificate(envelope, keys)
    return Certificate(envelope, signed, read_statement(signed.payload), checked=False)
