"""The signed head of the ledger: a small file that is kept elsewhere. With it an audit finds out
whether the ledger was cut off or written again since.

    ledger's head ──► export_head ──► signed file, kept elsewhere ──► head_differences

The signer keeps one beside its keys (`keep_head`), and signs nothing for a ledger that does not
hold it (`kept_head`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lmeraser_ray.erasure.certificate.dsse import HEAD_TYPE, SigningKey, sign, verify
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.database.ledger import LedgerHead
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.digests import canonical_json
from lmeraser_ray.storage.files import disk_errors, make_folder, write_atomic
from lmeraser_ray.storage.foreign_json import Digest, ForeignJson, FormatJson, Natural
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


class HeadJson(ForeignJson):
    """What is signed of a head."""

    format: Natural
    workspace: str
    seq: Natural
    hash: Digest
    at: str


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
        version = FormatJson.read(signed.payload).format
        if version != FORMAT:
            raise VerificationError(
                f"The head has format {version}, this version reads {FORMAT}: use the version "
                "that wrote it."
            )
        read = HeadJson.read(signed.payload)
        return SignedHead(read.workspace, read.seq, read.hash, read.at, signed.keyid)
    except ValueError as error:
        raise VerificationError(
            "This is no head of a ledger that this version reads: use the version that wrote it."
        ) from error


def kept_head(folder: KeyFolder, names: Pseudonymizer) -> SignedHead | None:
    """The head that was kept at the last signature for a workspace; None before the first. Errors:
    `VerificationError` where the file is damaged."""
    path = folder.head_path(names)
    with disk_errors(path):
        if not path.exists():
            return None
        envelope = path.read_bytes()
    try:
        return read_head(envelope, folder.public_keys())
    except VerificationError as error:
        raise VerificationError(
            f"{path}, the ledger's head at the last signature, does not hold: {error}"
        ) from error


def keep_head(folder: KeyFolder, names: Pseudonymizer, head: LedgerHead, key: SigningKey) -> None:
    """Keep the head of a workspace's ledger beside the keys, unless a later one is kept."""
    envelope = export_head(names.workspace_id, head.seq, head.hash, key)
    path = folder.head_path(names)
    with folder.locked(create=False):
        kept = kept_head(folder, names)
        if kept is not None and kept.seq >= head.seq:
            return
        with disk_errors(path):
            make_folder(path.parent)
        write_atomic(path, envelope, scratch=folder.path)


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
