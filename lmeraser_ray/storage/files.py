"""Files of a workspace, wherever it is: durable writes, reads, and removals.

A reader sees the old bytes or the new ones, also after a crash; a write that fails leaves no file.
On a disk that takes fsync and rename (`local_disk.py`); in object storage, one request
(`object_storage/bucket.py`). Errors name the file and say what to do.

    >>> from tempfile import TemporaryDirectory
    >>> from lmeraser_ray.storage.paths import location
    >>> with TemporaryDirectory() as name:
    ...     folder = location(name)
    ...     write_atomic(folder / "file", b"some bytes", scratch=folder)
    ...     ranges_of(folder / "file", [5], [99])
    [b'bytes']
"""

import errno
import hashlib
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BufferedReader

from lmeraser_ray.errors import DiskFullError, ExecutionError
from lmeraser_ray.storage.filesystem import Fill, filesystem_of
from lmeraser_ray.storage.paths import Location, temporary_name


@contextmanager
def disk_errors(path: Location) -> Iterator[None]:
    """Turn `OSError`s into `ExecutionError`s that name `path` and say what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"The disk is full: {path} could not be written. Free some space and run the same "
                "command again."
            ) from error
        raise ExecutionError(
            f"{path} could not be read or written ({error.strerror or error}). Check it and run "
            "the same command again."
        ) from error


@contextmanager
def read_errors(path: Location) -> Iterator[None]:
    """As `disk_errors`, but let `FileNotFoundError` pass."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        with disk_errors(path):
            raise error from None


def write_temporary(
    folder: Location, chunks: Iterable[bytes], *, mode: int = 0o600
) -> tuple[Location, str]:
    """Durably write `chunks` to a new file in `folder`. Returns its path and the SHA-256 of its
    bytes in hexadecimal.

    In object storage, memory holds all chunks at once, and `mode` has no effect.
    """
    path, state = folder / temporary_name(), hashlib.sha256()

    def hashed() -> Iterator[bytes]:
        for chunk in chunks:
            state.update(chunk)
            yield chunk

    with disk_errors(path):
        filesystem_of(path).write_new(path, hashed(), mode)
    return path, state.hexdigest()


def move_into_place(temporary: Location, path: Location) -> None:
    """Atomically and durably give `temporary` the name `path`, on the same disk or in the same
    bucket. Where that fails, `temporary` is removed."""
    with disk_errors(path):
        try:
            filesystem_of(path).move(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_atomic(path: Location, data: bytes, *, scratch: Location) -> None:
    """Replace the file at `path` by `data`; `scratch` is a folder on the same disk."""
    move_into_place(write_temporary(scratch, [data])[0], path)


def replace_pointer(path: Location, data: bytes, *, temporary: Location) -> bool:
    """Atomically and durably make the small file `path` hold `data`; write nothing where it does.

    temporary: the new file's name before it is complete, on a disk. The caller holds the
    workspace's lock. A lock in object storage can be lost; the write is a compare-and-swap there.
    Returns False where another writer replaced the file at the same moment.
    """
    with disk_errors(path):
        return filesystem_of(path).replace_pointer(path, data, temporary)


def create_once(path: Location, data: bytes, *, scratch: Location) -> bool:
    """Durably make the file `path` with `data` (mode 0600), unless there is one. Returns whether
    this call made it.

    scratch: a folder on the same disk. Another command may clear it at any moment; the write
    starts again then.
    """
    with disk_errors(path):
        return filesystem_of(path).create_once(path, data, scratch)


def share(source: Location, target: Location) -> None:
    """Give a file that never changes a second name, in the same workspace."""
    with disk_errors(target):
        filesystem_of(source).share(source, target)


def sync_folder(folder: Location) -> None:
    """Make renames and removals in `folder` durable. Errors: `OSError`."""
    filesystem_of(folder).sync_folder(folder)


def make_folder(folder: Location, *, parents: bool = True) -> None:
    """Durably make a folder, and with `parents` those above it that are missing, for their owner
    only. Errors: `OSError`."""
    filesystem_of(folder).make_folder(folder, parents=parents)


def open_file(path: Location) -> BufferedReader:
    """Open a file for reading front to back. Errors: `OSError`, also where it is a link or no
    regular file."""
    return filesystem_of(path).open(path)


def read_file(path: Location) -> bytes:
    """All bytes of a file. Errors: as `open_file`."""
    return filesystem_of(path).read(path)


def ranges_of(path: Location, offsets: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
    """Read byte ranges of a file in order, each as far as the file goes. Errors: `OSError`."""
    return filesystem_of(path).read_ranges(path, offsets, lengths)


def digest_of(path: Location) -> str | None:
    """The SHA-256 of a file in hexadecimal; None where it is missing, or a disk cannot read it.

    Errors: `ExecutionError` where object storage does not answer.
    """
    with disk_errors(path):
        return filesystem_of(path).digest(path)


@contextmanager
def opened(path: Location) -> Iterator[Fill]:
    """Open a file for reading piece by piece, front to back; links are not followed.

    Errors, on opening and on each read: `FileNotFoundError` where the file is gone,
    `ExecutionError` where it cannot be read.
    """
    with ExitStack() as stack:
        with read_errors(path):
            fill = stack.enter_context(filesystem_of(path).opened(path))

        def checked(view: memoryview, at: int) -> int:
            with read_errors(path):
                return fill(view, at)

        yield checked


def walk(root: Location) -> Iterator[tuple[Location, int]]:
    """Everything below a folder with its `st_mode`, folder by folder; links are not followed.
    Object storage has no folders. Errors: `ExecutionError` where a folder cannot be read."""
    with disk_errors(root):
        yield from filesystem_of(root).walk(root)


def files_below(root: Location) -> list[Location]:
    """Everything below a folder that is no folder itself, sorted: files, links, pipes. Errors: as
    `walk`."""
    return sorted(path for path, mode in walk(root) if not stat.S_ISDIR(mode))


def remove_files(paths: Sequence[Location]) -> None:
    """Remove files of one workspace, present or not. Errors: `ExecutionError` for the first that
    cannot be removed, after all others were."""
    stuck = filesystem_of(paths[0]).remove_files(paths) if paths else None
    if stuck:
        with disk_errors(stuck[0]):
            raise stuck[1]


def remove_tree(folder: Location) -> None:
    """Remove a folder with all that is below it. Errors: `OSError`."""
    filesystem_of(folder).remove_tree(folder, ignore_errors=False)


def discard_tree(folder: Location) -> None:
    """Remove a folder with all that is below it, as far as it can be removed: a late writer may
    move something out of it meanwhile."""
    filesystem_of(folder).remove_tree(folder, ignore_errors=True)


def empty_folder(folder: Location) -> None:
    """Remove all that is below a folder, and keep the folder. Errors: `OSError`."""
    filesystem_of(folder).empty_folder(folder)
