"""Locks of files that serve waiting processes in the order of arrival, within a time limit.

The kernel grants `flock` first come, first served, but lets readers in beside readers though a
writer waits, so that readers who overlap would keep every writer out. So each passes a turnstile
first, an exclusive lock of another kind (OFD) of the same file: whoever waits for the lock holds
the turnstile, and who comes later waits behind.

A process waits without end where the holder is stopped. So a thread waits. After the time limit the
caller leaves the thread behind, which gives the lock back once it gets it.
"""

import fcntl
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.storage.files import disk_errors
from lmeraser_ray.storage.regular_file import open_regular

LONGEST = 120.0
"""Seconds that a process waits for a lock. Transactions take milliseconds; an audit or a backup,
which read the whole database, seconds."""


@contextmanager
def locked(lock: Path, *, alone: bool, seconds: float = LONGEST) -> Iterator[int]:
    """Hold the lock of the file `lock`: exclusive if `alone`, else shared. Yields the file's
    descriptor.

    Errors: `ExecutionError` where the lock is not granted within `seconds`.
    """
    with disk_errors(lock):
        handle = open_regular(lock, os.O_RDWR | os.O_CREAT, in_place=True)
    mode = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    try:
        take(handle, mode, wait=False)
    except BlockingIOError:
        Waiter(handle, mode).wait(lock, seconds)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def try_locked(lock: Path) -> Iterator[tuple[int, bool]]:
    """Take the exclusive lock of the file `lock` if no other process holds it. Yields the file's
    descriptor, and whether this process holds the lock."""
    with disk_errors(lock):
        handle = open_regular(lock, os.O_RDWR | os.O_CREAT, in_place=True)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = True
        except BlockingIOError:
            ours = False
        yield handle, ours
    finally:
        os.close(handle)


def take(handle: int, mode: int, *, wait: bool) -> None:
    """Pass the turnstile and take the lock. Errors: `BlockingIOError` where that needs a wait and
    `wait` is False."""
    turn = fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK
    fcntl.fcntl(handle, turn, turnstile(fcntl.F_WRLCK))
    try:
        fcntl.flock(handle, mode if wait else mode | fcntl.LOCK_NB)
    finally:
        fcntl.fcntl(handle, fcntl.F_OFD_SETLK, turnstile(fcntl.F_UNLCK))


def turnstile(kind: int) -> bytes:
    """A `struct flock` over the whole file."""
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0)


class Waiter:
    """A thread that waits for a lock. The thread closes the descriptor where the caller has left
    it behind."""

    def __init__(self, handle: int, mode: int) -> None:
        self._handle, self._mode = handle, mode
        self._guard = threading.Lock()
        self._got, self._left = threading.Event(), False
        self._error: OSError | None = None

    def wait(self, lock: Path, seconds: float) -> None:
        """Return once the lock is held. Errors: `ExecutionError` after `seconds`."""
        threading.Thread(target=self._lock, name="lmeraser-lock", daemon=True).start()
        granted = False
        try:
            granted = self._got.wait(seconds)
        finally:
            if not granted:
                self._leave()
        if not granted:
            raise ExecutionError(
                f"Another process held {lock} for {seconds:g} s: it may be stopped, or read all "
                "of a large database. End it, or wait for it, and run the same command again."
            )
        with disk_errors(lock):
            if self._error:
                raise self._error

    def _leave(self) -> None:
        """Give the lock up, whether or not the thread has got it meanwhile."""
        with self._guard:
            self._left = True
            if self._got.is_set():
                os.close(self._handle)

    def _lock(self) -> None:
        try:
            take(self._handle, self._mode, wait=True)
        except OSError as error:
            self._error = error
        with self._guard:
            if self._left:
                os.close(self._handle)
            else:
                self._got.set()
