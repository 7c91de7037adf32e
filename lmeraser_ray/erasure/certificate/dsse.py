"""DSSE envelopes: signed bytes, the id of the key, and an Ed25519 signature, in one encoding.

    >>> key = SigningKey(Ed25519PrivateKey.generate())
    >>> envelope = sign(b"a statement", key)
    >>> verify(envelope, {key.keyid: key.public}).payload
    b'a statement'

Invariants: an Ed25519 signature is a function of the key and the bytes (RFC 8032), so signing again
after a crash gives the same envelope; an envelope has one encoding (RFC 8785; standard base64 with
zero padding bits), so that a change of any byte is found, also of those that DSSE does not sign; a
key id is the SHA-256 of the public key's DER, so that a key cannot pass for another. The envelope
is DSSE v1 (https://github.com/secure-systems-lab/dsse) with one signature; `securesystemslib`
verifies it too, but reads more than the one encoding.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.digests import canonical_json
from lmeraser_ray.storage.foreign_json import ForeignJson

STATEMENT_TYPE = "application/vnd.in-toto+json"
HEAD_TYPE = "application/vnd.lmeraser-ray.ledger-head+json"


@dataclass(frozen=True)
class SigningKey:
    """The key that signs. made: whether the call that returned the key also created it."""

    private: Ed25519PrivateKey
    made: bool = False

    @property
    def public(self) -> Ed25519PublicKey:
        """The public key, which may be handed out."""
        return self.private.public_key()

    @property
    def keyid(self) -> str:
        """The id of the public key."""
        return keyid_of(self.public)


class SignatureJson(ForeignJson):
    """A signature of an envelope."""

    keyid: str
    sig: str


class EnvelopeJson(ForeignJson):
    """An envelope as DSSE writes it."""

    payload: str
    payloadType: str  # noqa: N815 - DSSE's name
    signatures: tuple[SignatureJson, ...]


@dataclass(frozen=True)
class Signed:
    """What an envelope claims: the payload, its type, the id of the key and the signature.
    Unchecked; `verify` checks it."""

    payload: bytes
    payload_type: str
    keyid: str
    signature: bytes

    def to_bytes(self) -> bytes:
        """The envelope's bytes: canonical JSON."""
        signature = {"keyid": self.keyid, "sig": base64.b64encode(self.signature).decode()}
        payload = base64.b64encode(self.payload).decode()
        return canonical_json(
            {"payload": payload, "payloadType": self.payload_type, "signatures": [signature]}
        )

    @classmethod
    def from_bytes(cls, envelope: bytes) -> "Signed":
        """Read an envelope without checking its signature. Errors: `VerificationError` where the
        bytes are not the one encoding of an envelope."""
        try:
            read = EnvelopeJson.read(envelope)
            [signature] = read.signatures
            payload, sig = (
                base64.b64decode(text, validate=True) for text in (read.payload, signature.sig)
            )
            found = cls(payload, read.payloadType, signature.keyid, sig)
            same = found.to_bytes() == envelope
        except ValueError as error:  # of JSON, of base64, of more signatures than one
            raise VerificationError(
                "This is no signed envelope: expected a file that `lmeraser certificate ID "
                "--output FILE` or `lmeraser audit --head FILE` wrote, every byte as it was."
            ) from error
        if not same:
            raise VerificationError(
                "The envelope was changed after it was signed: its bytes are not the one "
                "encoding of what they say. Ask for the file again."
            )
        return found


def keyid_of(public: Ed25519PublicKey) -> str:
    """The SHA-256 of a public key's DER (SubjectPublicKeyInfo), 64 hexadecimal digits."""
    return hashlib.sha256(
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).hexdigest()


def sha256_of(envelope: bytes) -> str:
    """The SHA-256 that identifies an envelope, 64 hexadecimal digits."""
    return hashlib.sha256(envelope).hexdigest()


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed: DSSE's pre-authentication encoding, which binds the type and the
    lengths of both parts."""
    name = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def sign(payload: bytes, key: SigningKey, *, payload_type: str = STATEMENT_TYPE) -> bytes:
    """Sign a payload. Returns the envelope; the same payload and key give the same bytes."""
    signature = key.private.sign(pre_authentication(payload_type, payload))
    return Signed(payload, payload_type, key.keyid, signature).to_bytes()


def verify(
    envelope: bytes, keys: Mapping[str, Ed25519PublicKey], *, payload_type: str = STATEMENT_TYPE
) -> Signed:
    """Read an envelope and check its signature. keys: public keys by their ids.

    Errors: `VerificationError` where the bytes are no canonical envelope, the payload is not of
    `payload_type`, the key is not among `keys`, or the signature is not that key's.
    """
    found = Signed.from_bytes(envelope)
    if found.payload_type != payload_type:
        raise VerificationError(
            f"The envelope holds {found.payload_type!r}, expected {payload_type!r}: give the file "
            "of that kind."
        )
    key = keys.get(found.keyid)
    if key is None:
        known = (
            f"the keys at hand are {', '.join(sorted(keys))}"
            if keys
            else "no public key is at hand"
        )
        raise VerificationError(
            f"The envelope says that key {found.keyid!r} signed it; {known}. Get the public key "
            "of that id from whoever signed it (`lmeraser keys list` shows its file there), by a "
            "way that you trust, and give it with --public_key PEM."
        )
    if keyid_of(key) != found.keyid:
        raise VerificationError(
            f"The public key at hand under the id {found.keyid} is another key: get it again from "
            "whoever signed it."
        )
    try:
        key.verify(found.signature, pre_authentication(found.payload_type, found.payload))
    except InvalidSignature as error:
        raise VerificationError(
            f"The signature is not that of key {found.keyid} over these bytes: they were changed, "
            "or it is forged. Do not rely on it."
        ) from error
    return found
