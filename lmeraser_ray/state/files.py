"""Durable files: a reader sees the old bytes or the new ones, also after a crash.

Write to a temporary file on the same disk, flush and fsync, rename, fsync the folder. What goes wrong on the way leaves no file.
"""

import errno
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lmeraser_ray.errors import DiskFullError, ExecutionError


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's errors into `ExecutionError`s that name the file and the way out."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"The disk is full: {path} could not be written. Free some space and run the same command again."
            ) from error
        raise ExecutionError(
            f"{path} could not be read or written ({error.strerror or error}). Check it and run the same command again."
        ) from error


def sync_folder(folder: Path) -> None:
    """Make renames and removals in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_temporary(folder: Path, chunks: Iterable[bytes], *, mode: int = 0o600) -> tuple[Path, str]:
    """Write `chunks` to a new fsynced file in `folder`. Returns its path and the SHA-256 of its bytes in hexadecimal."""
    path = folder / f"{os.getpid()}-{secrets.token_hex(8)}"
    state = hashlib.sha256()
    with disk_errors(path):
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                for chunk in chunks:
                    state.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return path, state.hexdigest()


def move_into_place(temporary: Path, path: Path) -> None:
    """Atomically and durably give `temporary` the name `path`."""
    with disk_errors(path):
        try:
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_atomic(path: Path, data: bytes, *, scratch: Path) -> None:
    """Replace the file at `path` by `data`; `scratch` is a folder on the same disk."""
    move_into_place(write_temporary(scratch, [data])[0], path)
