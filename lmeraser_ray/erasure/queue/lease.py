"""The lease: who the one queue of a workspace is, and the epoch that fences its writes.

Claiming raises the epoch. Every write of a queue goes through `Lease.write`, which locks the
lease's row and looks at the epoch before anything else: a queue that was stopped, cut off or given
up for dead finds another epoch there and writes nothing. Clocks, and what this machine says of the
holder's process, only decide how soon another may claim, never who may write.
"""

import json
import os
import threading
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
"""What a queue shows of itself: JSON values, no ids of records or subjects."""
SHOWN = 1.0
"""Seconds between two beats at most, so that who watches sees how the work goes on."""
row = tables.lease


@dataclass(frozen=True, slots=True)
class LeaseView:
    """The lease as anyone may see it."""

    epoch: int
    holder: str | None
    heartbeat_at: datetime | None
    snapshot: Snapshot | None
    process: str | None = None
    """The mark of the holder's process (`process_mark`), None where its system does not say."""

    def live(self, now: datetime, timeout_s: float) -> bool:
        """Whether the holder gave a sign of life within the last `timeout_s` seconds (or a clock
        that is ahead says so).

        Not where its process is known to have ended.
        """
        if self.holder is None or self.heartbeat_at is None or process_gone(self.process):
            return False
        return abs((now - self.heartbeat_at).total_seconds()) < timeout_s


@dataclass(frozen=True, slots=True)
class Lease:
    """One claim: valid until another has a higher epoch."""

    database: Database
    holder: str
    epoch: int

    @classmethod
    def claim(
        cls, database: Database, holder: str, *, timeout_s: float, force: bool = False
    ) -> "Lease":
        """Become the queue, by the next epoch. holder: who, for people and for `live`.

        Errors: `ExecutionError` while another holder's last sign of life is younger than
        `timeout_s` seconds, unless `force`, or unless its process was on this machine and is gone.
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
        """A transaction of this epoch. Errors: `StaleEpochError`, before anything is written, where
        another has taken over."""
        with self.database.write() as connection:
            self.require(connection)
            yield connection

    def require(self, connection: Connection) -> None:
        """Lock the lease for this transaction. Errors: `StaleEpochError` where it is another's."""
        epoch = connection.scalar(select(row.c.epoch).with_for_update())
        if epoch != self.epoch:
            raise StaleEpochError(
                f"Another queue has taken over (epoch {epoch}, this one has {self.epoch}): this "
                "one stops and has written nothing since."
            )

    def heartbeat(self, snapshot: Snapshot | None = None) -> None:
        """A sign of life, with what the queue shows of itself. Errors: `StaleEpochError` where
        another has taken over."""
        text = None if snapshot is None else json.dumps(snapshot)
        with self.write() as connection:
            connection.execute(update(row).values(heartbeat_at=to_text(utcnow()), snapshot=text))

    def release(self) -> None:
        """Give it back, so that the next one need not wait. Nothing happens where another has taken
        over."""
        with self.database.write() as connection:
            nobody = {"holder": None, "process": None, "heartbeat_at": None, "snapshot": None}
            connection.execute(update(row).where(row.c.epoch == self.epoch).values(nobody))

    @staticmethod
    def look(database: Database) -> LeaseView:
        """The lease as it stands."""
        with database.read() as connection:
            return look(connection)

    @staticmethod
    def live(database: Database, now: datetime, timeout_s: float) -> str | None:
        """Who works on the workspace now, None where nobody gave a sign of life within the last
        `timeout_s` seconds."""
        seen = Lease.look(database)
        return seen.holder if seen.live(now, timeout_s) else None


def look(connection: Connection) -> LeaseView:
    """The lease, within a transaction."""
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
    """Beats for a lease from a thread of its own, four times in each `timeout_s` or more often, for
    as long as the context lasts.

    `stale` is set when another queue has taken over, when no beat came through for `timeout_s`
    seconds, so that another may, when the database is damaged, and when the thread ends by a
    defect.
    """

    def __init__(self, lease: Lease, timeout_s: float) -> None:
        self._lease, self._timeout_s = lease, timeout_s
        self._stop = threading.Event()
        self._snapshot: Snapshot | None = None
        self._thread = threading.Thread(target=self._beat, name="lmeraser-heart", daemon=True)
        self.stale = threading.Event()
        self.error: LmeraserError | None = None
        """The last beat's error, None after one that came through."""

    def show(self, snapshot: Snapshot) -> None:
        """What the next beats tell."""
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
        last = utcnow()
        while not self.stale.is_set():
            try:
                self._lease.heartbeat(self._snapshot)
                last, self.error = utcnow(), None
            except LmeraserError as error:
                self.error = error
                passing = isinstance(error, ExecutionError) and not isinstance(
                    error, StaleEpochError
                )
                if not passing or (utcnow() - last).total_seconds() >= self._timeout_s:
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
        with suppress(PermissionError):  # another user's process is there, perhaps hidden in /proc
            os.kill(pid, 0)
        process = psutil.Process(pid)
        return process.status() in ENDED or _started(process) != started
    except ProcessLookupError:
        return True
    except psutil.Error:
        return False


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
