"""`keys`: make the signing keys of a folder, rotate them, list them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lmeraser_ray.erasure.certificate.keystore import KeyFolder

What = Literal["init", "rotate", "list"]


@dataclass(frozen=True)
class Keys:
    """The keys of a folder. signs: the id of the key that signs, None where there is none yet;
    public: the file of each public key by the key's id."""

    folder: Path
    signs: str | None
    public: dict[str, Path]


def keys(folder: KeyFolder, what: What) -> Keys:
    """Do `what`, and return the keys that there are then. Errors: those of `KeyFolder.init` and
    `KeyFolder.rotate`, `ConfigError` and `VerificationError`."""
    folder.require_place()
    if what == "init":
        folder.init()
    elif what == "rotate":
        folder.rotate()
    signs = folder.current().keyid if folder.private_path.exists() else None
    return Keys(
        folder.path, signs, {keyid: folder.public_path(keyid) for keyid in folder.public_keys()}
    )
