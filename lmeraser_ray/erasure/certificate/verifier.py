"""A certificate, read and checked: envelope bytes → the signature, with public keys alone → the
statement. Needs no workspace."""

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lmeraser_ray.erasure.certificate.dsse import Signed, sha256_of, verify
from lmeraser_ray.erasure.certificate.statement import Statement, read_statement


@dataclass(frozen=True)
class Certificate:
    """An envelope, byte for byte, and what it says. `checked`: whether the signature was verified,
    with a key that was at hand."""

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
        """The SHA-256 of the envelope: the name by which the ledger knows it."""
        return sha256_of(self.envelope)


def check_certificate(envelope: bytes, keys: Mapping[str, Ed25519PublicKey]) -> Certificate:
    """The certificate that these bytes are, signed by one of `keys`. Errors: `VerificationError`
    that says what does not hold."""
    signed = verify(envelope, keys)
    return Certificate(envelope, signed, read_statement(signed.payload), checked=True)


def read_certificate(envelope: bytes, keys: Mapping[str, Ed25519PublicKey]) -> Certificate:
    """The certificate that these bytes are, its signature checked if its key is among `keys`.
    Errors: `VerificationError`."""
    signed = Signed.from_bytes(envelope)
    if signed.keyid in keys:
        return check_certificate(envelope, keys)
    return Certificate(envelope, signed, read_statement(signed.payload), checked=False)
