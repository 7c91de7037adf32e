"""Reading files of a workspace, wherever they are: in ranges, for their digest, or bit by bit."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lmeraser_ray.storage.files import disk_errors
from lmeraser_ray.storage.object_storage.path import ObjectPath
from lmeraser_ray.storage.paths import Location

Fill = Callable[[memoryview, int], int]
"""Reads from an offset on until the view is full or the file ends; returns how many bytes there
are."""
WINDOW = 16 << 20
"""Bytes of an object that are asked for at a time."""


def ranges_of(path: Location, offsets: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
    """Byte ranges of a file, in order: as much of each as there is. Errors: `OSError`."""
    if isinstance(path, ObjectPath):
        return path.ranges(offsets, lengths)
    with open(path, "rb", buffering=0) as file:
        return [
            os.pread(file.fileno(), length, offset)
            for offset, length in zip(offsets, lengths, strict=True)
        ]


def digest_of(path: Location) -> str | None:
    """The SHA-256 of a file in hexadecimal; None where it is not there, or a disk cannot read it.

    Errors: `ExecutionError` where object storage does not answer: that says nothing of the bytes,
    and what is damaged is removed.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
    except OSError as error:
        if isinstance(path, ObjectPath):
            with disk_errors(path):
                raise error from None
        return None


@contextmanager
def read_errors(path: Location) -> Iterator[None]:
    """As `disk_errors`, but a file that is gone stays a `FileNotFoundError`."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        with disk_errors(path):
            raise error from None


@contextmanager
def opened(path: Location) -> Iterator[Fill]:
    """Read a file bit by bit, front to back. Errors: `FileNotFoundError` where it is gone,
    `ExecutionError` where it cannot be read."""
    if isinstance(path, ObjectPath):
        yield Window(path).fill
        return
    handle = descriptor(path)

    def fill(view: memoryview, at: int) -> int:
        size = 0
        with disk_errors(path):
            while size < len(view) and (read := os.preadv(handle, [view[size:]], at + size)):
                size += read
        return size

    try:
        yield fill
    finally:
        os.close(handle)


def descriptor(path: Path) -> int:
    """A descriptor for reading; not through a link, and not waiting for whoever writes to a pipe.
    Errors: as `opened`."""
    with read_errors(path):
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)


class Window:
    """An object of which some bytes are in memory."""

    def __init__(self, path: ObjectPath) -> None:
        self._path, self._size = path, path.stat().st_size
        self._from, self._data = 0, b""

    def fill(self, view: memoryview, at: int) -> int:
        """As `Fill`. Errors: `FileNotFoundError` where the object is gone meanwhile,
        `ExecutionError`."""
        size = min(len(view), self._size - at)
        if size <= 0:
            return 0
        if not self._from <= at <= at + size <= self._from + len(self._data):
            with read_errors(self._path):
                [self._data] = self._path.ranges([at], [max(size, min(WINDOW, self._size - at))])
            self._from = at
        start = at - self._from
        view[:size] = self._data[start : start + size]
        return size
