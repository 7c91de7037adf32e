"""Transactions on both dialects: whole or not there, one writer at a time, each read one view; and
a client that stops does not hold the others up."""

import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text

from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.storage.database import database, tables
from lmeraser_ray.storage.database import postgresql as server
from tests.support import desk_acts
from tests.support.desk import Desk, ended, pid_of, start
from tests.support.tombstones import STONE, add, held


def test_a_transaction_is_whole_or_not_there(desk: Desk) -> None:
    add(desk, "a")
    with pytest.raises(ZeroDivisionError), desk.open().write() as connection:
        connection.execute(insert(STONE).values(hash="b"))
        raise ZeroDivisionError
    with pytest.raises(ExecutionError, match="disk is full"), desk.open().write() as connection:
        connection.execute(insert(STONE).values(hash="c"))
        raise ExecutionError("the disk is full")
    assert held(desk) == {"a"}


def test_the_failpoints_are_around_the_commit(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, seen = desk.open(), list[tuple[str, set[str]]]()
    other = (
        sqlite3.connect(f"file:{desk.root}/requests.db?mode=ro", uri=True)
        if desk.url is None
        else None
    )

    def look(where: str) -> Callable[[], None]:
        def note() -> None:
            found = (
                {row[0] for row in other.execute("SELECT hash FROM tombstones")}
                if other
                else set[str]()
            )
            seen.append((where, found))

        return note

    monkeypatch.setattr(database, "committing", look("before"))
    monkeypatch.setattr(database, "committed", look("after"))
    with opened.write() as connection:
        connection.execute(insert(STONE).values(hash="a"))
    with opened.read() as connection:
        connection.execute(select(STONE))
    assert seen == (
        [("before", set()), ("after", {"a"})] if other else [("before", set()), ("after", set())]
    )


def test_a_read_is_one_view(desk: Desk) -> None:
    """What is committed meanwhile is not in it. On SQLite nobody commits meanwhile: the writer
    waits for the reader."""
    add(desk, "a")
    reading, writer = desk.open(), threading.Thread(target=add, args=(desk, "b"))
    with reading.read() as connection:
        assert connection.scalars(select(STONE.c.hash)).all() == ["a"]
        writer.start()
        writer.join(0.2 if desk.url is None else 30)
        assert writer.is_alive() == (desk.url is None)
        assert connection.scalars(select(STONE.c.hash)).all() == ["a"]
    writer.join(30)
    assert held(desk) == {"a", "b"}


@pytest.mark.parametrize(
    ("outer", "inner"), [("write", "write"), ("write", "read"), ("read", "write"), ("read", "read")]
)
def test_a_transaction_within_one_is_a_mistake(desk: Desk, outer: str, inner: str) -> None:
    opened = desk.open()
    with (
        getattr(opened, outer)(),
        pytest.raises(RuntimeError, match=f"to {inner} within one to {outer}"),
        getattr(opened, inner)(),
    ):
        pass
    add(desk, "a")


def test_writers_are_one_after_the_other(desk: Desk) -> None:
    """Read, add one, write: no sum is lost, between processes and between threads."""
    desk.open()
    children = [start(desk_acts.count_up, desk, 10) for _ in range(4)]
    threads = [threading.Thread(target=desk_acts.count_up, args=(desk, 10)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert ended(children) == [0] * 4
    with desk.open().read() as connection:
        assert connection.scalar(select(tables.lease.c.epoch)) == 80


def test_many_that_make_it_at_once_make_one(desk: Desk) -> None:
    assert ended([start(desk_acts.opens, desk) for _ in range(8)]) == [0] * 8
    assert desk.count("workspace") == desk.count("lease") == 1


def test_a_stopped_client_does_not_hold_the_others_up(tmp_path: Path, postgresql: str) -> None:
    desk, ready = Desk(tmp_path / "desk", postgresql), tmp_path / "ready"
    desk.open()
    child = start(desk_acts.hold_write, desk, ready)
    try:
        while not ready.exists():
            assert child.is_alive()
            child.join(0.01)
        os.kill(pid_of(child), signal.SIGSTOP)
        add(desk, "a")
        assert held(desk) == {"a"}
    finally:
        child.kill()


def test_the_client_that_was_stopped_is_told(
    tmp_path: Path, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "IDLE_SECONDS", 1)
    desk = Desk(tmp_path / "desk", postgresql)
    opened = desk.open()
    with (
        pytest.raises(ExecutionError, match=r"idle for too long|connection was lost"),
        opened.write() as connection,
    ):
        connection.execute(insert(STONE).values(hash="late"))
        threading.Event().wait(1.5)
        connection.execute(text("SELECT 1"))
    add(desk, "a")
    assert held(desk) == {"a"}
