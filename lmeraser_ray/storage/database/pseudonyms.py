"""Pseudonymizer: replaces ids by keyed hashes, HMAC-SHA-256 under a secret of the workspace.

Without the secret a hash says nothing of the id; with it, one can test whether a hash is that of a
given id. The secret has versions (`keyring.py`): new hashes are made under the newest. It lies in
the workspace, or where LMERASER_SECRET says (`secret_place.py`).
"""

from functools import cached_property
from typing import Literal

from lmeraser_ray.storage.database.keyring import Keyring
from lmeraser_ray.storage.database.secret_place import keyring_of
from lmeraser_ray.storage.digests import keyed_digest, keyed_hash
from lmeraser_ray.storage.paths import Location

TargetKind = Literal["record", "subject"]
"""What an id is of: one record, or a subject with all their records."""


class Pseudonymizer:
    """The keyed hashes of one workspace. root: its folder; scratch: a folder on the same disk for
    temporary files."""

    def __init__(self, root: Location, scratch: Location) -> None:
        self.root, self._scratch = root, scratch

    @cached_property
    def keyring(self) -> Keyring:
        """The versions of the secret; the first is created where none was needed before. Errors:
        those of `keyring_of`."""
        return keyring_of(self.root, self._scratch)

    @cached_property
    def _keys(self) -> dict[int | None, bytes]:
        """The secrets by version, the newest as None too."""
        keys: dict[int | None, bytes] = dict(self.keyring.secrets.items())
        return {**keys, None: keys[self.version]}

    @property
    def version(self) -> int:
        """The newest version of the secret."""
        return self.keyring.version

    @property
    def first(self) -> int:
        """The first version, retired or not: what is compared for ever is sealed under it."""
        return min({*self.keyring.secrets, *self.keyring.retired})

    @cached_property
    def versions(self) -> tuple[int, ...]:
        """The versions that hash, the newest first."""
        return tuple(sorted(self.keyring.secrets, reverse=True))

    def hash(self, what: str, name: str, *, version: int | None = None) -> str:
        """The keyed hash of a `name` of a kind (record, subject, …): 64 hexadecimal digits.
        version: of the secret, None for the newest."""
        return keyed_hash(self._keys[version], f"{what}\n{name}").hex()

    def hashes(self, what: str, name: str) -> tuple[str, ...]:
        """The keyed hashes of a name under every version of the secret, the newest first."""
        return tuple(self.hash(what, name, version=version) for version in self.versions)

    def seal(self, domain: str, data: bytes, *, version: int | None = None) -> str:
        """HMAC-SHA-256 of `data` for one purpose, the domain, in 64 hexadecimal digits. version: of
        the secret, retired ones too; None for the newest. Errors: `KeyError` for a version that
        there never was."""
        key = self.keyring.sealing_key(self.version if version is None else version)
        return keyed_digest(key, f"{domain}\n".encode() + data).hex()

    @property
    def workspace_id(self) -> str:
        """12 hexadecimal digits that identify the workspace and reveal nothing of the secret."""
        return self.keyring.workspace or ""
