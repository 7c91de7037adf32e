"""The lease: which process is the one queue of a workspace, and the epoch that fences its writes.

To claim the lease raises its epoch. Every write of a queue goes through `Lease.write`, which locks
the lease's row and reads the epoch before anything else: a queue that was stopped, cut off or taken
for dead finds a later epoch and writes nothing. Clocks, and what this machine knows of the holder's
process, only decide how soon another queue may claim, never which one may write.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType

import psutil
from sqlalchemy import Connection, select, update

from lmeraser_ray.errors import ExecutionError, LmeraserError, StaleEpochError, VerificationError
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.times import from_text, to_text, utcnow

BOOT = Path("/proc/sys/kernel/random/boot_id")
NAMESPACE = "/proc/self/ns/pid"
ENDED = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
"""States of a process that runs no more: its parent has not asked for its exit status yet."""

Snapshot = dict[str, object]
"""The state of a queue for whoever watches: JSON values, no ids of records or subjects."""
SHOWN = 1.0
"""The most seconds between two heartbeats, so that whoever watches sees the work progress."""
row = tables.lease


@dataclass(frozen=True, slots=True)
class LeaseView:
    """The lease as the database has it."""

    epoch: int
    holder: str | None
    heartbeat_at: datetime | None
    snapshot: Snapshot | None
    process: str | None = None
    """The mark of the holder's process (`process_mark`), None where its system does not say."""

    def live(self, now: datetime, timeout_s: float) -> bool:
        """Whether the holder is taken to be alive: its last heartbeat is younger than `timeout_s`
        seconds (or less far in the future, by a clock that is ahead), and its process is not known
        to have ended."""
        if self.holder is None or self.heartbeat_at is None or process_gone(self.process):
            return False
        return abs((now - self.heartbeat_at).total_seconds()) < timeout_s


@dataclass(frozen=True, slots=True)
class Lease:
    """One claim, valid until another queue has a higher epoch."""

    database: Database
    holder: str
    epoch: int

    @classmethod
    def claim(
        cls, database: Database, holder: str, *, timeout_s: float, force: bool = False
    ) -> "Lease":
        """Become the queue, with the next epoch. holder: the name of this process, for people.

        Errors: `ExecutionError` while another holder is alive (`LeaseView.live`), unless `force`.
        """
        with database.write() as connection:
            seen = look(connection)
            now = utcnow()
            if not force and seen.live(now, timeout_s):
                raise ExecutionError(
                    f"Another queue ({seen.holder}) works on this workspace: stop it first, or "
                    f"wait {timeout_s:g} s after its end."
                )
            epoch = seen.epoch + 1
            values = {
                "epoch": epoch,
                "holder": holder,
                "process": process_mark(),
                "heartbeat_at": to_text(now),
                "snapshot": None,
            }
            connection.execute(update(row).values(values))
            ledger.append(connection, "LEASE", None, {"epoch": epoch})
        return cls(database, holder, epoch)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A write transaction of this epoch. Errors: `StaleEpochError`, before anything is written,
        where another queue has taken over."""
        with self.database.write() as connection:
            self.require(connection)
            yield connection

    def require(self, connection: Connection) -> None:
        """Lock the lease for this transaction. Errors: `StaleEpochError` where another queue has
        it."""
        epoch = connection.scalar(select(row.c.epoch).with_for_update())
        if epoch != self.epoch:
            raise StaleEpochError(
                f"Another queue has taken over (epoch {epoch}, this one has {self.epoch}): this "
                "one stops and has written nothing since."
            )

    def heartbeat(self, snapshot: Snapshot | None = None) -> None:
        """Note that this queue is alive, with its snapshot. Errors: `StaleEpochError` where another
        queue has taken over."""
        text = None if snapshot is None else json.dumps(snapshot)
        with self.write() as connection:
            connection.execute(update(row).values(heartbeat_at=to_text(utcnow()), snapshot=text))

    def release(self) -> None:
        """Give the lease back, so that the next queue need not wait. Does nothing where another
        queue has taken over."""
        with self.database.write() as connection:
            nobody = {"holder": None, "process": None, "heartbeat_at": None, "snapshot": None}
            connection.execute(update(row).where(row.c.epoch == self.epoch).values(nobody))

    @staticmethod
    def look(database: Database) -> LeaseView:
        """Read the lease."""
        with database.read() as connection:
            return look(connection)

    @staticmethod
    def live(database: Database, now: datetime, timeout_s: float) -> str | None:
        """The holder that works on the workspace now; None where none is alive
        (`LeaseView.live`)."""
        seen = Lease.look(database)
        return seen.holder if seen.live(now, timeout_s) else None


def look(connection: Connection) -> LeaseView:
    """Read the lease within a transaction."""
    found = connection.execute(select(row)).one()
    heartbeat = from_text(found.heartbeat_at) if found.heartbeat_at else None
    return LeaseView(
        found.epoch,
        found.holder,
        heartbeat,
        json.loads(found.snapshot) if found.snapshot else None,
        found.process,
    )


class Heart:
    """Writes heartbeats for a lease from a thread of its own, at least four in each `timeout_s`
    seconds, for as long as the context lasts.

    `stale` is set when another queue has taken over; when no heartbeat was written for `timeout_s`
    seconds, so that another queue may take over; when the database is damaged; and when the thread
    ends by a defect.
    """

    def __init__(self, lease: Lease, timeout_s: float) -> None:
        self._lease, self._timeout_s = lease, timeout_s
        self._stop = threading.Event()
        self._snapshot: Snapshot | None = None
        self._thread = threading.Thread(target=self._beat, name="lmeraser-heart", daemon=True)
        self.stale = threading.Event()
        self.error: LmeraserError | None = None
        """The error of the last heartbeat; None after one that was written."""

    def show(self, snapshot: Snapshot) -> None:
        """Set the snapshot that the next heartbeats write."""
        self._snapshot = snapshot

    def require(self) -> None:
        """Errors: once `stale` is set, `VerificationError` where the database is damaged, else
        `StaleEpochError`."""
        if self.stale.is_set():
            if isinstance(self.error, VerificationError):
                raise self.error
            raise StaleEpochError(
                f"This queue (epoch {self._lease.epoch}) gave no sign of life for too long: it "
                "stops."
            ) from self.error

    def __enter__(self) -> "Heart":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        try:
            self._live()
        finally:
            if not self._stop.is_set():
                self.stale.set()

    def _live(self) -> None:
        last = time.monotonic()
        while not self.stale.is_set():
            try:
                self._lease.heartbeat(self._snapshot)
                last, self.error = time.monotonic(), None
            except LmeraserError as error:
                self.error = error
                passing = isinstance(error, ExecutionError) and not isinstance(
                    error, StaleEpochError
                )
                if not passing or time.monotonic() - last >= self._timeout_s:
                    self.stale.set()
            if self._stop.wait(min(self._timeout_s / 4, SHOWN)):
                return


def process_mark() -> str | None:
    """A text that names this process among all processes of all machines: the boot, the namespace
    of process ids, the id, and the start in clock ticks since the boot. None where the system does
    not tell (only Linux does)."""
    place = _place()
    return f"{place} {os.getpid()} {_started(psutil.Process())}" if place else None


def process_gone(mark: str | None) -> bool:
    """Whether the process with this mark has certainly ended. False for a process of another
    machine, and for a mark that cannot be read: the lease's timeout decides then."""
    parts = (mark or "").rsplit(" ", 2)
    if len(parts) != 3 or parts[0] != _place() or not (parts[1] + parts[2]).isdecimal():
        return False
    pid, started = int(parts[1]), int(parts[2])
    try:
        process = psutil.Process(pid)
        return process.status() in ENDED or _started(process) != started
    except psutil.NoSuchProcess:
        return not _exists(pid)
    except psutil.Error:
        return False


def _exists(pid: int) -> bool:
    """Whether the kernel knows a process, which /proc may hide because it is another user's."""
    try:
        with suppress(PermissionError):
            os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _place() -> str | None:
    """What process ids are relative to: the boot and the namespace."""
    try:
        return f"{BOOT.read_text().strip()} {os.readlink(NAMESPACE)}"  # noqa: PTH115 - the link's text names no file
    except OSError:
        return None


def _started(process: psutil.Process) -> int:
    """When a process started, in clock ticks since the boot. The difference of psutil's two times
    does not change when the system's clock is set."""
    seconds = process.create_time() - psutil.boot_time()
    return round(seconds * os.sysconf("SC_CLK_TCK"))
