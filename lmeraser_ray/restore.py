"""`restore`: a workspace from a backup, without anyone who was erased since.

    unpack and verify (scratch) → secret, configuration → request database: the newer one, tombstones of all → the backup's records without
    the erased → flow → [RESTORED + pointer, one transaction] → purge → absence scan

Invariants: no erasure is lost: tombstones are those of the database that is there, of the backup, and of the file of erasures, and they are
committed before anything is published; whoever has one is in no state that is published, and in no file but scratch, which goes with the
lock; a crash anywhere leaves the old state, or none, and the same command again finishes.
"""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select, update

from lmeraser_ray.config import Config, PublicConfig
from lmeraser_ray.erasure import ledger
from lmeraser_ray.erasure.erasures import Erasures
from lmeraser_ray.erasure.evidence import gather_needles
from lmeraser_ray.erasure.lanes import Current
from lmeraser_ray.erasure.ledger import Head
from lmeraser_ray.erasure.needles import Needles
from lmeraser_ray.erasure.pointer import point
from lmeraser_ray.erasure.remaining import remaining
from lmeraser_ray.erasure.scan import scan
from lmeraser_ray.erasure.staged import Staged, unpack
from lmeraser_ray.errors import ConfigError, VerificationError
from lmeraser_ray.flow import Evaluated
from lmeraser_ray.session import Session
from lmeraser_ray.state import tables
from lmeraser_ray.state.archive import open_archive
from lmeraser_ray.state.database import Database
from lmeraser_ray.state.dump import load
from lmeraser_ray.state.files import disk_errors, move_into_place, sync_folder, write_atomic
from lmeraser_ray.state.folder import WorkspaceFolder
from lmeraser_ray.state.manifest import Manifest
from lmeraser_ray.state.pin import Pin
from lmeraser_ray.state.store import Store, StoredObject
from lmeraser_ray.state.tombstones import Tombstones, cover_hashes


@dataclass(frozen=True)
class Restoration:
    """What a restore did. backup: the backup's fingerprint; manifest: what is published; erased_again: the backup's records that were
    left out; tombstones: how many there are; kept: whether the request database that was there was kept; notes: for people."""

    backup: str
    manifest: Manifest
    evaluated: Evaluated
    erased_again: int
    tombstones: int
    kept: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Known:
    """What is known of later erasures besides the backup: the file of erasures, or that there were none (`no_later`)."""

    erasures: Erasures | None
    no_later: bool


def restore(session: Session, source: Path, *, erasures: Path | None = None, no_later_erasures: bool = False) -> Restoration:
    """Restore the workspace from the backup `source`, into a new or empty folder or over what is there.

    Errors: `ConfigError` where the backup or the erasures are another workspace's, or nobody can tell who was erased after the backup;
    `VerificationError` where the backup, or the request database that is there, is damaged; those of training.
    """
    known = Known(Erasures.read(erasures) if erasures else None, no_later_erasures)
    folder = session.folder
    with open_archive(source) as archive:
        refuse_other_workspace(folder, str(archive.contents.about.get("workspace")), known)
        folder.create()
        with folder.locked():
            staged = unpack(archive, folder.store.scratch / "backup")
            settle_pin(folder, staged, known)
            take_secret(folder, staged)
            take_configuration(folder, staged)
            with closing(open_database(folder, session.config())) as database:
                together = bring_together(database, staged, known)
                return rebuild(session, database, staged, together)


def refuse_other_workspace(folder: WorkspaceFolder, workspace: str, known: Known) -> None:
    """Errors: `ConfigError`, before anything is written, where the file of erasures, or the folder, is not of the backup's workspace."""
    if known.erasures and known.erasures.workspace != workspace:
        raise ConfigError(f"--erasures is of workspace {known.erasures.workspace}, the backup of {workspace}: give the file of this one.")
    pin = folder.root / "database"
    pinned = pin.read_text(errors="replace").split() if pin.is_file() else []
    if len(pinned) > 1 and len(pinned[1]) == len(workspace) and pinned[1] != workspace:
        raise ConfigError(f"{folder.root} is workspace {pinned[1]}, the backup of {workspace}: restore it into another folder.")


def settle_pin(folder: WorkspaceFolder, staged: Staged, known: Known) -> None:
    """Take a pin away that is damaged, or whose SQLite database is gone. Errors: as `Known.require`, where there is no database at all."""
    root, pin = folder.root, folder.root / "database"
    text = pin.read_text(errors="replace").split() if pin.is_file() else []
    there = (root / "requests.db").is_file() and (root / "requests.db").stat().st_size > 0
    elsewhere = text[:1] == ["postgresql"] or staged.config.queue.database or os.environ.get(VARIABLE)
    if not there and not elsewhere:
        known.require(staged)
    if len(text) < 2 or (text[0] == "sqlite" and not there):
        with disk_errors(pin):
            pin.unlink(missing_ok=True)


def take_secret(folder: WorkspaceFolder, staged: Staged) -> None:
    """Have the backup's secret, which is the workspace's. Errors: `ConfigError` where a request database is there without a pin, so that
    nobody can tell whether it was made with the backup's secret or with the one that is there."""
    path = folder.root / "secret"
    with disk_errors(path):
        there = path.read_bytes() if path.is_file() else b""
    if there == staged.secret:
        return
    if there and (folder.root / "requests.db").exists() and not (folder.root / "database").exists():
        raise ConfigError(f"{folder.root} has another secret than the backup: it is another workspace. Restore into another folder.")
    write_atomic(path, staged.secret, scratch=folder.store.scratch)


def take_configuration(folder: WorkspaceFolder, staged: Staged) -> None:
    """Keep the configuration that is there, if it is of the same identity: where workers and databases are may have changed since."""
    with suppress(DataError, VerificationError):  # none, or damaged
        if folder.load_config().identity() == staged.config.identity():
            return
    folder.save_config(staged.config)


def open_database(folder: WorkspaceFolder, config: Config) -> Database:
    """The request database that is there, or a new one. Errors: `VerificationError` where it is damaged."""
    try:
        database = Database.open(folder.root, config.queue.database)
        problems = database.check()
    except VerificationError as error:
        raise VerificationError(f"{error} {DAMAGED}") from error
    if problems:
        database.close()
        raise VerificationError(f"The request database of {folder.root} is damaged ({problems[0]}). {DAMAGED}")
    return database


@dataclass(frozen=True)
class Together:
    """What is known now of requests and erasures. kept: whether the request database that was there was kept; lost: entries that the ledger
    had when the file of erasures was written, and has no more; tombstones: how many there are."""

    kept: bool
    lost: int
    tombstones: int


def bring_together(database: Database, staged: Staged, known: Known) -> Together:
    """Keep the newer of the two request databases, with the tombstones of both and of the file of erasures: one transaction.

    Errors: `ConfigError` where neither continues the other, or there is none and nobody can tell what came after the backup;
    `VerificationError` where a ledger's chain is broken.
    """
    with database.write() as conn:
        there, epoch = ledger.head(conn), conn.scalar(select(tables.lease.c.epoch)) or 0
        hashes = {str(row["hash"]) for name, row in staged.rows() if name == "tombstones"}
        hashes |= {*conn.scalars(select(tables.tombstones.c.hash)), *(known.erasures.tombstones if known.erasures else ())}
        require_chain(conn, "that is there")
        kept = there.seq > 0 and ledger.contains(conn, staged.head)
        if not kept:
            if there.seq == 0:
                known.require(staged)
            elif staged.hash_at(there.seq) != there.hash:
                raise ConfigError(FORKED)
            load(conn, staged.rows())
            require_chain(conn, "in the backup")
            if ledger.head(conn) != staged.head:
                raise VerificationError("The ledger in the backup does not end where its table of contents says: give another backup.")
            epoch = max(epoch, conn.scalar(select(tables.lease.c.epoch)) or 0)
            nobody = {"holder": None, "process": None, "heartbeat_at": None, "snapshot": None}
            conn.execute(update(tables.lease).values(epoch=epoch + 1, **nobody))  # a queue that still runs stops
        cover_hashes(conn, hashes)
        lost = max(0, known.erasures.seq - ledger.head(conn).seq) if known.erasures else 0
        return Together(kept, lost, len(hashes))


def require_chain(conn: Connection, which: str) -> None:
    """Errors: `VerificationError` where the ledger's chain is broken."""
    found = ledger.check(conn)
    if found:
        raise VerificationError(f"The ledger {which} does not hold: {found[0]}. {DAMAGED}")


def rebuild(session: Session, database: Database, staged: Staged, together: Together) -> Restoration:
    """Build the state of the backup's records without the erased, and publish it."""
    folder, config, manifest = session.folder, session.config(), staged.manifest
    raise NotImplementedError
