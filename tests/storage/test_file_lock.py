"""File locks are granted in the order of arrival, and waited for within a time limit."""

import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.storage.file_lock import locked
from tests.support import desk_acts
from tests.support.children import stop_between_transactions, wait_until, waiting
from tests.support.desk import pid_of, start


def descriptors(of: Path) -> int:
    """How many this process has of a file."""
    found = 0
    for handle in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # another thread's, that was closed meanwhile
            found += handle.readlink() == of
    return found


def until(count: int, lock: Path) -> None:
    while waiting(lock) != count:
        time.sleep(0.001)


def test_readers_share_and_writers_do_not(tmp_path: Path) -> None:
    lock, order = tmp_path / "lock", list[str]()

    def write() -> None:
        with locked(lock, alone=True):
            order.append("write")

    with locked(lock, alone=False), locked(lock, alone=False):
        writer = threading.Thread(target=write)
        writer.start()
        until(1, lock)
        order.append("read")
    writer.join(30)
    assert order == ["read", "write"]
    assert lock.stat().st_mode & 0o777 == 0o600


def test_a_reader_that_comes_after_a_waiting_writer_waits_too(tmp_path: Path) -> None:
    """Else readers that overlap would keep every writer out."""
    lock, order = tmp_path / "lock", list[str]()

    def take(name: str, *, alone: bool) -> None:
        with locked(lock, alone=alone):
            order.append(name)

    with locked(lock, alone=False):
        threads = []
        for count, (name, alone) in enumerate([("write", True), ("read", False)], 1):
            threads.append(threading.Thread(target=take, args=(name,), kwargs={"alone": alone}))
            threads[-1].start()
            wait_until(lambda count=count: waiting(lock) == count)  # type: ignore[misc]
        assert order == []
    for thread in threads:
        thread.join(30)
    assert order == ["write", "read"]


def test_locks_are_granted_in_the_order_of_arrival(tmp_path: Path) -> None:
    lock, order, threads = tmp_path / "lock", list[int](), []

    def take(number: int) -> None:
        with locked(lock, alone=True):
            order.append(number)

    with locked(lock, alone=True):
        for number in range(12):
            threads.append(threading.Thread(target=take, args=(number,)))
            threads[-1].start()
            until(number + 1, lock)
    for thread in threads:
        thread.join(30)
    assert order == list(range(12))


def test_a_lock_that_is_not_granted_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with locked(lock, alone=True):
        assert descriptors(lock) == 1
        with (
            pytest.raises(ExecutionError, match=r"held .*lock for 0\.05 s: it may be stopped"),
            locked(lock, alone=True, seconds=0.05),
        ):
            pass
        until(1, lock)  # the thread that was left behind
    while any(thread.name == "lmeraser-lock" for thread in threading.enumerate()):
        time.sleep(0.001)
    assert descriptors(lock) == 0
    with locked(lock, alone=True, seconds=0.0):
        pass


def test_a_stopped_holder_is_an_error_and_a_dead_one_is_none(tmp_path: Path) -> None:
    lock, ready = tmp_path / "lock", tmp_path / "ready"
    child = start(desk_acts.hold, lock, ready)
    while not ready.exists():
        time.sleep(0.001)
    with (
        pytest.raises(ExecutionError, match="it may be stopped"),
        locked(lock, alone=False, seconds=0.2),
    ):
        pass
    child.kill()
    with locked(lock, alone=True, seconds=60):
        pass


def test_a_process_before_the_lock_is_not_left_stopped_there(tmp_path: Path) -> None:
    """`stop_between_transactions` wakes a process that is in the turnstile, until it is not."""
    lock, ready = tmp_path / "requests.lock", tmp_path / "ready"
    lock.touch()
    child = start(desk_acts.hold_turnstile, tmp_path, ready, 3)
    wait_until(lambda: ready.exists() and ready.read_text())
    stop_between_transactions(pid_of(child), tmp_path)
    with locked(lock, alone=True, seconds=5):
        pass
    child.kill()
