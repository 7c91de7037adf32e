"""Where the secret of a workspace lies: in its file `secret`, or outside, where the environment's
LMERASER_SECRET says.

    file:/path          a file that only its owner can read
    env:NAME            the environment variable NAME
    exec:PROGRAM ARGS   what a program prints: a client of Vault, of a cloud's secret manager, …

Whoever copies a workspace with its secret can test whether a person was erased; with the secret
outside, the copy says nothing. The file `secret` is then a marker, `outside` and the workspace's
id. LMERASER_SECRET is read from the environment alone, so that no workspace and no backup can name
a program to run.

Invariants: once anything hashed exists, a missing secret is an error and never replaced by a new
one; a workspace with a marker never gets a secret of its own; no message holds the setting, which
could be the secret itself by mistake.
"""

import os
import re
import secrets
import shlex
import stat
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from lmeraser_ray.errors import ConfigError, ExecutionError, VerificationError
from lmeraser_ray.storage.database.keyring import ID_DIGITS, SECRET_BYTES, Keyring
from lmeraser_ray.storage.files import create_once, disk_errors, read_file
from lmeraser_ray.storage.paths import Location

SECRET = "secret"  # noqa: S105 - the name of a file
SECRET_VARIABLE = "LMERASER_SECRET"  # noqa: S105 - and of a variable
MARKER = re.compile(rb"outside ([0-9a-f]{12})\n")
HASHED_FILES = ("database", "requests.db", "tombstones")
"""Files of a workspace that exist, and are not empty, only once something was hashed."""
LARGEST = 1 << 16
"""Bytes of a keyring at most."""
SECONDS = 30.0
"""Seconds that a program may take."""


def keyring_of(root: Location, scratch: Location) -> Keyring:
    """The secret of the workspace in `root`, created where none was needed before.

    Errors: `VerificationError` where it is damaged, another workspace's, or missing although
    something was hashed with it; `ConfigError` where LMERASER_SECRET is missing, or is set for a
    workspace that holds its secret itself; `ExecutionError` where it cannot be read.
    """
    path = root / SECRET
    with disk_errors(path):
        data = read_inside(path)
    if data is None:
        data = first_secret(root, scratch)
    if os.environ.get(SECRET_VARIABLE) and not MARKER.fullmatch(data):
        raise ConfigError(
            f"{SECRET_VARIABLE} is set, but {root} holds its secret itself: move it out with "
            f"`lmeraser secret move --to FILE`, or unset {SECRET_VARIABLE} for this workspace."
        )
    return keyring_in(data, path)


def keyring_in(data: bytes, path: Location) -> Keyring:
    """The secret that the bytes of a workspace's file `secret` are, or lead to. path: the file, for
    messages. Errors: as `keyring_of`."""
    if marked := MARKER.fullmatch(data):
        return outside_keyring(marked[1].decode())
    try:
        return Keyring.inside(data)
    except ValueError as error:
        raise VerificationError(
            f"{path} is {error}, so nobody can tell who was erased (keyed hashes need it): bring "
            "it back from a copy."
        ) from None


def first_secret(root: Location, scratch: Location) -> bytes:
    """Make the file `secret`, and return its bytes. Errors: `VerificationError` where something was
    hashed before."""
    path = root / SECRET
    for hashed in (root / name for name in HASHED_FILES):
        with disk_errors(hashed):
            needed = hashed.exists() and hashed.stat().st_size
        if needed:
            raise VerificationError(
                f"{path} is missing, so nobody can tell who was erased (the keyed hashes in "
                f"{hashed} need it): bring it back from a copy. Without one train a new "
                "workspace, and exclude the erased there by data.exclude."
            )
    mine = secrets.token_bytes(SECRET_BYTES)
    if os.environ.get(SECRET_VARIABLE):
        if (other := read_outside().workspace) is not None:
            raise ConfigError(
                f"{SECRET_VARIABLE} leads to the keyring of workspace {other}, and {root} is a new "
                "one: give a secret that belongs to no workspace (`openssl rand -hex 32`)."
            )
        mine = marker_of(secrets.token_hex(ID_DIGITS // 2))
    create_once(path, mine, scratch=scratch)
    with disk_errors(path):
        return read_file(path)


def marker_of(workspace: str) -> bytes:
    """The file `secret` of a workspace whose secret lies outside."""
    return f"outside {workspace}\n".encode()


def outside_keyring(workspace: str) -> Keyring:
    """The keyring of a workspace whose secret lies outside. Errors: as `keyring_of`."""
    found = read_outside().of_workspace(workspace)
    if found.workspace != workspace:
        raise VerificationError(
            f"{SECRET_VARIABLE} leads to the secret of workspace {found.workspace}, this is "
            f"{workspace}: give this one's."
        )
    return found


def read_outside() -> Keyring:
    """What LMERASER_SECRET leads to: a keyring, or a master secret. Errors: as `keyring_of`."""
    setting = os.environ.get(SECRET_VARIABLE)
    if not setting:
        raise ConfigError(
            "The secret of this workspace lies outside of it, and nothing says where: set "
            f"{SECRET_VARIABLE} to file:/path, env:NAME or exec:PROGRAM. Without it nobody can "
            "tell who was erased; nothing was changed."
        )
    kind, _, rest = setting.partition(":")
    reader = READERS.get(kind)
    if reader is None or not rest:
        raise ConfigError(
            f"{SECRET_VARIABLE} is neither file:/path nor env:NAME nor exec:PROGRAM (and it is no "
            "place for the secret itself): correct it."
        )
    try:
        return Keyring.from_bytes(reader(rest))
    except ValueError as error:
        raise VerificationError(
            f"What {SECRET_VARIABLE} leads to ({kind}:…) is {error}: give 64 hexadecimal digits "
            "(`openssl rand -hex 32`), or the keyring that `lmeraser secret` wrote."
        ) from None


def from_file(name: str) -> bytes:
    """Read a file that nobody but its owner can. Errors: `ConfigError` where it is something
    else."""
    path = Path(name)
    if not path.is_absolute():
        raise ConfigError(f"{SECRET_VARIABLE} names {name}: give the whole path, file:/….")
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(
            f"{SECRET_VARIABLE} names {path}, which cannot be opened ({error.strerror}): give a "
            "file, and no link to one."
        ) from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
            raise ConfigError(
                f"{path} is no file that its owner alone can read (mode "
                f"{stat.filemode(status.st_mode)}): `chmod 600` it, and ask who read it."
            )
        if status.st_uid not in (os.geteuid(), 0):
            raise ConfigError(f"{path} belongs to another user: give a file of your own.")
        with disk_errors(path):
            return os.read(handle, LARGEST)
    finally:
        os.close(handle)


def from_variable(name: str) -> bytes:
    """Read an environment variable. Errors: `ConfigError` where there is none."""
    value = os.environ.get(name)
    if not value:
        raise ConfigError(
            f"{SECRET_VARIABLE} is env:{name}, and there is no such environment variable: set it."
        )
    return value.encode(errors="surrogateescape")


@cache
def from_program(command: str) -> bytes:
    """What a program prints: run once in a process, without a shell; what it says on stderr is not
    shown, since that could be the secret. Errors: `ConfigError`, `ExecutionError`."""
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own program, without a shell
            shlex.split(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ExecutionError(
            f"The program of {SECRET_VARIABLE} did not end within {SECONDS:g} s: try it by hand."
        ) from None
    except (OSError, ValueError, IndexError) as error:
        raise ConfigError(
            f"The program of {SECRET_VARIABLE} cannot be run ({type(error).__name__}): give its "
            "whole path."
        ) from None
    if done.returncode:
        raise ExecutionError(
            f"The program of {SECRET_VARIABLE} ended with {done.returncode}: try it by hand."
        )
    return done.stdout[:LARGEST]


READERS: Mapping[str, Callable[[str], bytes]] = {
    "file": from_file,
    "env": from_variable,
    "exec": from_program,
}
"""How the secret is read, by the first word of LMERASER_SECRET."""


def forget() -> None:
    """Run the program again the next time: the secret was rotated."""
    from_program.cache_clear()


def read_inside(path: Location) -> bytes | None:
    """Return the bytes of a workspace's file `secret`, None where there is none."""
    with suppress(FileNotFoundError):
        return read_file(path)
    return None
