"""Durable files: a reader sees the old bytes or the new ones, also after a crash.

On a disk: write to a temporary file, flush and fsync, rename, fsync the folder. In object storage:
write a temporary object, copy it to its name. What goes wrong on the way leaves no file; where the
temporary's folder was removed meanwhile, nothing gets its name.
"""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import cast

from lmeraser_ray.errors import DiskFullError, ExecutionError
from lmeraser_ray.storage.object_storage.path import ObjectPath, remove_all
from lmeraser_ray.storage.paths import Location


@contextmanager
def disk_errors(path: Location) -> Iterator[None]:
    """Turn the operating system's errors into `ExecutionError`s that name the file and the way
    out."""
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


def sync_folder(folder: Location) -> None:
    """Make renames and removals in `folder` durable, which in object storage they are."""
    if isinstance(folder, ObjectPath):
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_temporary(
    folder: Location, chunks: Iterable[bytes], *, mode: int = 0o600
) -> tuple[Location, str]:
    """Write `chunks` to a new durable file in `folder`. Returns its path and the SHA-256 of its
    bytes in hexadecimal.

    In object storage memory holds all of it; `mode` says nothing there.
    """
    path = folder / f"{os.getpid()}-{secrets.token_hex(8)}"
    state = hashlib.sha256()
    if isinstance(path, ObjectPath):
        data = b"".join(chunks)
        state.update(data)
        with disk_errors(path):
            path.write(data)
        return path, state.hexdigest()
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


def move_into_place(temporary: Location, path: Location) -> None:
    """Atomically and durably give `temporary` the name `path`, of the same disk or bucket."""
    with disk_errors(path):
        try:
            temporary.replace(path)  # type: ignore[arg-type]
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_atomic(path: Location, data: bytes, *, scratch: Location) -> None:
    """Replace the file at `path` by `data`; `scratch` is a folder on the same disk."""
    move_into_place(write_temporary(scratch, [data])[0], path)


def share(source: Location, target: Location) -> None:
    """Give a file that never changes a second name, in the same workspace."""
    with disk_errors(target):
        if isinstance(source, ObjectPath):
            source.copy(target)  # type: ignore[arg-type]
        else:
            os.link(source, target)  # type: ignore[arg-type]


def create_once(path: Location, data: bytes, *, scratch: Location) -> bool:
    """Durably make the file `path` with `data` (mode 0600), unless there is one. Returns whether it
    was made here.

    scratch: a folder on the same disk; another command may clear it at any moment, after which this
    tries again.
    """
    with disk_errors(path):
        if isinstance(path, ObjectPath):
            try:
                path.write(data, mode="create")
            except FileExistsError:
                return False
            return True
        while True:
            scratch.mkdir(parents=True, exist_ok=True)
            temporary, _ = write_temporary(scratch, [data])
            try:
                os.link(temporary, path)  # type: ignore[arg-type]
            except FileExistsError:
                return False
            except FileNotFoundError:
                continue
            finally:
                temporary.unlink(missing_ok=True)
            sync_folder(path.parent)
            return True


def files_below(root: Location) -> list[Location]:
    """Every file below a folder, whatever it is, in order; links are not followed."""
    if isinstance(root, ObjectPath):
        return list(root.below())
    return sorted(path for path in root.rglob("*") if path.is_file() or path.is_symlink())


def remove_files(paths: Sequence[Location]) -> None:
    """Remove files of one workspace. Errors: `ExecutionError` for the first that cannot be removed,
    once all others are."""
    if any(isinstance(path, ObjectPath) for path in paths):
        with disk_errors(paths[0]):
            remove_all(cast(Sequence[ObjectPath], paths))
        return
    stuck = None
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            stuck = stuck or (path, error)
    if stuck:
        with disk_errors(stuck[0]):
            raise stuck[1]


def remove_tree(folder: Location) -> None:
    """Remove a folder with all that is below. Errors: `OSError`."""
    if isinstance(folder, ObjectPath):
        remove_all(folder.below(markers=True))
    else:
        shutil.rmtree(folder)


def discard_tree(folder: Location) -> None:
    """Remove a folder with all that is below, as far as it can be removed: a late writer may move
    something out of it meanwhile."""
    if isinstance(folder, ObjectPath):
        with suppress(OSError):
            remove_tree(folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def empty_folder(folder: Location) -> None:
    """Remove what is in a folder, and not the folder. Errors: `OSError`."""
    if isinstance(folder, ObjectPath):
        remove_all(path for path in folder.below(markers=True) if path != folder.marker)
        return
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
