"""The database's errors: none tells a password or a name, and each of a full disk, a locked file
and a damaged one is one sentence."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import insert
from sqlalchemy.engine import make_url

from lmeraser_ray.errors import ConfigError, ExecutionError, LmeraserError, VerificationError
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database import sqlite, tables
from tests.support.desk import Desk
from tests.support.tombstones import STONE, add, held
from tests.support.world import World

SECRET = "s3cr3t-password"


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
