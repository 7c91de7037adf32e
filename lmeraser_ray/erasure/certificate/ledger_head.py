"""The signed head of the ledger: one small file, kept elsewhere, with which nobody can cut the
ledger off or write it again unnoticed.

ledger's head → `export_head` → DSSE envelope, kept elsewhere … → `head_differences`: is that entry
still in the ledger?
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
    """Where a workspace's ledger was at some moment: the number of its last entry and that entry's
    hash (0 and 64 zeros: empty)."""

    workspace: str
    seq: int
    hash: str
    at: str
    keyid: str


def export_head(workspace: str, seq: int, entry_hash: str, key: SigningKey) -> bytes:
    """The envelope of a ledger's head, as of now. workspace: `Names.workspace_id`."""
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
    """Whether a ledger still holds what it held at that head. hashes: of its entries, by their
    numbers."""
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
