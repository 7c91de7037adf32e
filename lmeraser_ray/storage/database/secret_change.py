"""Changes of a workspace's secret: it is moved out, rotated, or a version of it retired.

    move     the keyring to its new file, durably, read again ─► the workspace's file is a marker
    rotate   the keyring with a further version, durably      ─► noted in the database
    retire   the keyring without a version's secret, durably  ─► noted in the database

Invariants: each file is replaced in one step, and the step to the right is made only after the one
to the left is durable, so that a crash between the two leaves a secret that works, and the same
command, or the next opening of the database, finishes. The caller of `change` holds a write
transaction of the request database: two changes at once would lose one.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lmeraser_ray.errors import ConfigError
from lmeraser_ray.storage.database.keyring import Keyring
from lmeraser_ray.storage.database.secret_place import (
    MARKER,
    SECRET,
    SECRET_VARIABLE,
    forget,
    from_file,
    keyring_in,
    marker_of,
    read_inside,
    read_outside,
)
from lmeraser_ray.storage.files import disk_errors, replace_pointer, write_atomic
from lmeraser_ray.storage.paths import Location, inside


def move_out(root: Location, scratch: Location, to: Path) -> None:
    """Move the secret of the workspace in `root` to the new file `to`, outside. Again after a
    crash: goes on.

    Errors: `ConfigError` where it lies outside already, or `to` is no place for it.
    """
    path = root / SECRET
    with disk_errors(path):
        data = read_inside(path) or b""
    if MARKER.fullmatch(data):
        raise ConfigError(
            f"The secret of {root} lies outside already: move the file or the entry that "
            f"{SECRET_VARIABLE} names, and change {SECRET_VARIABLE}."
        )
    keyring = keyring_in(data, path)
    if inside(to, root):
        raise ConfigError(f"--to {to} lies within the workspace: choose a place outside of it.")
    write_new(to, keyring)
    write_atomic(path, marker_of(keyring.workspace or ""), scratch=scratch)


def write_new(to: Path, keyring: Keyring) -> None:
    """Write a keyring to a file that is not there yet, or is this keyring's. Errors: `ConfigError`
    where it is something else, or can be read by others."""
    if not to.is_absolute() or not to.parent.is_dir():
        raise ConfigError(
            f"--to {to} is no place for a file: give the whole path of a new file in a folder that "
            "exists."
        )
    if not os.path.lexists(to):
        write_outside(to, keyring)
    if from_file(str(to)) != keyring.to_bytes():
        raise ConfigError(f"--to {to} exists, and is another file: give the name of a new one.")


def write_outside(path: Path, keyring: Keyring) -> None:
    """Replace a keyring outside of the workspace, durably, in one step."""
    with disk_errors(path):
        replace_pointer(path, keyring.to_bytes(), temporary=path.with_name(f"{path.name}.next"))


def change(
    root: Location, scratch: Location, changed: Callable[[Keyring], Keyring], to: Path | None
) -> None:
    """Replace the keyring of the workspace in `root` by what `changed` makes of it. to: write it to
    this new file instead, for whoever keeps it where it can only be read.

    Errors: `ConfigError` where it can only be read, and `to` is None.
    """
    path = root / SECRET
    with disk_errors(path):
        data = read_inside(path) or b""
    kind, _, rest = os.environ.get(SECRET_VARIABLE, "").partition(":")
    if not MARKER.fullmatch(data):
        write_atomic(path, changed(keyring_in(data, path)).to_bytes(), scratch=scratch)
    elif to is not None:
        write_new(to, changed(read_outside()))
    elif kind == "file":
        with held(Path(rest)):
            write_outside(Path(rest), changed(read_outside()))
    else:
        raise ConfigError(
            f"{SECRET_VARIABLE} is {kind}:…, which can only be read: give --to FILE, keep what is "
            "in that file in the place of the old secret, and remove the file."
        )
    forget()


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Be the only one who replaces a file: workspaces may share a master secret."""
    while True:
        with disk_errors(path):
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle).st_ino == path.stat(follow_symlinks=False).st_ino:
                yield
                return
        finally:
            os.close(handle)
