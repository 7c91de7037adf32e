"""Whether a process is gone, and that the lease of one that was killed is free at once."""

import multiprocessing
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pytest

from lmeraser_ray.erasure.queue import lease as leases
from lmeraser_ray.erasure.queue.lease import Lease, process_gone, process_mark
from lmeraser_ray.errors import ExecutionError, StaleEpochError
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.times import utcnow

LONG = 3600.0
"""Seconds of a lease that nobody waits for."""
CONTEXT = multiprocessing.get_context("forkserver")


def claim(root: Path, told: Connection) -> None:
    """Be the queue, say so, and wait to be killed."""
    with closing(Database.open(root, None)) as database:
        lease = Lease.claim(database, "the first", timeout_s=LONG)
    told.send((lease.epoch, process_mark()))
    told.recv()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[tuple[Path, int, int, str]]:
    """A workspace, and the id, epoch and mark of a process that holds its lease."""
    WorkspaceFolder(tmp_path).create()
    ours, theirs = CONTEXT.Pipe()
    child = CONTEXT.Process(target=claim, args=(tmp_path, theirs))
    child.start()
    assert child.pid
    yield tmp_path, child.pid, *ours.recv()
    child.kill()
    child.join()


def kill(pid: int) -> None:
    """End a process, and wait until the kernel says that it has ended; who started it has not asked
    for it yet."""
    handle = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        select.select([handle], [], [], 60)
    finally:
        os.close(handle)


def test_a_mark_is_of_one_process() -> None:
    mine = process_mark()
    assert mine
    boot, namespace, pid, started = mine.split()
    assert int(pid) == os.getpid()
    assert not process_gone(mine)
    assert process_mark() == mine
    later = str(int(started) + 1)
    assert process_gone(f"{boot} {namespace} {pid} {later}"), "the id was given to another"


@pytest.mark.parametrize("other", [0, 1], ids=["boot", "namespace"])
def test_of_another_machine_nothing_is_known(other: int) -> None:
    parts = (process_mark() or "").split()
    parts[other], parts[2] = "another", str(2**22 + 1)  # no process can have this id
    assert not process_gone(" ".join(parts))
    assert not process_gone(None)
    parts[other] = (process_mark() or "").split()[other]
    assert process_gone(" ".join(parts))


def test_where_the_system_does_not_say_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mine = process_mark()
    monkeypatch.setattr(leases, "BOOT", tmp_path / "none")
    assert process_mark() is None
    assert not process_gone(mine)


def test_a_mark_is_what_version_0_4_0_wrote() -> None:
    """Its marks are in databases: the last number is the kernel's own."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    assert (process_mark() or "").split()[2:] == [str(os.getpid()), fields[19]]


def test_of_a_mark_that_cannot_be_read_nothing_is_known() -> None:
    boot, namespace, _, _ = (process_mark() or "").split()
    ended = f"{boot} {namespace} {2**22 + 1} 1"
    assert process_gone(ended)
    for mark in ("", "1", f"{boot} {namespace} 1", f"{boot} {namespace} x 1", f"{ended}.5"):
        assert not process_gone(mark)


def test_another_users_process_that_is_seen_can_be_told_from_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A signal to it is not permitted, and /proc shows when it started."""

    def refuse(pid: int, signal: int) -> None:
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(os, "kill", refuse)
    boot, namespace, pid, started = (process_mark() or "").split()
    assert not process_gone(process_mark())
    assert process_gone(f"{boot} {namespace} {pid} {int(started) + 1}")


def test_another_users_process_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be hidden from /proc, and a signal to it is not permitted."""
    boot, namespace, _, _ = (process_mark() or "").split()

    def refuse(pid: int, signal: int) -> None:
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(os, "kill", refuse)
    assert not process_gone(f"{boot} {namespace} {2**22 + 1} 1")


def test_who_is_reaped_while_we_look_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parent may ask for its exit status at any moment: /proc forgets it then."""
    child = subprocess.Popen(["sleep", "600"])
    boot, namespace, _, _ = (process_mark() or "").split()
    look = psutil.Process
    mark = f"{boot} {namespace} {child.pid} {leases._started(look(child.pid))}"
    assert not process_gone(mark)
    kill(child.pid)

    def late(pid: int) -> psutil.Process:
        os.kill(pid, 0)  # it has ended, and the kernel still knows it
        child.wait()
        return look(pid)

    monkeypatch.setattr(psutil, "Process", late)
    assert process_gone(mark)


def test_the_lease_of_who_was_killed_is_free_at_once(holder: tuple[Path, int, int, str]) -> None:
    """Not of one that is only stopped: it may go on."""
    root, pid, epoch, mark = holder
    with closing(Database.open(root, None)) as database:
        assert Lease.live(database, utcnow(), LONG) == "the first"
        os.kill(pid, signal.SIGSTOP)
        assert not process_gone(mark)
        with pytest.raises(
            ExecutionError, match=r"Another queue \(the first\) works on this workspace"
        ):
            Lease.claim(database, "the second", timeout_s=LONG)
        kill(pid)
        assert process_gone(mark)
        assert Lease.live(database, utcnow(), LONG) is None
        assert Lease.look(database).holder == "the first"
        lease = Lease.claim(database, "the second", timeout_s=LONG)
        assert lease.epoch == epoch + 1
        assert Lease.live(database, utcnow(), LONG) == "the second"
        with pytest.raises(StaleEpochError), Lease(database, "the first", epoch).write():
            pass


def test_of_a_holder_without_a_mark_time_decides(
    holder: tuple[Path, int, int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a system that does not say, and as before there were marks."""
    root, pid, _, _ = holder
    kill(pid)
    monkeypatch.setattr(leases, "process_mark", lambda: None)
    with closing(Database.open(root, None)) as database:
        Lease.claim(database, "the second", timeout_s=LONG)
        assert Lease.live(database, utcnow(), LONG) == "the second"
        assert Lease.live(database, utcnow() + timedelta(seconds=LONG + 60), LONG) is None
