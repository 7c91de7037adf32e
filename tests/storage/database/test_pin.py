"""A workspace has one database: another choice, a lost one, another workspace's and one of another
version are errors, and never an empty database."""

import shutil
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import update
from sqlalchemy.engine import make_url

from lmeraser_ray.errors import ConfigError, DataError, VerificationError
from lmeraser_ray.storage.database import database, tables
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.database_location import DatabaseLocation
from tests.support.desk import Desk
from tests.support.tombstones import add, held


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
        connection.execute(update(tables.workspace).values(format=tables.FORMAT + 1))
    with pytest.raises(
        VerificationError,
        match=rf"format {tables.FORMAT + 1}; expected [0-9a-f]{{12}}, format {tables.FORMAT}",
    ):
        desk.open()


def test_who_only_looks_makes_nothing(lite: Desk) -> None:
    with pytest.raises(DataError, match="has no erasure requests yet"):
        Database.open(lite.root, None, create=False)
    assert [path.name for path in lite.root.iterdir()] == ["objects"]
    lite.open()
    Database.open(lite.root, None, create=False).close()


def test_each_flip_in_the_pin_is_seen(desk: Desk) -> None:
    """By whoever opens the database, or by `verify` where no command depends on the byte."""
    desk.open().close()
    pin = desk.root / "database"
    whole = pin.read_bytes()
    assert not DatabaseLocation.damaged(desk.root)
    for at in range(len(whole)):
        pin.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        assert DatabaseLocation.damaged(desk.root), whole[at:]
    pin.write_bytes(whole[: len(whole) // 2])
    assert DatabaseLocation.damaged(desk.root)


def test_a_pin_of_an_older_release_has_no_digest(desk: Desk) -> None:
    add(desk, "a")
    pin = desk.root / "database"
    pin.write_bytes(pin.read_bytes().split(b"\n")[0] + b"\n")
    assert not DatabaseLocation.damaged(desk.root)
    assert held(desk) == {"a"}
