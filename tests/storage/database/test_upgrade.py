"""A database of format 2, which a release before 0.7.0 made, is upgraded at its first opening; on
SQLite and PostgreSQL."""

from dataclasses import replace

import pytest
from sqlalchemy import update

from lmeraser_ray.erasure.backup.database_dump import dump, load, rows_in
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.database_location import FILE, DatabaseLocation
from tests.support.desk import Desk

PRESENT = b'"format": %d' % tables.FORMAT


def age(desk: Desk) -> None:
    """Make the database one of format 2: without the columns of what is noted at a submission."""
    with desk.open().write() as connection:
        for column in ("legal_basis", "identity"):
            connection.exec_driver_sql(f"ALTER TABLE requests DROP COLUMN {column}")
        connection.execute(update(tables.workspace).values(format=2))
    location = DatabaseLocation.read(desk.root, desk.names)
    assert location
    (desk.root / FILE).write_text(replace(location, format=2).text)


def told(desk: Desk) -> list[str]:
    with desk.open().read() as connection:
        assert ledger.check(connection) == []
        return [entry.kind for entry in ledger.entries(connection)]


def test_its_requests_go_on(desk: Desk) -> None:
    """The ledger was keyed already, and the submitter is hashed once."""
    before = desk.requests().submit(["a"], [], key="k", submitter="me")
    age(desk)
    assert desk.requests().get(before.id) == before
    assert desk.requests().submit(["a"], [], key="k").id == before.id
    assert desk.requests().submit(["b"], []).id != before.id
    assert told(desk) == ["RECEIVED", "RECEIVED"]


def test_its_pin_says_so(desk: Desk) -> None:
    """So that nobody passes the database for one of format 2 afterwards."""
    desk.requests().submit(["a"], [])
    age(desk)
    desk.open().close()
    assert (desk.root / FILE).read_text().split("\n")[1].startswith(f"format {tables.FORMAT} ")
    with desk.open().write() as connection:
        connection.execute(update(tables.workspace).values(format=2))
    with pytest.raises(
        VerificationError, match=f"format 2, and it had format {tables.FORMAT} before"
    ):
        desk.open()


def test_its_backup_is_loaded(lite: Desk) -> None:
    made = lite.requests().submit(["a"], [], submitter="me")
    with lite.open().read() as connection:
        lines = list(dump(connection))
    older = [
        line.replace(PRESENT, b'"format": 2').replace(
            b', "legal_basis": null, "identity": null', b""
        )
        for line in lines
    ]
    assert b"legal_basis" not in b"".join(older)
    with lite.open().write() as connection:
        assert load(connection, rows_in(older)) == 2
    assert lite.requests().get(made.id) == made


@pytest.mark.parametrize("version", ["0", str(tables.FORMAT + 1), "null"])
def test_a_backup_of_another_format_is_refused(lite: Desk, version: str) -> None:
    lite.requests().submit(["a"], [])
    with lite.open().read() as connection:
        lines = [
            line.replace(PRESENT, b'"format": %s' % version.encode()) for line in dump(connection)
        ]
    with pytest.raises(VerificationError), lite.open().write() as connection:
        load(connection, rows_in(lines))
