"""The store: immutable objects, each known by what it is made from (its key) and by its bytes (its
SHA-256).

An object's file is `KIND/KEY-SHA256.ext`, so the file names alone say which objects can be reused
and what their bytes must be. Invariants: a file appears whole or not at all; writing an object
twice does no harm; no file is ever changed in place. Where two writers disagree on the bytes of one
key (a mixed fleet), the smaller digest counts and the other is purged as unreachable.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as name:
    ...     store = Store(Path(name))
    ...     store.create()
    ...     item = store.put("features", key="0" * 64, chunks=[b"some ", b"bytes"])
    ...     store.read(item)
    b'some bytes'
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.files import (
    digest_of,
    disk_errors,
    empty_folder,
    files_below,
    make_folder,
    move_into_place,
    ranges_of,
    read_file,
    remove_files,
    sync_folder,
    walk,
    write_temporary,
)
from lmeraser_ray.storage.filesystem import filesystem_of
from lmeraser_ray.storage.paths import Location

Kind = Literal[
    "records",
    "pictures",
    "features",
    "partitions",
    "assignments",
    "statistics",
    "constituents",
    "manifests",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
EXTENSION: dict[Kind, str] = {
    "records": ".parquet",
    "pictures": ".bin",
    "features": ".safetensors",
    "partitions": ".safetensors",
    "assignments": ".safetensors",
    "statistics": ".safetensors",
    "constituents": ".safetensors",
    "manifests": ".json",
}
ROOM = 1 << 20
"""Bytes that must be there before an erasure is begun."""
REPAIR = (
    "Run `lmeraser verify` to see all damage, then `lmeraser train` with the same configuration "
    "to rebuild it."
)
Listing = dict[tuple[Kind, str], "StoredObject"]
Guard = Callable[[], None]
"""Raises `ExecutionError` where the workspace's lock was lost."""


@dataclass(frozen=True, slots=True, order=True)
class StoredObject:
    """One immutable file: its kind, its key and the SHA-256 of its bytes, both 64 hexadecimal
    digits."""

    kind: Kind
    key: str
    sha256: str

    @property
    def name(self) -> str:
        """The file's path below the store."""
        return f"{self.kind}/{self.key}-{self.sha256}{EXTENSION[self.kind]}"


@contextmanager
def present(item: StoredObject) -> Iterator[None]:
    """Turn a missing file of `item` into a `VerificationError` that says how to rebuild it."""
    try:
        yield
    except FileNotFoundError as error:
        raise VerificationError(f"{item.name} is missing from the workspace. {REPAIR}") from error


def unguarded() -> None:
    """The guard of a store without a lock, or under a lock that cannot be lost."""


class Store:
    """A folder of immutable objects on one disk, or in one bucket."""

    def __init__(
        self, root: Location, run: str = "", *, guard: Guard = unguarded, read_only: bool = False
    ) -> None:
        """root: the store's folder; run: the name of a writing command's own folder below
        `scratch`; guard: called before anything is removed, fails where the workspace's lock was
        lost; read_only: refuse to write or remove objects, for a workspace that nobody has
        locked."""
        self.root, self.run, self.guard, self.read_only = root, run, guard, read_only
        self.scratch = root / "tmp" / run
        """The folder of files that are not complete yet. Each writing command has its own, and the
        next command removes it: a worker that outlives its command (an orphan on a cluster) finds
        no folder and cannot write into a later, purged state."""

    def create(self) -> None:
        """Make the folders that are missing."""
        with disk_errors(self.root):
            kinds = self._folders() if filesystem_of(self.root).needs_folders else []
            for folder in (self.root, self.scratch, *kinds):
                if not folder.is_dir():
                    make_folder(folder)

    def _folders(self) -> list[Location]:
        return [self.root / kind for kind in KINDS]

    def path(self, item: StoredObject) -> Location:
        """The path of an object's file."""
        return self.root / item.name

    def listing(self) -> Listing:
        """All objects by kind and key, from the file names alone; of several digests of one key
        the smallest."""
        found: Listing = {}
        for item in self.objects():
            known = found.get((item.kind, item.key))
            if known is None or item < known:
                found[item.kind, item.key] = item
        return found

    def objects(self) -> Iterator[StoredObject]:
        """All objects, several of one key included, from the file names alone.

        Errors: `ExecutionError` where a folder cannot be read.
        """
        for path, _ in walk(self.root):
            stem, dot, extension = path.name.partition(".")
            folder = path.parent
            kind: Kind = folder.name  # type: ignore[assignment]
            if (
                len(stem) == 129
                and stem[64] == "-"
                and EXTENSION.get(kind) == dot + extension
                and folder.parent == self.root
            ):
                yield StoredObject(kind, stem[:64], stem[65:])

    def require_room(self) -> None:
        """Errors: `ExecutionError` where nothing can be written, or the disk is full: a megabyte is
        written and removed."""
        with disk_errors(self.scratch):
            write_temporary(self.scratch, [bytes(ROOM)])[0].unlink()

    def put(self, kind: Kind, key: str, chunks: Iterable[bytes]) -> StoredObject:
        """Write an object whose bytes are the concatenated `chunks`, atomically and durably.

        Errors: `RuntimeError` where the store is read-only."""
        self.require_writable()
        temporary, sha256 = write_temporary(self.scratch, chunks)
        item = StoredObject(kind, key, sha256)
        move_into_place(temporary, self.path(item))
        return item

    def read(self, item: StoredObject) -> bytes:
        """Read an object and check its digest. Errors: `VerificationError` where the object is
        missing or damaged."""
        with disk_errors(self.path(item)), present(item):
            data = read_file(self.path(item))
        if hashlib.sha256(data).hexdigest() != item.sha256:
            raise VerificationError(
                f"{item.name} is damaged: its bytes do not have the digest in its name. {REPAIR}"
            )
        return data

    def read_ranges(
        self, item: StoredObject, offsets: Sequence[int], lengths: Sequence[int]
    ) -> list[bytes]:
        """Read byte ranges of an object, in order. The caller checks the bytes, since the object's
        digest is over all of them. Errors: `VerificationError` where the object is missing."""
        with disk_errors(self.path(item)), present(item):
            return ranges_of(self.path(item), offsets, lengths)

    def sound(self, item: StoredObject) -> bool:
        """Whether an object is there with the bytes that its name promises. Errors: as
        `digest_of`."""
        return digest_of(self.path(item)) == item.sha256

    def purge(self, keep: Iterable[StoredObject]) -> int:
        """Remove every file that is not one of `keep`, temporary and foreign ones included. Returns
        the number of removed files.

        Files of jobs under way stay: each job has a folder of its own below `scratch`. Errors:
        `ExecutionError` for the first file that cannot be removed, after all others were;
        `RuntimeError` where the store is read-only.
        """
        self.require_writable()
        self.guard()
        kept = {self.path(item) for item in keep}
        gone = [
            path
            for path in self.files()
            if path not in kept and self.scratch not in path.parent.parents
        ]
        remove_files(gone)
        for folder in (self.scratch, *self._folders()):
            with disk_errors(folder):
                sync_folder(folder)
        return len(gone)

    def files(self) -> list[Location]:
        """Every file below the store, objects or not."""
        with disk_errors(self.root):
            return files_below(self.root)

    def clear_scratch(self) -> None:
        """Remove what interrupted writers left behind; durably, once the caller has made the folder
        of its own run. The caller holds the workspace's lock."""
        self.require_writable()
        with disk_errors(self.scratch):
            empty_folder(self.scratch)

    def require_writable(self) -> None:
        """Errors: `RuntimeError` where the store is read-only: a defect of the caller."""
        if self.read_only:
            raise RuntimeError(f"{self.root} is not locked: only `WorkspaceFolder.locked()` writes")
