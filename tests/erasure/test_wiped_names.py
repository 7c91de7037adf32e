"""Wiped names are in no byte of the database, nor in the server's statistics."""

from pathlib import Path

import pytest
from sqlalchemy import Connection

from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.transitions import ErasedRecord
from lmeraser_ray.storage.database import tables
from tests.support.desk import Desk
from tests.support.request_steps import act, planned


def test_wiped_names_are_in_no_byte(desk: Desk) -> None:
    """Of many requests of very different lengths, wiped in another order than they came in: the
    names, and the needles."""
    requests, ids = desk.requests(), []
    for i in range(60):
        names = [f"canary-{i}-{j}-{'é' * (i * 7 % 40)}" for j in range(1 + i % 4)]
        ids.append(requests.submit(names, [f"canary-subject-{i}"]).id)
        rows = [
            ErasedRecord(desk.names.hash("record", name), name, b"canary" * 9) for name in names
        ]
        act(desk, lambda c, i=i, rows=rows: transitions.plan(c, ids[i], rows, {}))  # type: ignore[misc]
    assert b"canary" in desk.bytes()
    for part in (ids[::3], ids[1::3], ids[2::3]):
        act(desk, lambda c, part=part: transitions.wipe_names(c, part))  # type: ignore[misc]
    desk.open().vacuum_names()
    assert b"canary" not in desk.bytes()


def analyze(connection: Connection) -> None:
    """What the server does by itself now and then: it keeps common values of each column."""
    for table in (tables.targets, tables.erased):
        connection.exec_driver_sql(f"ANALYZE {table.name}")


def kept_values(connection: Connection) -> set[tuple[str, str]]:
    found = connection.exec_driver_sql(
        "SELECT tablename, attname FROM pg_stats WHERE schemaname = current_schema() "
        "AND attname IN ('name', 'needles')"
    )
    return {(row[0], row[1]) for row in found}


@pytest.mark.parametrize("made_by", ["this version", "0.4.0"])
def test_the_servers_statistics_keep_no_names(
    tmp_path: Path, postgresql: str, made_by: str
) -> None:
    """A database of 0.4.0 may have them already; they go when names are wiped."""
    desk = Desk(tmp_path / "desk", postgresql)
    opened = desk.open()
    if made_by == "0.4.0":
        with opened.write() as connection:
            for table, column in (("targets", "name"), ("erased", "name"), ("erased", "needles")):
                connection.exec_driver_sql(
                    f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS -1"
                )
    request = planned(desk, [f"statistic-{i}" for i in range(60)])
    act(desk, analyze)
    with opened.read() as connection:
        assert len(kept_values(connection)) == (3 if made_by == "0.4.0" else 0)
    act(desk, lambda c: transitions.wipe_names(c, [request.id]))
    opened.vacuum_names()
    act(desk, analyze)
    with opened.read() as connection:
        assert kept_values(connection) == set()
    if made_by == "this version":
        assert b"statistic-" not in desk.bytes()
