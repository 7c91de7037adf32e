"""The lease: one queue, by its epoch. A queue whose epoch is over writes nothing, however late it
wakes up."""

import os
import signal
import threading
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import time_machine
from sqlalchemy import insert, select

from lmeraser_ray.erasure.queue import lease as leases
from lmeraser_ray.erasure.queue.lease import Heart, Lease
from lmeraser_ray.errors import ExecutionError, StaleEpochError, VerificationError
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.file_lock import locked
from lmeraser_ray.storage.times import utcnow
from tests.support import desk_acts
from tests.support.children import state_of, wait_until
from tests.support.desk import Desk, ended, pid_of, start


def claim(desk: Desk, holder: str, timeout_s: float = 60.0, *, force: bool = False) -> Lease:
    return Lease.claim(desk.open(), holder, timeout_s=timeout_s, force=force)


def test_claims_count_epochs(desk: Desk) -> None:
    first = claim(desk, "one")
    assert (first.epoch, first.holder) == (1, "one")
    first.release()
    assert claim(desk, "two").epoch == 2
    with desk.open().read() as connection:
        kinds = [(entry.kind, entry.facts) for entry in ledger.entries(connection)]
    assert kinds == [("LEASE", {"epoch": 1}), ("LEASE", {"epoch": 2})]


def test_a_live_holder_is_left_alone(desk: Desk) -> None:
    claim(desk, "one")
    with pytest.raises(ExecutionError, match=r"Another queue \(one\) works on this workspace"):
        claim(desk, "two")
    assert Lease.live(desk.open(), utcnow(), 60) == "one"
    assert claim(desk, "two", force=True).epoch == 2


def test_one_that_gives_no_sign_of_life_is_replaced(desk: Desk) -> None:
    with time_machine.travel(utcnow(), tick=False) as clock:
        claim(desk, "one", 10)
        clock.shift(9.9)
        with pytest.raises(ExecutionError):
            claim(desk, "two", 10)
        clock.shift(0.1)
        assert Lease.live(desk.open(), utcnow(), 10) is None
        assert claim(desk, "two", 10).epoch == 2


@pytest.mark.parametrize("days", [40, -40])
def test_a_clock_that_jumps_does_not_keep_everybody_out(desk: Desk, days: int) -> None:
    """A sign of life of the far past or future is none. The fence does not ask the clock."""
    with time_machine.travel(utcnow(), tick=False) as clock:
        old = claim(desk, "one", 10)
        clock.shift(timedelta(days))
        new = claim(desk, "two", 10)
        with pytest.raises(StaleEpochError), old.write():
            pass
        with new.write():
            pass


def test_a_stale_writer_writes_nothing(desk: Desk) -> None:
    """Row 8."""
    old = claim(desk, "one")
    new = claim(desk, "two", force=True)
    body = []
    with pytest.raises(StaleEpochError, match="epoch 2, this one has 1"), old.write() as connection:
        body.append(connection.execute(insert(tables.tombstones).values(hash="late")))
    with pytest.raises(StaleEpochError):
        old.heartbeat({"a": 1})
    old.release()
    assert body == []
    assert desk.count("tombstones") == 0
    seen = Lease.look(desk.open())
    assert (seen.epoch, seen.holder, seen.snapshot) == (2, "two", None)
    with new.write() as connection:
        connection.execute(insert(tables.tombstones).values(hash="right"))
    assert desk.count("tombstones") == 1


def test_a_heartbeat_shows_what_the_queue_does(desk: Desk) -> None:
    lease = claim(desk, "one")
    with time_machine.travel(utcnow() + timedelta(seconds=5), tick=False):
        lease.heartbeat({"training": ["shard 3"], "gpus": 1.5})
        seen = Lease.look(desk.open())
        assert seen.heartbeat_at == utcnow()
    assert seen.snapshot == {"training": ["shard 3"], "gpus": 1.5}
    lease.release()
    assert Lease.look(desk.open()) == type(seen)(1, None, None, None)
    assert Lease.live(desk.open(), utcnow(), 1e9) is None


def test_a_heart_beats_and_stops(lite: Desk) -> None:
    lease = claim(lite, "one", 0.2)
    before = Lease.look(lite.open()).heartbeat_at
    with Heart(lease, 0.2) as heart:
        heart.show({"x": 1})
        while Lease.look(lite.open()).snapshot != {"x": 1}:
            threading.Event().wait(0.01)
        heart.require()
    after = Lease.look(lite.open()).heartbeat_at
    assert before and after and after > before
    assert not any(thread.name == "lmeraser-heart" for thread in threading.enumerate())


def test_a_heart_says_when_another_has_taken_over(lite: Desk) -> None:
    with Heart(claim(lite, "one"), 0.1) as heart:
        claim(lite, "two", force=True)
        assert heart.stale.wait(60)
        with pytest.raises(StaleEpochError, match="epoch 1"):
            heart.require()
    assert Lease.look(lite.open()).holder == "two"


def test_a_heart_that_cannot_beat_gives_up_when_another_may_take_over(
    lite: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is away: one failed beat is none, but not for longer than the others wait. Each
    beat takes 0.1 s of a clock that stands otherwise."""
    lease, beats, clock = claim(lite, "one"), list[float](), iter(range(1000))

    def fail(*_: object) -> None:
        beats.append(next(clock) / 10)
        raise ExecutionError("the disk is full")

    monkeypatch.setattr(Lease, "heartbeat", fail)
    now = SimpleNamespace(monotonic=lambda: beats[-1] if beats else 0.0)
    monkeypatch.setattr(leases, "time", now)
    with Heart(lease, 0.3) as heart:
        assert heart.stale.wait(60)
        assert isinstance(heart.error, ExecutionError)
    assert beats == [0.0, 0.1, 0.2, 0.3]


@pytest.mark.parametrize("content", [b"not a database" * 1000, b""])
def test_a_heart_says_when_the_database_is_damaged(lite: Desk, content: bytes) -> None:
    with Heart(claim(lite, "one"), 0.1) as heart:
        with locked(lite.root / "requests.lock", alone=True):  # between two beats
            (lite.root / "requests.db").write_bytes(content)
        assert heart.stale.wait(60)
        assert isinstance(heart.error, VerificationError)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_heart_that_stops_by_a_defect_is_noticed(
    lite: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lease, "heartbeat", lambda *_: 1 / 0)
    with Heart(claim(lite, "one"), 3600) as heart:
        assert heart.stale.wait(60)
        with pytest.raises(StaleEpochError):
            heart.require()


def test_a_stopped_process_that_wakes_up(desk: Desk, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    child = start(desk_acts.write_late, desk, ready)
    wait_until(lambda: ready.exists() and state_of(pid_of(child)) == "T")
    with claim(desk, "next", 0.0).write() as connection:
        connection.execute(insert(tables.tombstones).values(hash="next"))
    os.kill(pid_of(child), signal.SIGCONT)
    assert ended([child]) == [1]
    with desk.open().read() as connection:
        assert list(connection.scalars(select(tables.tombstones.c.hash))) == ["next"]
