"""A file that a person named, outside of the workspace: it is there whole or not at all, and a
process that dies leaves nothing of it.

While it is written it has no name (`O_TMPFILE`), so that it goes with its process. Where the file
system has no such files, and for the moment in which it takes the place of an older file, it has a
hidden name, `.NAME.` and 16 hexadecimal digits, and its writer holds a lock of it. The next writer
of the same file removes those that nobody holds.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with whole_file(Path(folder, "some.txt")) as file:
    ...         _ = file.write(b"bytes")
    ...         _ = sorted(path.name for path in Path(folder).iterdir())
    ...     Path(folder, "some.txt").read_bytes()
    b'bytes'
"""

import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from lmeraser_ray.storage.files import disk_errors, sync_folder
from lmeraser_ray.storage.regular_file import open_regular

NAMELESS = getattr(os, "O_TMPFILE", 0)
NO_NAMELESS = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)
"""What file systems and kernels answer that have no files without a name."""


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write the file `path` (mode 0600), replacing what is there once the context ends without an
    error. Errors: `ExecutionError` where it cannot be written."""
    with disk_errors(path):
        remove_leftovers(path)
        handle, hidden = open_new(path)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            with disk_errors(path):
                file.flush()
                os.fsync(handle)
                hidden = hidden or give_name(handle, path)
                if hidden != path:
                    hidden.replace(path)
                    hidden = path
                sync_folder(path.parent)
    finally:
        if hidden not in (None, path):
            hidden.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write the file `path` as `whole_file`."""
    with whole_file(path) as file, disk_errors(path):
        file.write(data)


def open_new(path: Path) -> tuple[int, Path | None]:
    """Open a new file beside `path`, locked: its descriptor and its hidden name, None where it has
    no name yet."""
    if NAMELESS:
        with suppress_errnos(NO_NAMELESS):
            handle = os.open(path.parent, os.O_WRONLY | NAMELESS | os.O_CLOEXEC, 0o600)
            if Path(f"/proc/self/fd/{handle}").exists():
                os.fchmod(handle, 0o600)
                fcntl.flock(handle, fcntl.LOCK_EX)
                return handle, None
            os.close(handle)
    while True:
        hidden = hidden_name(path)
        handle = open_regular(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        with suppress(BlockingIOError):  # another writer takes it for a leftover
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_nlink:
                return handle, hidden
        os.close(handle)


def give_name(handle: int, path: Path) -> Path:
    """Give an open file without a name the name `path`, or a hidden one where there is a file.
    Returns the name."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in (path.name, hidden_name(path).name):
            with suppress(FileExistsError):
                os.link(f"/proc/self/fd/{handle}", name, dst_dir_fd=folder, follow_symlinks=True)
                return path.with_name(name)
    finally:
        os.close(folder)
    raise FileExistsError(errno.EEXIST, "another command writes it", str(path))


def hidden_name(path: Path) -> Path:
    """A new name for what will be the file `path`."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")


def remove_leftovers(path: Path) -> None:
    """Remove what dead writers of `path` left: files of this user under a hidden name of it that
    no process has locked."""
    hidden = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}")
    for found in path.parent.iterdir():
        if not hidden.fullmatch(found.name):
            continue
        with suppress(OSError):  # a link, another user's, or held by its writer
            handle = open_regular(found)
            try:
                about = os.fstat(handle)
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if about.st_uid == os.geteuid() and stat.S_IMODE(about.st_mode) == 0o600:
                    found.unlink()
            finally:
                os.close(handle)


@contextmanager
def suppress_errnos(numbers: tuple[int, ...]) -> Iterator[None]:
    """Let `OSError`s of these numbers pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise
