"""What children of the tests of the request database do. Imported once, by the server that they are
forked from (`tests/support/desk.py`)."""

import fcntl
import os
import signal
import threading
from pathlib import Path

import psycopg  # noqa: F401 - so that no child has to
import sqlalchemy.dialects.postgresql.psycopg
import sqlalchemy.dialects.sqlite.pysqlite  # noqa: F401
from sqlalchemy import insert, select, update

from lmeraser_ray.erasure.queue.lease import Lease
from lmeraser_ray.storage.database import database, ledger, postgresql, tables
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.file_lock import locked, turnstile
from tests.support.desk import Desk


def hash_one(root: Path, number: int) -> None:
    (root / f"{number}.hash").write_text(
        Pseudonymizer(root, root / "objects" / "tmp").hash("record", "a")
    )


def count_up(desk: Desk, times: int) -> None:
    opened = desk.open()
    for _ in range(times):
        with opened.write() as connection:
            epoch = connection.scalar(select(tables.lease.c.epoch)) or 0
            connection.execute(update(tables.lease).values(epoch=epoch + 1))


def opens(desk: Desk) -> None:
    desk.open()


def hold_write(desk: Desk, ready: Path) -> None:
    """A client that comes to nothing within its transaction; the server waits for it a second."""
    postgresql.IDLE_SECONDS = 1
    with desk.open().write() as connection:
        connection.execute(insert(tables.tombstones).values(hash="stopped"))
        ready.write_text(str(os.getpid()))
        threading.Event().wait()


def tell(desk: Desk, times: int) -> None:
    opened = desk.open()
    for _ in range(times):
        with opened.write() as connection:
            ledger.append(connection, "KIND", None, {"a": 1})


def write_late(desk: Desk, ready: Path) -> None:
    """A queue that is stopped between two of its writes."""
    lease = Lease.claim(desk.open(), "stopped", timeout_s=60.0)
    ready.write_text("")
    os.kill(os.getpid(), signal.SIGSTOP)
    with lease.write() as connection:
        connection.execute(insert(tables.tombstones).values(hash="late"))


def hold(lock: Path, ready: Path) -> None:
    with locked(lock, alone=True):
        ready.write_text("")
        os.kill(os.getpid(), signal.SIGSTOP)


def hold_turnstile(root: Path, ready: Path, times: int) -> None:
    """Come and go before the workspace's lock as a heartbeat may, held up there until it has been
    stopped and woken `times` times."""
    woken: list[int] = []
    signal.signal(signal.SIGCONT, lambda number, _: woken.append(number))
    with (root / "requests.lock").open("rb+") as lock:
        fcntl.fcntl(lock, fcntl.F_OFD_SETLK, turnstile(fcntl.F_WRLCK))
        ready.write_text(str(os.getpid()))
        while len(woken) < times:
            signal.pause()
        fcntl.fcntl(lock, fcntl.F_OFD_SETLK, turnstile(fcntl.F_UNLCK))
    threading.Event().wait()


def die_in_commit(desk: Desk) -> None:
    """Write to many pages, with a cache so small that they reach the file before the COMMIT; die
    before it."""
    with desk.open().write() as connection:
        connection.exec_driver_sql("PRAGMA cache_size=1")
        connection.exec_driver_sql("UPDATE requests SET submitter = 'changed'")
        connection.exec_driver_sql("UPDATE ledger SET kind = 'changed'")
        connection.exec_driver_sql("UPDATE tombstones SET hash = 'late-' || hash")
        os.kill(os.getpid(), signal.SIGKILL)


def submit_and_die(desk: Desk, moment: str) -> None:
    setattr(database, moment, lambda: os._exit(9))
    desk.requests().submit(["a"], ["s"], key="k")


def send_all(desk: Desk, number: int, times: int) -> None:
    """Keys that every client sends, keys of its own, none; ids that overlap."""
    requests = desk.requests()
    for i in range(times):
        requests.submit([f"shared-{i}"], [], key=f"shared-{i}")
        requests.submit(
            [f"own-{number}-{i}", f"shared-{i}"], [f"subject-{number}"], key=f"own-{number}-{i}"
        )
        requests.submit([f"shared-{i}"], [])


def send_for_ever(desk: Desk, log: Path, number: int) -> None:
    """Note each request when its submit has returned, and not before."""
    requests = desk.requests()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for i in range(10**9):
        made = requests.submit(
            [f"canary-{number}-{i}"], [f"canary-subject-{i}"], key=f"{number}-{i}"
        )
        os.write(handle, f"{made.id} {number}-{i}\n".encode())
