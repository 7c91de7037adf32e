"""A workspace on disk: one store, one pointer to what is published, one lock.

    WORKSPACE/
      CURRENT             the published manifest's object, then the constituents in quarantine; replacing it is what publishes
      configuration.json  the configuration of the last training, for the commands that follow
      requests.db         erasure requests, tombstones, ledger (`database` says where they are, if not here)
      secret              the key of the keyed hashes of erased ids
      lock                held by the one command that writes
      objects/            the store

Invariants: readers see the old state or the new one; a writer that dies leaves the old state
published and all finished work reusable.
"""

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from lmeraser_ray.config import Config
from lmeraser_ray.errors import ConfigError, DataError, ExecutionError, VerificationError
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.storage.database.database import no_server, url_of
from lmeraser_ray.storage.database.postgresql import without_password
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.database.workspace_lock import lock_of_file, lock_of_server
from lmeraser_ray.storage.files import discard_tree, disk_errors, move_into_place, write_atomic
from lmeraser_ray.storage.object_storage.path import ObjectPath
from lmeraser_ray.storage.paths import Location, name_below
from lmeraser_ray.storage.store import REPAIR, Guard, Store, StoredObject

SWAP, LOCK = "CURRENT.next", "lock"
OWN_FILES = (
    *("CURRENT", SWAP, "configuration.json", "secret", LOCK),
    *("database", "requests.db", "requests.db-journal", "requests.lock"),
    "requests.waiting",  # of version 0.4.0: opening the database removes it
)


@dataclass(frozen=True)
class Published:
    """What answers: the published manifest, and the keys of the constituents that are in
    quarantine."""

    manifest: Manifest
    quarantined: frozenset[str] = frozenset()

    @property
    def answering(self) -> Manifest:
        """The manifest with only the shards that may answer."""
        if not self.quarantined:
            return self.manifest
        left = tuple(
            shard for shard in self.manifest.shards if shard.constituent.key not in self.quarantined
        )
        return replace(self.manifest, shards=left)


class WorkspaceFolder:
    """The files of one workspace."""

    def __init__(self, root: Location, database: str | None = None) -> None:
        """database: the URL of the server that has the requests, where that is not as the
        environment or the configuration says."""
        self.root, self._database = root, database
        self.store = Store(root / "objects")
        self._current, self._configuration = root / "CURRENT", root / "configuration.json"

    def create(self) -> None:
        """Make the folder, or accept one that is a workspace. A folder with anything else in it is
        refused."""
        with disk_errors(self.root):
            self._refuse_foreign()
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.store.create()

    def _refuse_foreign(self) -> None:
        """Errors: `ConfigError` where there is something that is no part of a workspace."""
        if (
            self.root.is_file()
            if isinstance(self.root, ObjectPath)
            else self.root.exists() and not self.root.is_dir()
        ):
            raise ConfigError(
                f"--workspace {self.root} is a file, expected a folder or a new name."
            )
        foreign = (
            sorted(p.name for p in self.root.iterdir() if p.name not in (*OWN_FILES, "objects"))
            if self.root.exists()
            else []
        )
        if not foreign and not any(
            path.exists() for path in (self.root / LOCK, self._configuration, self._current)
        ):
            foreign = [
                name_below(path, self.root) for path in self.store.files()
            ]  # someone's own `objects`: it would be purged
        if foreign:
            raise ConfigError(
                f"--workspace {self.root} holds {foreign[0]!r}, which is no part of a workspace: "
                "choose an empty or a new folder."
            )

    def require(self) -> None:
        """Errors: `ConfigError` where there is no workspace."""
        with disk_errors(self.root):
            there = self.store.root.is_dir()
        if not there:
            raise ConfigError(
                f"--workspace {self.root} is no workspace: run `lmeraser train --workspace "
                f"{self.root}` first."
            )

    @contextmanager
    def locked(self, database: str | None = None) -> Iterator[None]:
        """Be the only writer. database: the URL of the requests' PostgreSQL server, which has the
        lock of a workspace in object storage; None: as the workspace's configuration says, else the
        environment.

        Errors: `ExecutionError` at once where another command is; `ConfigError` where object
        storage has no server.
        """
        with self._lock(database) as guard:
            try:
                self.store.create()  # a copy of a workspace may lack its empty folders
                self.store.clear_scratch()
                self.store = Store(self.store.root, secrets.token_hex(8), guard=guard)
                self.store.create()
                yield
            finally:
                run, self.store = self.store, Store(self.store.root)
                if run.run:
                    discard_tree(run.scratch)

    def _lock(self, database: str | None) -> AbstractContextManager[Guard]:
        if isinstance(self.root, Path):
            return lock_of_file(self.root / LOCK)
        url = database or self._database
        if url is None:
            with suppress(DataError):  # nothing was trained here yet
                url = self.load_config().queue.database
        return lock_of_server(url_of(url) or no_server(self.root), str(self.root))

    def names(self) -> Pseudonymizer:
        """The keyed hashes of ids under the workspace's secret."""
        return Pseudonymizer(self.root, self.store.scratch)

    def save_config(self, config: Config) -> None:
        """Keep the configuration for the commands that follow, wherever they are typed: the path of
        a checkpoint is made absolute.

        A password of the request database, which an older version's backup may hold, is left out.
        """
        weights = Path(config.backbone.weights)
        if weights.is_file():
            backbone = config.backbone.model_copy(update={"weights": str(weights.resolve())})
            config = config.model_copy(update={"backbone": backbone})
        queue = config.queue.model_copy(
            update={"database": without_password(config.queue.database)}
        )
        config = config.model_copy(update={"queue": queue})
        write_atomic(
            self._configuration,
            config.model_dump_json(indent=1).encode(),
            scratch=self.store.scratch,
        )

    def load_config(self) -> Config:
        """The configuration of the last training."""
        self.require()
        with disk_errors(self._configuration):
            try:
                text = self._configuration.read_bytes()
            except FileNotFoundError as error:
                raise DataError(
                    f"{self.root} holds no training yet: run `lmeraser train --workspace "
                    f"{self.root}` first."
                ) from error
        try:
            return Config.model_validate_json(text)
        except ValueError as error:
            raise VerificationError(
                f"{self._configuration} is damaged or of another version: run `lmeraser train` "
                "with the same configuration to write it again."
            ) from error

    def current(self) -> StoredObject | None:
        """The published manifest's object, None before the first publication."""
        pointer = self._pointer()
        return pointer[0] if pointer else None

    def _pointer(self) -> tuple[StoredObject, frozenset[str]] | None:
        """The published manifest's object and the constituents in quarantine, by key."""
        with disk_errors(self._current):
            try:
                first, *quarantined = self._current.read_text(errors="replace").split("\n")
            except FileNotFoundError:
                return None
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
            raise VerificationError(
                f"{item.name} does not have the fingerprint in its name. {REPAIR}"
            )
        return Published(manifest, quarantined)

    def published(self) -> Manifest | None:
        """The published manifest, its bytes checked; None before the first publication."""
        state = self.state()
        return state.manifest if state else None

    def require_state(self) -> Published:
        """What answers. Errors: `ConfigError` without a workspace, `DataError` before the first
        publication."""
        self.require()
        state = self.state()
        if state is None:
            raise DataError(
                f"{self.root} has nothing published yet: run `lmeraser train --workspace "
                f"{self.root}` to the end first."
            )
        return state

    def require_published(self) -> Manifest:
        """The published manifest. Errors: as `require_state`."""
        return self.require_state().manifest

    def put_manifest(self, manifest: Manifest) -> StoredObject:
        """Store a manifest; nothing is published by that."""
        return self.store.put("manifests", manifest.fingerprint, [manifest.to_bytes()])

    def swap(self, item: StoredObject, quarantined: Iterable[str] = ()) -> None:
        """Make a stored manifest the published one, some of its constituents in quarantine,
        atomically and durably.

        Only within a write transaction of the request database: it is what keeps two writers of the
        pointer apart.
        """
        text = "\n".join([f"{item.key}-{item.sha256}", *sorted(quarantined), ""])
        self.store.guard()
        if isinstance(self._current, ObjectPath):
            self._swap_object(self._current, text)
            return
        if self._current.exists() and self._current.read_text(errors="replace") == text:
            return
        temporary = self.root / SWAP
        with disk_errors(temporary):
            temporary.unlink(missing_ok=True)  # of a writer that died
            with os.fdopen(
                os.open(str(temporary), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w"
            ) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        move_into_place(temporary, self._current)

    def _swap_object(self, current: ObjectPath, text: str) -> None:
        """By compare-and-swap. Errors: `ExecutionError` where somebody else was first."""
        with disk_errors(current):
            before = current.tag()
            if before is not None and current.read_text(errors="replace") == text:
                return
            try:
                current.swap(text.encode(), before)
            except FileExistsError as error:
                if current.read_text(errors="replace") == text:
                    return  # it was this command: the answer to its first try was lost
                raise ExecutionError(
                    f"Another command has published in {self.root} meanwhile: run the same "
                    "command again."
                ) from error
