"""A workspace on disk: one store, one pointer to what is published, one lock.

    WORKSPACE/
      CURRENT           the fingerprint of the published manifest; replacing this file is what publishes
      configuration.json  the configuration of the last training, for the commands that follow
      erasing           there while an erasure is under way; whoever comes next finishes it
      tombstones secret   keyed hashes of erased ids
      lock              held by the one command that writes
      objects/          the store

Invariants: readers see the old state or the new one; a writer that dies leaves the old state published and all finished work reusable.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmeraser_ray.config import Config
from lmeraser_ray.errors import ConfigError, DataError, ExecutionError, VerificationError
from lmeraser_ray.state.files import disk_errors, sync_folder, write_atomic
from lmeraser_ray.state.manifest import Manifest
from lmeraser_ray.state.store import REPAIR, Store, StoredObject
from lmeraser_ray.state.tombstones import Tombstones

OWN_FILES = ("CURRENT", "configuration.json", "erasing", "tombstones", "secret", "lock")


class WorkspaceFolder:
    """The files of one workspace."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store(root / "objects")
        self._current, self._configuration, self._erasing, self._lock = (
            root / name for name in ("CURRENT", "configuration.json", "erasing", "lock")
        )

    def create(self) -> None:
        """Make the folder, or accept one that is a workspace. A folder with anything else in it is refused."""
        if self.root.exists() and not self.root.is_dir():
            raise ConfigError(f"--workspace {self.root} is a file, expected a folder or a new name.")
        foreign = sorted(p.name for p in self.root.iterdir() if p.name not in (*OWN_FILES, "objects")) if self.root.exists() else []
        if not foreign and not any(path.exists() for path in (self._lock, self._configuration, self._current)):
            foreign = [str(path.relative_to(self.root)) for path in self.store.files()]  # someone's own `objects`: it would be purged
        if foreign:
            raise ConfigError(
                f"--workspace {self.root} holds {foreign[0]!r}, which is no part of a workspace: choose an empty or a new folder."
            )
        with disk_errors(self.root):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.store.create()

    def require(self) -> None:
        """Errors: `ConfigError` where there is no workspace."""
        if not self.store.root.is_dir():
            raise ConfigError(f"--workspace {self.root} is no workspace: run `lmeraser train --workspace {self.root}` first.")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only writer. Errors: `ExecutionError` at once where another command is."""
        with disk_errors(self._lock):
            handle = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(handle, 32, 0).decode() or "unknown"
                raise ExecutionError(f"Another command (process {holder}) is writing to {self.root}: wait for it and try again.") from error
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
            self.store.create()  # a copy of a workspace may lack its empty folders
            self.store.clear_scratch()
            self.store = Store(self.store.root, secrets.token_hex(8))
            self.store.create()
            yield
        finally:
            try:
                if self.store.run:
                    shutil.rmtree(self.store.scratch, ignore_errors=True)
            finally:
                self.store = Store(self.store.root)
                os.close(handle)

    def tombstones(self) -> Tombstones:
        """The erased ids."""
        return Tombstones(self.root, self.store.scratch)

    def save_config(self, config: Config) -> None:
        """Keep the configuration for the commands that follow, wherever they are typed: the path of a checkpoint is made absolute."""
        weights = Path(config.backbone.weights)
        if weights.is_file():
            backbone = config.backbone.model_copy(update={"weights": str(weights.resolve())})
            config = config.model_copy(update={"backbone": backbone})
        write_atomic(self._configuration, config.model_dump_json(indent=1).encode(), scratch=self.store.scratch)

    def load_config(self) -> Config:
        """The configuration of the last training."""
        self.require()
        with disk_errors(self._configuration):
            if not self._configuration.exists():
                raise DataError(f"{self.root} holds no training yet: run `lmeraser train --workspace {self.root}` first.")
            text = self._configuration.read_bytes()
        try:
            return Config.model_validate_json(text)
        except ValueError as error:
            raise VerificationError(
                f"{self._configuration} is damaged or of another version: run `lmeraser train` with the same "
                "configuration to write it again."
            ) from error

    def current(self) -> StoredObject | None:
        """The published manifest's object, None before the first publication."""
        with disk_errors(self._current):
            if not self._current.exists():
                return None
            key, _, sha256 = self._current.read_text(errors="replace").strip().partition("-")
            return StoredObject("manifests", key, sha256)

    def published(self) -> Manifest | None:
        """The published manifest, its bytes checked; None before the first publication."""
        item = self.current()
        if item is None:
            return None
        manifest = Manifest.from_bytes(self.store.read(item))
        if manifest.fingerprint != item.key:
            raise VerificationError(f"{item.name} does not have the fingerprint in its name. {REPAIR}")
        return manifest

    def require_published(self) -> Manifest:
        """The published manifest. Errors: `ConfigError` without a workspace, `DataError` before the first publication."""
        self.require()
        manifest = self.published()
        if manifest is None:
            raise DataError(f"{self.root} has nothing published yet: run `lmeraser train --workspace {self.root}` to the end first.")
        return manifest

    def publish(self, manifest: Manifest) -> int:
        """Make `manifest` the published state by one atomic swap, then purge what it does not reach. Returns how many files went."""
        item = self.store.put("manifests", manifest.fingerprint, [manifest.to_bytes()])
        if self.current() != item:
            write_atomic(self._current, f"{item.key}-{item.sha256}\n".encode(), scratch=self.store.scratch)
        return self.store.purge([item, *manifest.objects()])

    @property
    def erasing(self) -> bool:
        """Whether an erasure was begun and not finished."""
        return self._erasing.exists()

    def begin_erasing(self) -> None:
        """Note, durably and before anything else, that an erasure is under way."""
        write_atomic(self._erasing, b"", scratch=self.store.scratch)

    def end_erasing(self) -> None:
        """Note that no erased record is left."""
        with disk_errors(self._erasing):
            self._erasing.unlink(missing_ok=True)
            sync_folder(self.root)
