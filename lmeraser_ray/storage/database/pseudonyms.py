"""Pseudonymizer: replaces ids by keyed hashes, HMAC-SHA-256 under a secret of the workspace.

Without the secret a hash says nothing of the id; with it, one can test whether a hash is that of a
given id. The secret is 32 random bytes in the workspace (mode 0600), created at first need. Once
anything hashed exists, a missing secret is an error and never replaced by a new one.
"""

import secrets
from contextlib import suppress
from functools import cached_property
from typing import Literal

from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.digests import keyed_hash
from lmeraser_ray.storage.files import create_once, disk_errors
from lmeraser_ray.storage.paths import Location

TargetKind = Literal["record", "subject"]
"""What an id is of: one record, or a subject with all their records."""
SECRET_BYTES = 32
HASHED_FILES = ("database", "requests.db", "tombstones")
"""Files of a workspace that exist, and are not empty, only once something was hashed."""


class Pseudonymizer:
    """The keyed hashes of one workspace. root: its folder; scratch: a folder on the same disk for
    temporary files."""

    def __init__(self, root: Location, scratch: Location) -> None:
        self.root = root
        self._path, self._scratch = root / "secret", scratch

    @cached_property
    def _secret(self) -> bytes:
        """The secret, created where none was needed before. Errors: `VerificationError` where it is
        damaged, or missing although something was hashed with it."""
        with disk_errors(self._path):
            if (secret := self._read()) is None:
                hashed = [
                    path
                    for path in (self.root / name for name in HASHED_FILES)
                    if path.exists() and path.stat().st_size
                ]
                if hashed:
                    raise self._unusable("missing", hashed[0])
                create_once(self._path, secrets.token_bytes(SECRET_BYTES), scratch=self._scratch)
                secret = self._path.read_bytes()
        if len(secret) != SECRET_BYTES:
            raise self._unusable("damaged", self.root)
        return secret

    def _read(self) -> bytes | None:
        with suppress(FileNotFoundError):
            return self._path.read_bytes()
        return None

    def _unusable(self, how: str, hashed: Location) -> VerificationError:
        return VerificationError(
            f"{self._path} is {how}, so nobody can tell who was erased (the keyed hashes in "
            f"{hashed} need it): bring it back from a copy. Without one train a new workspace, "
            "and exclude the erased there by data.exclude."
        )

    def hash(self, what: str, name: str) -> str:
        """The keyed hash of a `name` of a kind (record, subject, …): 64 hexadecimal digits."""
        return keyed_hash(self._secret, f"{what}\n{name}").hex()

    @property
    def workspace_id(self) -> str:
        """12 hexadecimal digits that identify the secret and reveal nothing of it."""
        return self.hash("workspace", "lmeraser_ray")[:12]
