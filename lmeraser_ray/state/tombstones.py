"""Tombstones: keyed hashes of what was erased, so that it is not let in again.

An id is kept only as HMAC-SHA-256 under a secret of the workspace (mode 0600): without the secret a hash says nothing, with it an id can be
asked for. They are no part of the fingerprint, since a workspace that never saw a record has none.
"""

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from lmeraser_ray.digests import keyed_hash
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.state.files import disk_errors, write_atomic

What = Literal["record", "subject"]
SECRET_BYTES = 32


class Tombstones:
    """The erased ids of one workspace."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self._secret_path, self._path, self._scratch = folder / "secret", folder / "tombstones", scratch
        with disk_errors(self._path):
            self._secret = self._secret_path.read_bytes() if self._secret_path.exists() else None
            self._hashes = set(self._path.read_text().split()) if self._path.exists() else set()
        if self._hashes and len(self._secret or b"") != SECRET_BYTES:
            raise VerificationError(
                f"{self._secret_path} is missing or damaged, so nobody can tell who was erased: bring it back from a copy, or remove "
                f"{self._path} too, and the erased are let in again."
            )

    def __len__(self) -> int:
        return len(self._hashes)

    def _hash(self, what: What, name: str) -> str:
        if self._secret is None:
            self._secret = secrets.token_bytes(SECRET_BYTES)
            write_atomic(self._secret_path, self._secret, scratch=self._scratch)
        return keyed_hash(self._secret, f"{what}\n{name}").hex()

    def covers(self, what: What, name: str) -> bool:
        """Whether this record or subject was erased."""
        return bool(self._hashes) and self._hash(what, name) in self._hashes

    def cover(self, record: str, subject: str) -> bool:
        """Whether a record was erased, by its own id or as one of its subject's."""
        return self.covers("record", record) or self.covers("subject", subject)

    def add(self, records: Iterable[str], subjects: Iterable[str]) -> None:
        """Durably note what is erased. When this returns, the ids will not be let in again, whatever happens next."""
        new = {self._hash("record", name) for name in records} | {self._hash("subject", name) for name in subjects}
        self._write(self._hashes | new)

    def lift(self, records: Iterable[str], subjects: Iterable[str]) -> int:
        """Forget that these records and subjects were erased. Returns how many had been."""
        named = {self._hash("record", name) for name in records} | {self._hash("subject", name) for name in subjects}
        lifted = len(self._hashes & named)
        self._write(self._hashes - named)
        return lifted

    def _write(self, hashes: set[str]) -> None:
        if hashes != self._hashes:
            write_atomic(self._path, "".join(f"{h}\n" for h in sorted(hashes)).encode(), scratch=self._scratch)
            self._hashes = hashes
