"""Keyring: the versions of a workspace's secret, and their file.

A rotation adds a version: new hashes are made under the newest, and old ones are recognised under
all that are there, since the names behind them are gone. A version that nothing needs any more is
retired: what stays of it is its sealing key, which confirms old seals and gives no hash of a name.

    32 bytes, in a workspace                       its secret, version 1
    64 hexadecimal digits                          a master secret, version 1
    {"format": 1, "secrets": {"1": …, "2": …}, …}  a keyring, with a digest against damage

From a master secret each workspace has secrets of its own (`of_workspace`), so that several may
share it, and nobody can tell that a person was erased in two of them.

    >>> first = Keyring.own(b"a secret of a workspace, 32 byte")
    >>> second = Keyring.from_bytes(first.rotated(b"x" * 32).to_bytes())
    >>> first.workspace == second.workspace, second.version, sorted(second.secrets)
    (True, 2, [1, 2])
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lmeraser_ray.storage.digests import canonical_json, keyed_hash

SECRET_BYTES = 32
ID_DIGITS = 12
FORMAT = 1
SEAL = "lmeraser_ray/seal"
HEX_SECRET, ID = re.compile(rb"\s*([0-9a-f]{64})\s*"), re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Keyring:
    """The secrets of a workspace by version. workspace: `Pseudonymizer.workspace_id`, None for a
    master secret; retired: the sealing keys of versions that are gone."""

    workspace: str | None
    secrets: Mapping[int, bytes] = field(repr=False)
    retired: Mapping[int, bytes] = field(default_factory=dict, repr=False)

    @property
    def version(self) -> int:
        """The newest version."""
        return max(self.secrets)

    def sealing_key(self, version: int) -> bytes:
        """The key of the seals under a version, retired or not. Errors: `KeyError`."""
        if version in self.retired:
            return self.retired[version]
        return keyed_hash(self.secrets[version], SEAL)

    def covers(self, other: "Keyring") -> bool:
        """Whether this has every version that `other` has, of the same workspace, or has retired
        it."""
        return self.workspace == other.workspace and all(
            version in self.retired or self.secrets.get(version) == secret
            for version, secret in other.secrets.items()
        )

    def rotated(self, secret: bytes) -> "Keyring":
        """With `secret` as a further version."""
        return replace(self, secrets={**self.secrets, self.version + 1: secret})

    def retire(self, version: int) -> "Keyring":
        """Without the secret of a version, but with its sealing key."""
        left = {known: secret for known, secret in self.secrets.items() if known != version}
        return replace(
            self, secrets=left, retired={**self.retired, version: self.sealing_key(version)}
        )

    def of_workspace(self, workspace: str) -> "Keyring":
        """The keyring of a workspace under this master secret; a workspace's own as it is."""
        if self.workspace is not None:
            return self
        derived = {
            version: keyed_hash(secret, f"lmeraser_ray/workspace\n{workspace}")
            for version, secret in self.secrets.items()
        }
        return Keyring(workspace, derived)

    def to_bytes(self) -> bytes:
        """The canonical JSON."""
        table = {
            "format": FORMAT,
            "workspace": self.workspace,
            "secrets": written(self.secrets),
            "retired": written(self.retired),
        }
        return canonical_json({**table, "sha256": digest_of_table(table)}) + b"\n"

    @classmethod
    def own(cls, secret: bytes) -> "Keyring":
        """The keyring of a workspace whose first secret is this. secret: 32 bytes."""
        return cls(keyed_hash(secret, "workspace\nlmeraser_ray").hex()[:ID_DIGITS], {1: secret})

    @classmethod
    def inside(cls, data: bytes) -> "Keyring":
        """Read what a workspace itself holds: its first secret, or its keyring. Errors: as
        `from_bytes`."""
        found = cls.own(data) if len(data) == SECRET_BYTES else cls.from_bytes(data)
        if found.workspace is None:
            raise ValueError("damaged: it is the secret of no workspace")
        return found

    @classmethod
    def from_bytes(cls, data: bytes) -> "Keyring":
        """Read a keyring or a master secret. Errors: `ValueError`, with what is wrong as a
        phrase."""
        if plain := HEX_SECRET.fullmatch(data):
            return cls(None, {1: bytes.fromhex(plain[1].decode())})
        return cls._from_json(data)

    @classmethod
    def _from_json(cls, data: bytes) -> "Keyring":
        try:
            table = json.loads(data)
            found = table.pop("sha256")
            if table["format"] != FORMAT:
                raise ValueError(f"of format {table['format']}, this version reads {FORMAT}")
            secrets, retired = read(table["secrets"]), read(table["retired"])
            workspace = table["workspace"]
            named = workspace is None or bool(ID.fullmatch(workspace))
            whole = named and found == digest_of_table(table) and bool(secrets)
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise ValueError("damaged: neither a keyring nor 64 hexadecimal digits") from None
        except (KeyError, TypeError, AttributeError, RecursionError):
            whole = False
        if not whole or {*secrets} & {*retired}:
            raise ValueError("damaged: a keyring without its digest, or with other fields")
        return cls(workspace, secrets, retired)


def written(keys: Mapping[int, bytes]) -> dict[str, str]:
    """Return keys by version as a JSON value."""
    return {str(version): key.hex() for version, key in keys.items()}


def read(table: Mapping[str, str]) -> dict[int, bytes]:
    """Return what `written` was given. Errors: `ValueError`."""
    keys = {int(version): bytes.fromhex(key) for version, key in table.items()}
    if any(version < 1 or len(key) != SECRET_BYTES for version, key in keys.items()):
        raise ValueError("damaged: a version that is no number, or a key that has not 32 bytes")
    return keys


def digest_of_table(table: Mapping[str, object]) -> str:
    """Return the SHA-256 over the fields of a keyring."""
    return hashlib.sha256(canonical_json(dict(table))).hexdigest()
