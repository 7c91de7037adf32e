"""The request database, on both dialects: whole transactions, one writer at a time, one database a
workspace, errors without secrets."""

import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.engine import make_url

from lmeraser_ray.errors import (
    ConfigError,
    DataError,
    ExecutionError,
    LmeraserError,
    VerificationError,
)
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database import database, sqlite, tables
from lmeraser_ray.storage.database import postgresql as server
from lmeraser_ray.storage.database.database import Database
from tests.support import desk_acts
from tests.support.desk import Desk, ended, pid_of, start
from tests.support.world import World

STONE = tables.tombstones
SECRET = "s3cr3t-password"


def add(desk: Desk, *hashes: str) -> None:
    with desk.open().write() as connection:
        connection.execute(insert(STONE), [{"hash": found} for found in hashes])


def held(desk: Desk) -> set[str]:
    with desk.open().read() as connection:
        return set(connection.scalars(select(STONE.c.hash)))


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


def test_files_are_their_owners_only_and_settings_hold(lite: Desk) -> None:
    before = os.umask(0)
    try:
        with lite.open().write() as connection:
            connection.execute(insert(STONE).values(hash="a"))
            assert (lite.root / "requests.db-journal").stat().st_mode & 0o777 == 0o600
            found = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name, _, _ in sqlite.SETTINGS
            }
    finally:
        os.umask(before)
    assert found == {
        "journal_mode": "delete",
        "synchronous": 3,
        "secure_delete": 1,
        "foreign_keys": 1,
    }
    assert {
        path.name: path.stat().st_mode & 0o777 for path in lite.root.iterdir() if path.is_file()
    } == dict.fromkeys(("database", "requests.db", "requests.lock", "secret"), 0o600)


def test_a_sqlite_that_does_not_overwrite_is_refused(
    lite: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "SETTINGS", (*sqlite.SETTINGS[:2], ("secure_delete", "OFF", 1)))
    with pytest.raises(ExecutionError, match="does not take secure_delete=OFF"):
        lite.open()


# which database


def test_another_choice_is_an_error_and_never_an_empty_database(
    lite: Desk, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(lite, "a")
    for other in (Desk(lite.root, postgresql), lite):
        if other is lite:
            monkeypatch.setenv(database.VARIABLE, postgresql)
        with pytest.raises(
            ConfigError, match=r"are in the workspace \(SQLite\).*forget who was erased"
        ):
            other.open()
    monkeypatch.delenv(database.VARIABLE)
    assert held(lite) == {"a"}


def test_a_workspace_on_postgresql_stays_there(
    tmp_path: Path, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path / "desk", postgresql)
    add(desk, "a")
    with pytest.raises(
        ConfigError, match=r"are on PostgreSQL .*give queue.database or LMERASER_DATABASE"
    ):
        Desk(desk.root).open()
    assert not (desk.root / "requests.db").exists()
    monkeypatch.setenv(database.VARIABLE, postgresql)
    assert held(Desk(desk.root)) == {"a"}
    with psycopg.connect(postgresql, autocommit=True) as shell:
        shell.execute("CREATE DATABASE other")
    other = make_url(postgresql).set(database="other").render_as_string(hide_password=False)
    with pytest.raises(ConfigError, match="has no schema lmeraser_"):
        Desk(desk.root, other).open()


def test_workspaces_share_a_server_and_nothing_else(tmp_path: Path, postgresql: str) -> None:
    first, second = Desk(tmp_path / "first", postgresql), Desk(tmp_path / "second", postgresql)
    add(first, "a")
    add(second, "b")
    assert (held(first), held(second)) == ({"a"}, {"b"})


def test_a_lost_database_is_not_made_anew(lite: Desk) -> None:
    add(lite, "a")
    (lite.root / "requests.db").unlink()
    with pytest.raises(
        VerificationError, match=r"requests\.db is missing, and with it who was erased"
    ):
        lite.open()


def test_a_database_whose_maker_died_before_its_pin_is_taken(desk: Desk) -> None:
    add(desk, "a")
    (desk.root / "database").unlink()
    assert held(desk) == {"a"}
    assert (desk.root / "database").exists()


@pytest.mark.parametrize("text", ["sqlite", "oracle 0123456789ab x", "sqlite 0123 x"])
def test_a_damaged_pin_is_refused(lite: Desk, text: str) -> None:
    lite.open()
    (lite.root / "database").write_text(text)
    with pytest.raises(VerificationError, match="database is damaged"):
        lite.open()


def test_another_workspaces_database_is_refused(lite: Desk, tmp_path: Path) -> None:
    other = Desk(tmp_path / "other")
    for desk in (lite, other):
        desk.open().close()
    shutil.copy(other.root / "requests.db", lite.root / "requests.db")
    with pytest.raises(VerificationError, match="is not this workspace's"):
        lite.open()
    shutil.copy(other.root / "database", lite.root / "database")
    with pytest.raises(VerificationError, match="secret` is not the one"):
        lite.open()


def test_tables_of_another_version_are_refused(desk: Desk) -> None:
    with desk.open().write() as connection:
        connection.execute(update(tables.workspace).values(format=2))
    with pytest.raises(VerificationError, match=r"format 2; expected [0-9a-f]{12}, format 1"):
        desk.open()


def test_who_only_looks_makes_nothing(lite: Desk) -> None:
    with pytest.raises(DataError, match="has no erasure requests yet"):
        Database.open(lite.root, None, create=False)
    assert [path.name for path in lite.root.iterdir()] == ["objects"]
    lite.open()
    Database.open(lite.root, None, create=False).close()


# errors


@pytest.mark.parametrize(
    ("url", "error"),
    [
        (
            f"postgresql://me:{SECRET}@127.0.0.1:1/x?connect_timeout=1",
            "127.0.0.1:1/x cannot be reached",
        ),
        (f"mysql://me:{SECRET}@127.0.0.1/x", "is no URL of the form"),
        (f"postgresql://me:{SECRET}@[::1/x", "is no URL of the form"),
        (f"{SECRET}", "is no URL of the form"),
    ],
)
def test_no_error_tells_the_password(lite: Desk, url: str, error: str) -> None:
    with pytest.raises(LmeraserError, match=error) as found:
        Desk(lite.root, url).open()
    assert SECRET not in str(found.value)
    assert not (lite.root / "database").exists()


@pytest.mark.parametrize(
    "url", [f"postgresql://me:{SECRET}@host/db", f"postgresql://me@host/db?password={SECRET}"]
)
def test_a_password_is_not_kept_in_the_workspace(tmp_path: Path, url: str) -> None:
    config = World(tmp_path / "world").config(queue={"database": url})
    with pytest.raises(ConfigError, match="holds a password") as caught:
        train(Session(tmp_path / "workspace"), config)
    assert SECRET not in str(caught.value)
    assert not (tmp_path / "workspace").exists()


def test_the_pin_holds_no_password(tmp_path: Path, postgresql: str) -> None:
    url = make_url(postgresql).set(password=SECRET).render_as_string(hide_password=False)
    desk = Desk(tmp_path / "desk", url)
    desk.open()
    assert SECRET not in (desk.root / "database").read_text()
    assert desk.open().where.endswith("/postgres")


def test_a_statement_that_fails_tells_no_name(desk: Desk) -> None:
    """A mistake of ours keeps its traceback, without the values."""
    with pytest.raises(Exception) as found, desk.open().write() as connection:
        connection.execute(
            insert(tables.targets).values(
                request_id="none", what="record", hash="h", name="person-7"
            )
        )
    assert "person-7" not in str(found.value) + repr(found.value)


def test_a_full_disk(lite: Desk) -> None:
    add(lite, "a")
    with (
        pytest.raises(ExecutionError, match="The disk is full: the request database"),
        lite.open().write() as connection,
    ):
        connection.exec_driver_sql("PRAGMA max_page_count=1")
        connection.execute(insert(STONE), [{"hash": f"{i:064}"} for i in range(1000)])
    assert held(lite) == {"a"}


def test_another_program_that_holds_the_file(lite: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.1)
    opened = lite.open()
    shell = sqlite3.connect(lite.root / "requests.db", isolation_level=None)
    shell.execute("BEGIN EXCLUSIVE")
    with pytest.raises(ExecutionError, match="is locked by another program"), opened.write():
        pass
    shell.execute("ROLLBACK")
    add(lite, "a")


def test_what_is_no_database_is_refused(lite: Desk) -> None:
    add(lite, "a")
    (lite.root / "requests.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(VerificationError, match=r"is damaged: nothing is served.*lmeraser restore"):
        lite.open()


def test_a_damaged_page_is_found(lite: Desk) -> None:
    add(lite, *(f"{i:064}" for i in range(2000)))
    assert lite.open().check() == []
    data = bytearray((lite.root / "requests.db").read_bytes())
    at = data.index(f"{1234:064}".encode())
    data[at + 60 : at + 64] = b"9999"
    (lite.root / "requests.db").write_bytes(data)
    assert lite.open().check() != []


# PostgreSQL's time limits


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


# network file systems

MOUNTS = """/dev/vda / ext4 rw,relatime 0 0
none /mnt/share tmpfs rw 0 0
server:/x /mnt/share nfs4 rw 0 0
/dev/sdb /mnt/share/local xfs rw 0 0
me@host: /mnt/with\\040space fuse.sshfs rw 0 0
/dev/sdc /mnt/ntfs fuseblk rw 0 0
//host/x /mnt/cifs cifs rw 0 0
"""


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine's list of mounts, as the kernel shows it."""
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "mounts").write_text(MOUNTS)
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    return tmp_path / "self" / "mounts"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me", "ext4"),
        ("/mnt/share", "nfs4"),
        ("/mnt/share/deep/er", "nfs4"),
        ("/mnt/share/local/x", "xfs"),
        ("/mnt/shared", "ext4"),
        ("/mnt/with space/x", "fuse.sshfs"),
        ("/mnt/ntfs", "fuseblk"),
        ("/mnt/cifs/x", "cifs"),
    ],
)
def test_network_file_systems_are_refused(mounts: Path, path: str, kind: str) -> None:
    assert sqlite.file_system(Path(path)) == kind
    if kind in ("ext4", "xfs", "fuseblk"):
        sqlite.require_local(Path(path))
    else:
        with pytest.raises(ConfigError, match=f"network file system \\({kind}\\)"):
            sqlite.require_local(Path(path))


def test_where_the_system_does_not_tell_a_folder_is_taken(mounts: Path) -> None:
    mounts.unlink()
    assert sqlite.file_system(Path("/mnt/share")) == ""
    sqlite.require_local(Path("/mnt/share"))


def test_this_folder_is_on_a_local_one(tmp_path: Path) -> None:
    assert sqlite.file_system(tmp_path) not in ("", *sqlite.NETWORKED)
