"""A workspace in a bucket (S3, GCS, Azure). Errors are `OSError`s.

An object is written in one request, so there is nothing to sync, and a new name is a copy. Removals
take many objects at once.
"""

import hashlib
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader

from lmeraser_ray.storage.object_storage.path import ObjectPath, remove_all

WINDOW = 16 << 20
"""Bytes of an object that are asked for at a time."""


class ObjectStorage:
    """The `Filesystem` of `ObjectPath`s."""

    needs_folders = False

    def write_new(self, path: ObjectPath, chunks: Iterable[bytes], mode: int) -> None:  # noqa: ARG002 - a bucket's policy decides who reads
        """Write one object; memory holds all of it."""
        path.write(b"".join(chunks))

    def move(self, source: ObjectPath, target: ObjectPath) -> None:
        """Copy, then remove. Errors: `FileNotFoundError` where the folder that the object was
        written to is gone."""
        source.replace(target)

    def create_once(self, path: ObjectPath, data: bytes, scratch: ObjectPath) -> bool:  # noqa: ARG002 - as on a disk
        """A write on the condition that there is no such object."""
        try:
            path.write(data, mode="create")
        except FileExistsError:
            return False
        return True

    def replace_pointer(self, path: ObjectPath, data: bytes, temporary: ObjectPath) -> bool:  # noqa: ARG002 - as on a disk
        """Compare and swap. False where another writer's bytes are there now; the answer to this
        call's own first try may have been lost, so equal bytes are a success."""
        before = path.tag()
        if before is not None and path.read_bytes() == data:
            return True
        try:
            path.swap(data, before)
        except FileExistsError:
            return path.read_bytes() == data
        return True

    def share(self, source: ObjectPath, target: ObjectPath) -> None:
        """A copy."""
        source.copy(target)

    def sync_folder(self, folder: ObjectPath) -> None:
        """Nothing: what a bucket has confirmed is durable."""

    def make_folder(self, folder: ObjectPath, *, parents: bool = True) -> None:
        """A marker."""
        folder.mkdir(parents=parents, exist_ok=True)

    def open(self, path: ObjectPath) -> BufferedReader:
        """One request."""
        return path.open("rb")

    def read(self, path: ObjectPath) -> bytes:
        """One request."""
        return path.read_bytes()

    def read_ranges(
        self, path: ObjectPath, offsets: Sequence[int], lengths: Sequence[int]
    ) -> list[bytes]:
        """As few requests as `ObjectPath.ranges` makes."""
        return path.ranges(offsets, lengths)

    def digest(self, path: ObjectPath) -> str | None:
        """A bucket that does not answer is an error: that says nothing of the bytes, and what is
        damaged would be removed."""
        with suppress(FileNotFoundError), path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
        return None

    @contextmanager
    def opened(self, path: ObjectPath) -> Iterator[Callable[[memoryview, int], int]]:
        """Read in windows of `WINDOW` bytes."""
        yield Window(path).fill

    def walk(self, root: ObjectPath) -> Iterator[tuple[ObjectPath, int]]:
        """Every object, from one listing. There are no folders in a bucket."""
        for path in root.below():
            yield path, stat.S_IFREG

    def remove_files(self, paths: Sequence[ObjectPath]) -> tuple[ObjectPath, OSError] | None:
        """Many objects a request; an error names the first of them."""
        try:
            remove_all(paths)
        except OSError as error:
            return paths[0], error
        return None

    def remove_tree(self, folder: ObjectPath, *, ignore_errors: bool) -> None:
        """All objects below, the markers of folders first."""
        with suppress(*([OSError] if ignore_errors else [])):
            remove_all(folder.below(markers=True))

    def empty_folder(self, folder: ObjectPath) -> None:
        """All objects below but the folder's own marker."""
        remove_all(path for path in folder.below(markers=True) if path != folder.marker)


class Window:
    """An object of which some consecutive bytes are in memory."""

    def __init__(self, path: ObjectPath) -> None:
        self._path, self._size = path, path.stat().st_size
        self._from, self._data = 0, b""

    def fill(self, view: memoryview, at: int) -> int:
        """Fill the view with the bytes from `at` on. Returns how many there are. Errors:
        `FileNotFoundError` where the object is gone meanwhile."""
        size = min(len(view), self._size - at)
        if size <= 0:
            return 0
        if not self._from <= at <= at + size <= self._from + len(self._data):
            [self._data] = self._path.ranges([at], [max(size, min(WINDOW, self._size - at))])
            self._from = at
        start = at - self._from
        view[:size] = self._data[start : start + size]
        return size
