"""The two kinds of storage that a workspace can be in, behind one protocol.

    files.py, store.py ──► filesystem_of(path) ──┬──► LocalDisk   a path of this machine
                                                 └──► ObjectStorage      a path in object storage

`filesystem_of` is the one place that asks which kind a path is. The methods raise `OSError`s;
`files.py` turns them into messages for people, and is what the rest of the package calls.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from io import BufferedReader
from pathlib import Path
from typing import Protocol, TypeVar, cast

from lmeraser_ray.storage.local_disk import LocalDisk
from lmeraser_ray.storage.object_storage.bucket import ObjectStorage
from lmeraser_ray.storage.object_storage.path import ObjectPath
from lmeraser_ray.storage.paths import Location

P = TypeVar("P")
Fill = Callable[[memoryview, int], int]
"""Read from an offset on until the view is full or the file ends. Returns the number of bytes."""


class Filesystem(Protocol[P]):
    """What a workspace asks of its storage. P: the type of the paths. Links are not followed.

    needs_folders: whether a folder has to be made before a file can be written into it.
    """

    needs_folders: bool

    def write_new(self, path: P, chunks: Iterable[bytes], mode: int) -> None:
        """Durably write a new file; a failure leaves none. mode: permissions, on a disk."""

    def move(self, source: P, target: P) -> None:
        """Atomically and durably give a file another name, replacing what had that name."""

    def create_once(self, path: P, data: bytes, scratch: P) -> bool:
        """Durably make a file unless there is one. Returns whether this call made it."""

    def replace_pointer(self, path: P, data: bytes, temporary: P) -> bool:
        """Atomically and durably replace a small file. Returns False where another writer replaced
        the file at the same moment."""

    def share(self, source: P, target: P) -> None:
        """Give a file that never changes a second name."""

    def sync_folder(self, folder: P) -> None:
        """Make renames and removals in a folder durable."""

    def make_folder(self, folder: P, *, parents: bool = True) -> None:
        """Durably make a folder, and those above it that are missing, for their owner only."""

    def open(self, path: P) -> BufferedReader:
        """Open a file for reading front to back."""

    def read(self, path: P) -> bytes:
        """All bytes of a file."""

    def read_ranges(self, path: P, offsets: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        """Read byte ranges in order, each as far as the file goes."""

    def digest(self, path: P) -> str | None:
        """The SHA-256 in hexadecimal; None where the file is missing or certainly unreadable."""

    def opened(self, path: P) -> AbstractContextManager[Fill]:
        """Open a file for reading piece by piece, front to back."""

    def walk(self, root: P) -> Iterator[tuple[P, int]]:
        """Everything below a folder with its `st_mode`."""

    def remove_files(self, paths: Sequence[P]) -> tuple[P, OSError] | None:
        """Remove files, present or not. Returns the first that could not be removed, after all
        others were."""

    def remove_tree(self, folder: P, *, ignore_errors: bool) -> None:
        """Remove a folder with all that is below it."""

    def empty_folder(self, folder: P) -> None:
        """Remove all that is below a folder, and keep the folder."""


DISK: Filesystem[Path] = LocalDisk()
BUCKETS: Filesystem[ObjectPath] = ObjectStorage()


def filesystem_of(path: Location) -> Filesystem[Location]:
    """The storage that a path is in. All paths of one call are in the same one."""
    return cast("Filesystem[Location]", DISK if isinstance(path, Path) else BUCKETS)
