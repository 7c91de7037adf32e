"""`keys`: make, rotate and list the keys that sign certificates.

Ed25519 keys in a folder of their own, which no worker reads. Certificates outlive keys: every public key that ever signed is kept.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lmeraser_ray.erasure.certificate.keystore import KeyFolder

What = Literal["init", "rotate", "list"]


@dataclass(frozen=True)
class Keys:
    """The keys of a folder: the id of the one that signs, None where there is none yet, and the file of each public key by its id."""

    folder: Path
    signs: str | None
    public: dict[str, Path]


def keys(folder: KeyFolder, what: What) -> Keys:
    """Do `what` and say which keys there are then. Errors: `ConfigError`, `VerificationError` as `KeyFolder` has them."""
    if what == "init":
        folder.init()
    elif what == "rotate":
        folder.rotate()
    signs = folder.current().keyid if folder.private_path.exists() else None
    return Keys(folder.path, signs, {keyid: folder.public_path(keyid) for keyid in folder.public_keys()})
