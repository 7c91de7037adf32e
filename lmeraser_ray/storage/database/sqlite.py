"""The request database in one SQLite file of the workspace: the engine, the lock, and recovery
after a crash.

Settings (verified on every connection): a rollback journal that is deleted, so that nothing of it
outlives its transaction; every COMMIT synced, the folder too; deleted content overwritten. Writers
wait for a lock of our own (`requests.lock`, see `storage/file_lock.py`) in the order of arrival.
SQLite's own busy handler sleeps between two tries, so that some processes wait for seconds.
"""

import errno
import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, inspect, select

from lmeraser_ray.errors import ConfigError, ExecutionError, VerificationError
from lmeraser_ray.storage.database.tables import ledger, requests
from lmeraser_ray.storage.file_lock import locked
from lmeraser_ray.storage.files import disk_errors, read_file, sync_folder
from lmeraser_ray.storage.regular_file import open_regular

MAGIC = bytes.fromhex("d9d505f920a163d7")
HEADER = struct.Struct(">8sIIIII")
STEP = 200
"""Every so many bytes of a page, from its end, enter its checksum."""

SETTINGS = (
    ("journal_mode", "DELETE", "delete"),
    ("synchronous", "EXTRA", 3),
    ("secure_delete", "ON", 1),
    ("foreign_keys", "ON", 1),
)
QUIET_SETTINGS = ("temp_store=MEMORY", "cell_size_check=ON")
"""No names in temporary files; malformed pages are found when they are read."""
LONGEST_PATH = 512
"""Bytes of a path, the journal's, that SQLite opens (its MAX_PATHNAME)."""
BUSY_SECONDS = 20.0
"""How long SQLite itself waits for programs that do not take our lock (a backup, `sqlite3` in a
shell)."""
NETWORKED = frozenset(
    ["nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "coda", "ncpfs", "ceph",
     "lustre", "gpfs", "beegfs", "glusterfs", "ocfs2", "gfs2", "orangefs", "pvfs2", "webdav",
     "davfs"]
)  # fmt: skip
"""File systems that several machines write to: their locks do not keep SQLite's promises."""
LOCAL_FUSE = frozenset(
    ("fuseblk", "fuse.ext4", "fuse.fuse-overlayfs", "fuse.lxcfs", "fuse.mergerfs")
)


def open_engine(path: Path) -> Engine:
    """The engine of the file at `path`, whose transactions begin as their execution option `write`
    says."""
    url = URL.create("sqlite+pysqlite", database=str(path))
    engine = create_engine(
        url, hide_parameters=True, max_overflow=-1, connect_args={"timeout": BUSY_SECONDS}
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # BEGIN is ours
        cursor = connection.cursor()
        for name, value, expected in SETTINGS:
            cursor.execute(f"PRAGMA {name}={value}")
            (found,) = cursor.execute(f"PRAGMA {name}").fetchone()
            if found != expected:
                raise ExecutionError(
                    f"This Python's SQLite does not take {name}={value} (it answers {found!r}) "
                    f"for {path}: use another."
                )
        for setting in QUIET_SETTINGS:
            cursor.execute(f"PRAGMA {setting}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def create_file(path: Path) -> None:
    """An empty file for its owner only, before SQLite makes one as the umask has it. Its journal
    takes its mode. Errors: `ConfigError` where SQLite cannot open a path of this length."""
    length = len(os.fsencode(journal_of(path)))
    if length > LONGEST_PATH:
        raise ConfigError(
            f"{path} has {length} bytes with its journal's name, and SQLite opens paths of at most "
            f"{LONGEST_PATH}: put the workspace into a folder with a shorter path."
        )
    with disk_errors(path):
        os.close(open_regular(path, os.O_RDWR | os.O_CREAT, in_place=True))
        if journal_of(path).is_symlink():
            raise OSError(errno.ELOOP, f"its journal {journal_of(path).name} is a link")


def remove_waiting(path: Path) -> None:
    """Remove the file `requests.waiting` that version 0.4.0 left beside the database `path`.

    Clients of 0.4.0 handed submissions, with ids, to one another in this file. A submission was
    acknowledged only once it was committed in the database, so that nothing in the file is owed to
    anybody: an unacknowledged one is to be submitted again.
    """
    waiting = path.with_name("requests.waiting")
    with disk_errors(waiting):
        if waiting.exists():
            waiting.unlink(missing_ok=True)
            sync_folder(waiting.parent)


@contextmanager
def locked_database(path: Path, *, write: bool) -> Iterator[bool]:
    """Hold the lock of the database `path`: alone to write, with others to read.

    Yields whether the file is as the last COMMIT left it: not where a writer died within a
    transaction, or where `recover` was not content. A journal that is there while the lock is held
    is a dead writer's.
    """
    with locked(lock_of(path), alone=write) as handle:
        yield os.fstat(handle).st_size == 0 and not journal_of(path).exists()


def lock_of(path: Path) -> Path:
    """The file whose lock writers hold. It is empty, or says that the database has to be
    recovered."""
    return path.with_name("requests.lock")


def journal_of(path: Path) -> Path:
    """The rollback journal of the database `path`."""
    return path.with_name(f"{path.name}-journal")


def recover(path: Path, engine: Engine) -> None:
    """Roll back what a dead writer left half-done, and look at the whole file.

    Errors: `VerificationError` where it is not sound then; this is noted, so that everyone else is
    refused too.
    """
    with locked(lock_of(path), alone=True) as handle:
        journal = journal_of(path)
        if os.fstat(handle).st_size == 0 and not journal.exists():
            return  # another process did it
        with disk_errors(path):
            os.pwrite(handle, b"recover", 0)
            os.fsync(handle)
        torn = torn_journal(journal)
        if torn:
            raise damaged(path, torn)
        with engine.connect() as connection, connection.execution_options(write=True).begin():
            found = differences(connection)
            if not found and path.stat().st_size and inspect(connection).has_table("ledger"):
                found = disagreements(connection)
            if not found:
                drop_left(path)
        if found:
            raise damaged(path, found[0])
        with disk_errors(path):
            os.ftruncate(handle, 0)


def drop_left(path: Path) -> None:
    """Remove the journal of a dead writer that SQLite had no need of, and leaves.

    Only within a transaction that has written nothing: nobody else can have a journal then, nor has
    it one itself, but in an empty database, which SQLite begins with a page of its own.
    """
    with disk_errors(path):
        if path.stat().st_size:
            journal_of(path).unlink(missing_ok=True)


def differences(connection: Connection) -> list[str]:
    """What SQLite itself finds wrong with the file: pages, indexes, rows without the row that they
    refer to."""
    lines = [
        line
        for (text,) in connection.exec_driver_sql("PRAGMA integrity_check(10)")
        for line in str(text).splitlines()
    ]
    found = [line for line in lines if line != "ok" and not line.startswith("***")]
    return found + [
        f"a row of {table} refers to no request"
        for table, *_ in connection.exec_driver_sql("PRAGMA foreign_key_check")
    ]


def require_local(path: Path) -> None:
    """Errors: `ConfigError` where the folder `path` is on a network file system."""
    kind = file_system(path)
    if kind in NETWORKED or (kind.startswith("fuse") and kind not in LOCAL_FUSE):
        raise ConfigError(
            f"{path} is on a network file system ({kind}), on which SQLite loses commits: put the "
            "workspace on a local disk, or give --queue.database postgresql://…, or "
            "LMERASER_DATABASE."
        )


def file_system(path: Path) -> str:
    """The type of the file system that holds `path`; "" where the system does not tell."""
    try:
        mounts = psutil.disk_partitions(all=True)
    except (OSError, psutil.Error):
        return ""
    folder, found, longest = path.resolve(), "", -1
    for mount in mounts:
        if folder.is_relative_to(mount.mountpoint) and len(mount.mountpoint) >= longest:
            found, longest = mount.fstype, len(mount.mountpoint)  # a later mount hides an earlier
    return found


def damaged(path: Path, what: str) -> VerificationError:
    """The error for a file that is not what was committed."""
    return VerificationError(
        f"The request database {path} is damaged ({what}). Nothing is served or erased from it: "
        "restore it from a backup (`lmeraser restore`), and keep the damaged file for whoever "
        "looks into it."
    )


def torn_journal(path: Path) -> str | None:
    """What is wrong with the journal at `path`, None where SQLite can roll back all of it (or
    nothing was begun)."""
    with disk_errors(path):
        if not path.exists():
            return None
        data = read_file(path)
    at = 0
    while at + HEADER.size <= len(data) and data[at : at + 8] == MAGIC:
        _, count, nonce, _, sector, page = HEADER.unpack_from(data, at)
        if at == 0:
            first_sector, first_page = sector, page
        sector, page = first_sector, first_page  # only the first header's count
        if not 32 <= sector <= 65536 or not 512 <= page <= 65536:
            return "the journal of the transaction that was under way has a damaged header"
        start = at + sector
        for number in range(count):
            record = data[start + number * (page + 8) : start + (number + 1) * (page + 8)]
            if len(record) < page + 8 or checksum(record[4:-4], nonce) != int.from_bytes(
                record[-4:], "big"
            ):
                return (
                    "the journal of the transaction that was under way is cut or changed, so it "
                    "cannot be rolled back"
                )
        end = start + count * (page + 8)
        at = -(-end // sector) * sector
        if count == 0:
            break
    return None


def checksum(page: bytes, nonce: int) -> int:
    """SQLite's checksum of a page."""
    return (nonce + sum(page[i] for i in range(len(page) - STEP, 0, -STEP))) & 0xFFFFFFFF


def disagreements(connection: Connection) -> list[str]:
    """A sentence for each kind of disagreement; reads both tables. Every change of state writes a
    ledger entry of that name with it."""
    found: list[str] = []
    entries = select(ledger.c.seq).where(
        ledger.c.request_id == requests.c.id, ledger.c.kind == requests.c.state
    )
    silent = connection.scalar(select(func.count()).select_from(requests).where(~entries.exists()))
    if silent:
        found.append(f"{silent} requests are in a state that the ledger knows nothing of")
    known = select(requests.c.id).where(requests.c.id == ledger.c.request_id)
    unknown = (
        select(func.count())
        .select_from(ledger)
        .where(ledger.c.request_id.is_not(None), ~known.exists())
    )
    lost = connection.scalar(unknown)
    if lost:
        found.append(f"{lost} ledger entries tell of requests that are not there")
    count, last = connection.execute(
        select(func.count(), func.coalesce(func.max(ledger.c.seq), 0)).select_from(ledger)
    ).one()
    if count != last:
        found.append(f"the ledger has {count} entries, its last number is {last}")
    return found
