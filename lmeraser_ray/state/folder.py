"""A workspace on disk: one store, one pointer to what is published, one lock.

    WORKSPACE/
      CURRENT             the published manifest's object, then the constituents in quarantine; replacing it is what publishes
      configuration.json  the configuration of the last training, for the commands that follow
      requests.db         erasure requests, tombstones, ledger (`database` says where they are, if not here)
      secret              the key of the keyed hashes of erased ids
      lock                held by the one command that writes
      objects/            the store

Invariants: readers see the old state or the new one; a writer that dies leaves the old state published and all finished work reusable.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lmeraser_ray.config import Config
from lmeraser_ray.errors import ConfigError, DataError, ExecutionError, VerificationError
from lmeraser_ray.state.files import disk_errors, move_into_place, write_atomic
from lmeraser_ray.state.manifest import Manifest
from lmeraser_ray.state.names import Names
from lmeraser_ray.state.postgresql import without_password
from lmeraser_ray.state.store import REPAIR, Store, StoredObject

SWAP = "CURRENT.next"
OWN_FILES = (
    *("CURRENT", SWAP, "configuration.json", "secret", "lock"),
    *("database", "requests.db", "requests.db-journal", "requests.lock", "requests.waiting"),
)


@dataclass(frozen=True)
class Published:
    """What answers: the published manifest, and the keys of the constituents that are in quarantine."""

    manifest: Manifest
    quarantined: frozenset[str] = frozenset()

    @property
    def answering(self) -> Manifest:
        """The manifest with only the shards that may answer."""
        if not self.quarantined:
            return self.manifest
        left = tuple(shard for shard in self.manifest.shards if shard.constituent.key not in self.quarantined)
        return replace(self.manifest, shards=left)


class WorkspaceFolder:
    """The files of one workspace."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store(root / "objects")
        self._current, self._configuration, self._lock = (root / name for name in ("CURRENT", "configuration.json", "lock"))

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

    def names(self) -> Names:
        """The keyed hashes of ids under the workspace's secret."""
        return Names(self.root, self.store.scratch)

    def save_config(self, config: Config) -> None:
        """Keep the configuration for the commands that follow, wherever they are typed: the path of a checkpoint is made absolute.

        A password of the request database, which an older version's backup may hold, is left out.
        """
        weights = Path(config.backbone.weights)
        if weights.is_file():
            backbone = config.backbone.model_copy(update={"weights": str(weights.resolve())})
            config = config.model_copy(update={"backbone": backbone})
        queue = config.queue.model_copy(update={"database": without_password(config.queue.database)})
        config = config.model_copy(update={"queue": queue})
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
        pointer = self._pointer()
        return pointer[0] if pointer else None

    def _pointer(self) -> tuple[StoredObject, frozenset[str]] | None:
        """The published manifest's object and the constituents in quarantine, by key."""
        with disk_errors(self._current):
            if not self._current.exists():
                return None
            first, *quarantined = self._current.read_text(errors="replace").split("\n")
        key, _, sha256 = first.partition("-")
        return StoredObject("manifests", key, sha256), frozenset(filter(None, quarantined))

    def state(self) -> Published | None:
        """What answers, its manifest's bytes checked; None before the first publication."""
        pointer = self._pointer()
        if pointer is None:
            return None
        item, quarantined = pointer
        manifest = Manifest.from_bytes(self.store.read(item))
        if manifest.fingerprint != item.key:
            raise VerificationError(f"{item.name} does not have the fingerprint in its name. {REPAIR}")
        return Published(manifest, quarantined)

    def published(self) -> Manifest | None:
        """The published manifest, its bytes checked; None before the first publication."""
        state = self.state()
        return state.manifest if state else None

    def require_state(self) -> Published:
        """What answers. Errors: `ConfigError` without a workspace, `DataError` before the first publication."""
        self.require()
        state = self.state()
        if state is None:
            raise DataError(f"{self.root} has nothing published yet: run `lmeraser train --workspace {self.root}` to the end first.")
        return state

    def require_published(self) -> Manifest:
        """The published manifest. Errors: as `require_state`."""
        return self.require_state().manifest

    def put_manifest(self, manifest: Manifest) -> StoredObject:
        """Store a manifest; nothing is published by that."""
        return self.store.put("manifests", manifest.fingerprint, [manifest.to_bytes()])

    def swap(self, item: StoredObject, quarantined: Iterable[str] = ()) -> None:
        """Make a stored manifest the published one, some of its constituents in quarantine, atomically and durably.

        Only within a write transaction of the request database: it is what keeps two writers of the pointer apart.
        """
        text = "\n".join([f"{item.key}-{item.sha256}", *sorted(quarantined), ""])
        if self._current.exists() and self._current.read_text(errors="replace") == text:
            return
        temporary = self.root / SWAP
        with disk_errors(temporary):
            temporary.unlink(missing_ok=True)  # of a writer that died
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        move_into_place(temporary, self._current)
