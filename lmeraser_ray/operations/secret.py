"""`secret`: where the secret of a workspace lies and which versions it has; moves it out, adds a
version, retires those that nothing needs any more.

A rotation leaves the old hashes as they are, since the names behind them are gone: they are
recognised under the old versions, until the last tombstone and the last open request under one are
gone. Then the version can be retired, and what certificates and closed requests hold under it can
be tied to nobody any more.
"""

import os
import secrets
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection, select

from lmeraser_ray.errors import ConfigError
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database import tables
from lmeraser_ray.storage.database.keyring import SECRET_BYTES, Keyring
from lmeraser_ray.storage.database.secret_change import change, move_out
from lmeraser_ray.storage.database.secret_place import MARKER, SECRET, SECRET_VARIABLE, read_inside
from lmeraser_ray.storage.database.secret_versions import needed, note

Change = Literal["show", "move", "rotate", "retire"]


@dataclass(frozen=True)
class SecretVersion:
    """One version. since: when the database noted it, as text; retired: when it was retired; needs:
    how many tombstones and open requests are under it."""

    version: int
    since: str
    retired: str | None
    needs: int


@dataclass(frozen=True)
class SecretState:
    """Where the secret lies (`workspace`, or `file`, `env`, `exec` as LMERASER_SECRET says), and
    its versions, the oldest first; after a move none are read. written: the new file."""

    place: str
    versions: tuple[SecretVersion, ...] = ()
    written: Path | None = None


def secret(session: Session, what: Change = "show", *, to: Path | None = None) -> SecretState:
    """Do `what`, and return how the secret stands then. to: a new file, outside of the workspace.

    Errors: those of `move_out` and `change`; `ConfigError` where `to` is missing, or is given to
    `show`; `ExecutionError` where another command holds the workspace.
    """
    if (to is not None) if what == "show" else (to is None and what == "move"):
        raise ConfigError(
            "`secret move` needs --to FILE, the whole path of a new file outside of the workspace; "
            "`secret show` takes none."
        )
    session.folder.require()
    with session.folder.locked() as workspace:
        scratch = workspace.store.scratch
        if what == "move" and to is not None:
            move_out(session.root, scratch, to)
            return SecretState("file", written=to)
        with session.database() as database, database.write() as connection:
            if what in ("rotate", "retire"):
                used = needed(connection)
                changed = rotated if what == "rotate" else retiring(used)
                change(session.root, scratch, changed, to)
                note(connection, session.names())
            return state_of(session, connection, to)


def rotated(keyring: Keyring) -> Keyring:
    """Return the keyring with a new version."""
    return keyring.rotated(secrets.token_bytes(SECRET_BYTES))


def retiring(used: Container[int]) -> Callable[[Keyring], Keyring]:
    """Return what takes the secrets of older versions out of a keyring, but of those in use."""

    def retired(keyring: Keyring) -> Keyring:
        if keyring.workspace is None:
            raise ConfigError(
                "This is a master secret, of which other workspaces may need each version: a "
                "keyring of one workspace alone can retire one."
            )
        for version in sorted(keyring.secrets):
            if version != keyring.version and version not in used:
                keyring = keyring.retire(version)
        return keyring

    return retired


def state_of(session: Session, connection: Connection, written: Path | None) -> SecretState:
    """Read how the secret stands."""
    marker = MARKER.fullmatch(read_inside(session.root / SECRET) or b"")
    setting = os.environ.get(SECRET_VARIABLE, "")
    used, rows = needed(connection), tables.secrets
    versions = tuple(
        SecretVersion(row.version, row.at, row.retired_at, used.get(row.version, 0))
        for row in connection.execute(select(rows).order_by(rows.c.version))
    )
    return SecretState(setting.partition(":")[0] if marker else "workspace", versions, written)
