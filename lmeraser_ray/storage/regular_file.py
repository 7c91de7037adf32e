"""Opening a file of a workspace: a regular file or an error, never what a link leads to.

Whoever can write to a workspace could put a link to a foreign file in the place of one of its own,
and the next command would read, lock, truncate or copy that; or a pipe, on which it would wait.
Links on the way to the workspace's folder are its user's own, and are followed. Errors are
`OSError`s, which `files.disk_errors` turns into messages.
"""

import errno
import os
import stat
from pathlib import Path


def open_regular(path: Path, flags: int = os.O_RDONLY, *, in_place: bool = False) -> int:
    """The descriptor of the regular file at `path`. A file that is made has mode 0600 whatever the
    umask.

    in_place: the file is to be changed in place, so it must have no second name: that would be
    another file's, whose bytes would change too. Errors: `OSError` where it is anything else.
    """
    try:
        handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
        raise OSError(error.errno, f"it is {kind_of(path.lstat().st_mode)}") from error
    try:
        require_regular(os.fstat(handle), in_place=in_place)
        if flags & os.O_CREAT and os.fstat(handle).st_mode & 0o600 != 0o600:
            os.fchmod(handle, 0o600)
    except BaseException:
        os.close(handle)
        raise
    return handle


def require_regular(found: os.stat_result, *, in_place: bool) -> None:
    """Errors: `OSError` where a file is none, or may not be changed in place."""
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, f"it is {kind_of(found.st_mode)}")
    if in_place and found.st_nlink > 1:
        raise OSError(errno.EMLINK, f"it has {found.st_nlink} names, one may be elsewhere")


def kind_of(mode: int) -> str:
    """What a file is that is no regular one, by its `st_mode`."""
    kinds = {
        stat.S_IFLNK: "a link",
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def make_folder(path: Path, *, parents: bool = True) -> None:
    """Make a folder, and with `parents` those above it that are missing, for their owner only (mode
    0700) whatever the umask. Durably: what is in a folder whose name is lost is lost too. Errors:
    `OSError`, also where something else has the name."""
    if path.is_dir():
        return
    if parents and not path.parent.exists():
        make_folder(path.parent)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not path.is_dir():  # else another command made it meanwhile
            raise
    else:
        path.chmod(0o700)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """fsync of a folder. Errors: `OSError`."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
