"""Whose turn it is: a lock of a file that is waited for in the order of arrival, and not for ever.

The kernel serves those who wait for `flock` first come, first served, but lets them wait without
end where the holder was stopped. So a thread of its own waits, and is left behind when the time is
over; it gives the lock back when it gets it at last.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.storage.files import disk_errors

LONGEST = 120.0
"""Seconds that one waits for a turn. Transactions take milliseconds; reading all for an audit or a
backup, seconds."""


@contextmanager
def locked(lock: Path, *, alone: bool, seconds: float = LONGEST) -> Iterator[int]:
    """Hold the lock of the file `lock`, alone or with others who do not need it alone. Yields the
    file's descriptor.

    Errors: `ExecutionError` where the turn does not come within so many seconds.
    """
    with disk_errors(lock):
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    mode = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    try:
        fcntl.flock(handle, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        Waiter(handle, mode).wait(lock, seconds)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def try_locked(lock: Path) -> Iterator[tuple[int, bool]]:
    """Hold the lock of the file `lock` alone, if nobody has it. Yields the file's descriptor, and
    whether it is held."""
    with disk_errors(lock):
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = True
        except BlockingIOError:
            ours = False
        yield handle, ours
    finally:
        os.close(handle)


class Waiter:
    """A thread that waits for a lock. The descriptor is the thread's to close once nobody waits for
    it any more."""

    def __init__(self, handle: int, mode: int) -> None:
        self._handle, self._mode = handle, mode
        self._guard = threading.Lock()
        self._got, self._left = threading.Event(), False
        self._error: OSError | None = None

    def wait(self, lock: Path, seconds: float) -> None:
        """Return with the lock. Errors: `ExecutionError` after so many seconds without."""
        threading.Thread(target=self._lock, name="lmeraser-turn", daemon=True).start()
        came = False
        try:
            came = self._got.wait(seconds)
        finally:
            if not came:
                self._leave()
        if not came:
            raise ExecutionError(
                f"Another process held {lock} for {seconds:g} s: it may be stopped, or read all "
                "of a large database. End it, or wait for it, and run the same command again."
            )
        with disk_errors(lock):
            if self._error:
                raise self._error

    def _leave(self) -> None:
        """Give the lock up, whether or not it has come meanwhile."""
        with self._guard:
            self._left = True
            if self._got.is_set():
                os.close(self._handle)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._handle, self._mode)
        except OSError as error:
            self._error = error
        with self._guard:
            if self._left:
                os.close(self._handle)
            else:
                self._got.set()
