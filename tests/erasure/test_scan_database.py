"""The absence scan of the request database: what open requests name is at home there, and anything
else is found, in rows, pages and the journal; on SQLite and PostgreSQL."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from lmeraser_ray.erasure.absence.database_search import (
    Reference,
    occurrences,
    search_journal,
    search_rows,
)
from lmeraser_ray.erasure.absence.patterns import PatternSet
from lmeraser_ray.erasure.absence.report import ScanReporter
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.transitions import ErasedRecord, plan, wipe_names
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.tables import erased, ledger, requests
from tests.support.scan_space import IDS, TRACES, Space, hits_of


class Kept:
    """A workspace's request database, with one request that erases a record and is published."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.database = Database.open(space.root, None)
        self.requests = RequestRepository(self.database, space.folder.names())
        self.traces = space.erase(IDS[7])
        self.request = self.requests.submit([IDS[7]], [])
        with self.database.write() as conn:
            hashed = space.folder.names().hash("record", IDS[7])
            plan(
                conn, self.request.id, [ErasedRecord(hashed, IDS[7], self.traces[0].to_bytes())], {}
            )
            conn.execute(update(requests).values(state="PUBLISHED"))

    def hits(self) -> set[tuple[str, str]]:
        return hits_of(self.space.scan(self.traces, database=self.database))

    def left(self) -> set[str]:
        report = ScanReporter()
        with self.database.read() as conn:
            search_rows(conn, PatternSet(self.traces, []), report)
        return {hit.trace for hit in report.found}


@pytest.fixture
def kept(space: Space) -> Iterator[Kept]:
    made = Kept(space)
    yield made
    made.database.close()


def test_what_an_open_request_names_is_at_home(kept: Kept) -> None:
    """Its own names and traces, and those of a later one, until they are wiped; then nothing may
    be left."""
    report = kept.space.scan(kept.traces, database=kept.database)
    assert report.hits == ()
    assert report.explained == 6  # the id twice, the digest and three windows
    assert kept.space.scan(kept.traces).hits == ()  # the scan opens the database itself
    assert kept.left() == set()
    later = kept.requests.submit([IDS[7]], [])
    assert kept.hits() == set()
    with kept.database.write() as conn:
        wipe_names(conn, [kept.request.id, later.id])
    report = kept.space.scan(kept.traces, database=kept.database)
    assert (report.hits, report.explained) == ((), 0)


DATABASE = "the request database"


def test_what_a_finished_request_still_names_is_found(kept: Kept) -> None:
    """Whatever the id: also one that no search of bytes could tell."""
    with kept.database.write() as conn:
        conn.execute(update(requests).values(state="CERTIFIED"))
    found = {
        f"{column} of a request that is worked off"
        for column in ("targets.name", "erased.name", "erased.needles")
    }
    assert kept.hits() == {(DATABASE, trace) for trace in found}
    assert kept.left() == found


@pytest.mark.parametrize("trace", ["id", "digest", "hexadecimal digest", "picture", "feature"])
def test_a_row_that_should_not_have_it_is_found(kept: Kept, trace: str) -> None:
    """In the reason of a failure, in a frozen statement: anywhere but where open requests have
    it."""
    value = TRACES[trace]
    with kept.database.write() as conn:
        where = (
            {"statement": b"{" + value + b"}"}
            if trace not in ("id", "hexadecimal digest")
            else {"reason": f"it was {value.decode()}."}
        )
        wipe_names(conn, [kept.request.id])
        conn.execute(update(requests).values(**where))
    assert kept.hits() == {(DATABASE, trace)}


@pytest.mark.parametrize("entry", ['{"reason": "it was %s."}', "%s, and no JSON"])
def test_an_entry_of_the_ledger_that_should_not_have_it_is_found(kept: Kept, entry: str) -> None:
    with kept.database.write() as conn:
        wipe_names(conn, [kept.request.id])
        conn.execute(update(ledger).where(ledger.c.seq == 1).values(entry=entry % IDS[7]))
    assert kept.hits() == {(DATABASE, "id")}


def test_what_a_deleted_row_left_in_a_page_is_found(kept: Kept, space: Space) -> None:
    """As it would be without `secure_delete`."""
    kept.database.close()
    with sqlite3.connect(space.root / "requests.db") as raw:
        raw.execute("PRAGMA secure_delete=OFF")
        raw.execute("CREATE TABLE other(name TEXT)")
        raw.execute("INSERT INTO other VALUES (?)", (IDS[7],))
        raw.commit()
        raw.execute("DELETE FROM other")
        raw.commit()
    raw.close()
    kept.database = Database.open(space.root, None)
    assert kept.hits() == set(), "the request names it still"
    with kept.database.write() as conn:
        wipe_names(conn, [kept.request.id])
    assert kept.left() == {"id"}
    assert kept.hits() == {(DATABASE, "id")}
    kept.database.rewrite()
    assert kept.left() == set()


def test_the_journal_may_have_what_the_database_has(kept: Kept, tmp_path: Path) -> None:
    patterns, journal = PatternSet(kept.traces, []), tmp_path / "requests.db-journal"
    for text, named, expected in (
        (IDS[7].encode(), b"", {"id"}),
        (IDS[7].encode(), IDS[7].encode(), set()),
        (TRACES["picture"], IDS[7].encode(), {"picture"}),
        (b"nothing", b"", set()),
    ):
        journal.write_bytes(b"x" * 777 + text)
        report = ScanReporter()
        with kept.database.read() as conn:
            reference = Reference(conn, patterns)
            search_journal(journal, occurrences(patterns, [named]), reference, report)
        assert {hit.trace for hit in report.found} == expected


def test_the_rows_of_postgresql_are_searched(space: Space, postgresql: str) -> None:
    database = Database.open(space.root, postgresql)
    traces = space.erase(IDS[7])
    names = RequestRepository(database, space.folder.names())
    made = names.submit([IDS[7], IDS[8]], [])
    with database.write() as conn:
        hashed = space.folder.names().hash("record", IDS[7])
        plan(conn, made.id, [ErasedRecord(hashed, IDS[7], traces[0].to_bytes())], {})
    assert space.scan(traces, database=database).hits == ()
    with database.write() as conn:
        wipe_names(conn, [made.id])
        conn.execute(
            update(requests).values(statement=b"12345" + TRACES["picture"], reason=f"{IDS[7]} went")
        )
    assert hits_of(space.scan(traces, database=database)) == {
        (DATABASE, "picture"),
        (DATABASE, "id"),
    }
    with database.write() as conn:
        conn.execute(update(requests).values(statement=None, reason=None, state="CERTIFIED"))
        plain = {"name": IDS[7], "needles": traces[0].to_bytes()}
        conn.execute(update(erased).values(**plain))
    assert len(space.scan(traces, database=database).hits) == 2
    database.close()
