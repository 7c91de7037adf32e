"""A workspace on disk or in object storage: a store, a pointer to the published state, a lock.

    WORKSPACE/
      CURRENT             the pointer: the published manifest's object, then one line for the key
                          of each constituent in quarantine; replacing this file is what publishes
      configuration.json  the configuration of the last training, for the commands that follow
      pace.json           how fast the last trainings were, for `cost`
      requests.db         erasure requests, tombstones, ledger (`database` says where they are,
                          if not here)
      secret              the key of the keyed hashes of erased ids, or a marker that it lies
                          outside (LMERASER_SECRET)
      lock                held by the one command that writes
      objects/            the store

`WorkspaceFolder` reads. `with folder.locked() as workspace:` yields a `LockedWorkspace`, the only
type that stores, publishes and purges; `publication.py` is how it publishes.

Invariants: readers see the old state or the new one; a writer that dies leaves the old state
published and all finished work reusable.
"""

import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace

from lmeraser_ray.config import Config
from lmeraser_ray.config.kept import KeptConfig, read_kept
from lmeraser_ray.errors import ConfigError, DataError, ExecutionError, VerificationError
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.pace import Pace
from lmeraser_ray.pipeline.workspace_entries import LOCK, OWN_FILES, SWAP, wrong_entries
from lmeraser_ray.storage.database.database import no_server, url_of
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.database.workspace_lock import lock_of_file, lock_of_server
from lmeraser_ray.storage.files import (
    discard_tree,
    disk_errors,
    make_folder,
    read_file,
    replace_pointer,
    sync_folder,
    write_atomic,
)
from lmeraser_ray.storage.paths import Location, local_folder, name_below
from lmeraser_ray.storage.store import REPAIR, Guard, Store, StoredObject

POINTER, NOWHERE = re.compile("[0-9a-f]{64}-[0-9a-f]{64}"), f"{'0' * 64}-{'0' * 64}"


@dataclass(frozen=True)
class Published:
    """The published state: its manifest, and the keys of the constituents in quarantine, which
    answer no queries."""

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
    """The files of one workspace, to be read. Its `store` is read-only.

    >>> from pathlib import Path
    >>> folder = WorkspaceFolder(Path("no-such-folder"))
    >>> print(folder.current())
    None
    """

    def __init__(self, root: Location, database: str | None = None) -> None:
        """database: the URL of the server that holds the erasure requests; None: the
        environment's."""
        self.root, self.database = root, database
        self.store = Store(root / "objects", read_only=True)
        self._current, self._configuration = root / "CURRENT", root / "configuration.json"
        self._pace = root / "pace.json"

    def create(self) -> None:
        """Make the folder, or accept one that is a workspace. Errors: `ConfigError` where anything
        else is in it; those of `require_plain`."""
        self.check_new()
        with disk_errors(self.root):
            make_folder(self.root)
        self.store.create()

    def check_new(self) -> None:
        """Errors: as `create`, which makes nothing of what is refused here."""
        self.require_plain()
        with disk_errors(self.root):
            self._refuse_foreign()

    def has_requests(self) -> bool:
        """Whether there may be requests, and so erased records: where a training was begun."""
        with disk_errors(self.root):
            return self._configuration.exists() or self._current.exists()

    def held(self) -> bool | None:
        """Whether the folder holds anything; None where there is no folder."""
        with disk_errors(self.root):
            return any(self.root.iterdir()) if self.root.exists() else None

    def _refuse_foreign(self) -> None:
        """Errors: `ConfigError` where the folder holds something that is no part of a workspace."""
        if self.root.is_file():
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
        """Errors: `ConfigError` where there is no workspace; those of `require_plain`."""
        self.require_plain()
        with disk_errors(self.root):
            there = self.store.root.is_dir()
        if not there:
            raise ConfigError(
                f"--workspace {self.root} is no workspace: run `lmeraser train --workspace "
                f"{self.root}` first."
            )

    def require_plain(self) -> None:
        """Errors: `VerificationError` where a link, or anything else that is no file, is in the
        place of one of the workspace's own (`wrong_entries`)."""
        with disk_errors(self.root):
            for wrong in wrong_entries(self.root):
                raise VerificationError(f"{self.root} is not as a command left it: {wrong}")

    @contextmanager
    def locked(self, database: str | None = None) -> Iterator["LockedWorkspace"]:
        """Be the only writer, and get the workspace that can be written to.

        database: the URL of the PostgreSQL server that holds the lock of a workspace in object
        storage; None: the one that this object was made with, else the environment's. Errors:
        `ExecutionError` at once where another command holds the lock; `ConfigError` where a
        workspace in object storage has no server.
        """
        self.require_plain()
        with self._lock(database) as guard:
            with disk_errors(self.root):
                sync_folder(self.root)  # a folder with objects and no lock is somebody else's
            shared = Store(self.store.root)
            shared.create()  # a copy of a workspace may lack its empty folders
            shared.clear_scratch()
            workspace = LockedWorkspace(self, guard)
            try:
                workspace.store.create()
                yield workspace
            finally:
                workspace.store.read_only = True
                discard_tree(workspace.store.scratch)

    def _lock(self, database: str | None) -> AbstractContextManager[Guard]:
        if (folder := local_folder(self.root)) is not None:
            return lock_of_file(folder / LOCK)
        url = database or self.database
        return lock_of_server(url_of(url) or no_server(self.root), str(self.root))

    def names(self) -> Pseudonymizer:
        """The keyed hashes of ids under the workspace's secret."""
        return Pseudonymizer(self.root, self.store.scratch)

    def load_config(self) -> Config:
        """The configuration of the last training, without what only the operator names. Errors: as
        `kept`."""
        return self.kept().config

    def kept(self) -> KeptConfig:
        """The configuration of the last training. Errors: `ConfigError` without a workspace,
        `DataError` before the first training, `VerificationError` where it is damaged."""
        self.require()
        with disk_errors(self._configuration):
            try:
                text = read_file(self._configuration)
            except FileNotFoundError as error:
                raise DataError(
                    f"{self.root} holds no training yet: run `lmeraser train --workspace "
                    f"{self.root}` first."
                ) from error
        try:
            return read_kept(text)
        except ValueError as error:
            raise VerificationError(
                f"{self._configuration} is damaged or of another version: run `lmeraser train` "
                "with the same configuration to write it again."
            ) from error

    def pace(self) -> Pace:
        """How fast the last trainings were; nothing where none has said it."""
        with disk_errors(self._pace):
            try:
                return Pace.read(read_file(self._pace))
            except FileNotFoundError:
                return Pace()

    def current(self) -> StoredObject | None:
        """The published manifest's object, None before the first publication."""
        pointer = self.pointer()
        return pointer[0] if pointer else None

    def pointer(self) -> tuple[StoredObject, frozenset[str]] | None:
        """The published manifest's object, and the keys of the constituents in quarantine. None
        before the first publication."""
        with disk_errors(self._current):
            try:
                first, *quarantined = read_file(self._current).decode(errors="replace").split("\n")
            except (FileNotFoundError, NotADirectoryError):
                return None
        if not POINTER.fullmatch(first):
            first = NOWHERE  # damaged: what it names is missing, and `train` publishes again
        key, _, sha256 = first.partition("-")
        return StoredObject("manifests", key, sha256), frozenset(filter(None, quarantined))

    def state(self) -> Published | None:
        """The published state, its manifest's bytes checked; None before the first publication.
        Errors: `VerificationError` where the manifest is missing or damaged."""
        pointer = self.pointer()
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
        """The published state. Errors: as `state`; `ConfigError` without a workspace, `DataError`
        before the first publication."""
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

    def write_quarantine(self, item: StoredObject, quarantined: Iterable[str]) -> bool:
        """Replace the keys of the constituents in quarantine, and leave the published state as it
        is. Needs no lock: who quarantines a constituent does not wait for whoever is training.

        Returns False, and changes nothing, where `item` is not the published manifest's object any
        more. Only within a write transaction of the request database: it keeps two writers of the
        pointer apart.
        """
        if self.current() != item:
            return False
        self._write_pointer(item, quarantined)
        return True

    def _write_pointer(self, item: StoredObject, quarantined: Iterable[str]) -> None:
        """Replace the pointer, atomically and durably."""
        text = "\n".join([f"{item.key}-{item.sha256}", *sorted(quarantined), ""])
        if not replace_pointer(self._current, text.encode(), temporary=self.root / SWAP):
            raise ExecutionError(
                f"Another command has published in {self.root} meanwhile: run the same command "
                "again."
            )


class LockedWorkspace(WorkspaceFolder):
    """A workspace whose lock this command holds: what `WorkspaceFolder` reads, and what writes.

    Its `store` takes new objects, has a scratch folder of its own, and asks the lock before it
    removes anything. Once the lock is given back, everything that writes refuses.
    """

    def __init__(self, folder: WorkspaceFolder, guard: Guard) -> None:
        """For `WorkspaceFolder.locked`. guard: fails where the lock was lost."""
        super().__init__(folder.root, folder.database)
        self.store = Store(self.store.root, secrets.token_hex(8), guard=guard)

    def _require_held(self) -> None:
        """Errors: `ExecutionError` where the lock was lost, `RuntimeError` where it was given
        back."""
        self.store.require_writable()
        self.store.guard()

    @contextmanager
    def emptied_on_failure(self, *, held: bool | None) -> Iterator[None]:
        """Within: a folder that a command begins to fill. Where the command fails before any object
        is stored, the folder is as `held` says it was before: not there (None) or empty (False)."""
        try:
            yield
        except BaseException:
            if not held and not any(self.store.objects()):
                with suppress(OSError, ExecutionError):  # the first error says more
                    discard_tree(self.root)
                    if held is False:
                        make_folder(self.root)
            raise

    def save_config(self, config: Config) -> None:
        """Keep the configuration for the commands that follow, without what only the operator
        names."""
        self._require_held()
        write_atomic(
            self._configuration,
            config.without_operator_values().model_dump_json(indent=1).encode(),
            scratch=self.store.scratch,
        )

    def save_pace(self, pace: Pace) -> None:
        """Keep how fast the last trainings were."""
        self._require_held()
        write_atomic(self._pace, pace.to_bytes(), scratch=self.store.scratch)

    def put_manifest(self, manifest: Manifest) -> StoredObject:
        """Store a manifest. This publishes nothing yet."""
        return self.store.put("manifests", manifest.fingerprint, [manifest.to_bytes()])

    def write_pointer(self, item: StoredObject, quarantined: Iterable[str] = ()) -> None:
        """Make a stored manifest the published one, and quarantine some of its constituents, by
        key, atomically and durably.

        Only within a write transaction of the request database, as `publication` does: it keeps two
        writers of the pointer apart. Errors: `ExecutionError`, before anything is written, where
        the lock was lost.
        """
        self._require_held()
        self._write_pointer(item, quarantined)
