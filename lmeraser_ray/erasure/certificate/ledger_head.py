"""The signed head of the ledger: a small file that is kept elsewhere. With it an audit finds out
whether the ledger was cut off or written again since.

    ledger's head ──► export_head ──► signed file, kept elsewhere ──► head_differences
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lmeraser_ray.erasure.certificate.dsse import HEAD_TYPE, SigningKey, sign, verify
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.digests import canonical_json
from lmeraser_ray.storage.times import to_text, utcnow

FORMAT = 1


@dataclass(frozen=True)
class SignedHead:
    """The end of a workspace's ledger at some moment. seq, hash: of the last entry; 0 and 64 zeros
    for an empty ledger."""

    workspace: str
    seq: int
    hash: str
    at: str
    keyid: str


def export_head(workspace: str, seq: int, entry_hash: str, key: SigningKey) -> bytes:
    """The envelope of a ledger's head, as of now. workspace: `Pseudonymizer.workspace_id`."""
    head = {
        "format": FORMAT,
        "workspace": workspace,
        "seq": seq,
        "hash": entry_hash,
        "at": to_text(utcnow()),
    }
    return sign(canonical_json(head), key, payload_type=HEAD_TYPE)


def read_head(envelope: bytes, keys: Mapping[str, Ed25519PublicKey]) -> SignedHead:
    """The head in an envelope, its signature checked. Errors: `VerificationError`."""
    signed = verify(envelope, keys, payload_type=HEAD_TYPE)
    try:
        read = json.loads(signed.payload)
        if read["format"] != FORMAT:
            raise VerificationError(
                f"The head has format {read['format']}, this version reads {FORMAT}: use the "
                "version that wrote it."
            )
        return SignedHead(read["workspace"], read["seq"], read["hash"], read["at"], signed.keyid)
    except (KeyError, TypeError, ValueError) as error:
        raise VerificationError(
            "This is no head of a ledger that this version reads: use the version that wrote it."
        ) from error


def head_differences(head: SignedHead, workspace: str, hashes: Mapping[int, str]) -> list[str]:
    """What differs between a ledger and an older signed head, a sentence each. hashes: of the
    ledger's entries, by their numbers."""
    if head.workspace != workspace:
        return [
            f"The signed head is of workspace {head.workspace}, and this is {workspace}: give the "
            "head of this one."
        ]
    last = max(hashes, default=0)
    if head.seq > last:
        return [
            f"The ledger ends at entry {last}, and on {head.at} it had {head.seq}: entries were "
            "cut off, or an older database was put in its place. Restore the newest backup."
        ]
    if head.seq and hashes.get(head.seq) != head.hash:
        return [
            f"Entry {head.seq} of the ledger is not the one that it had on {head.at}: the ledger "
            "was written again from there or before."
        ]
    return []
