"""Row 13 of the fault matrix: a writer dies in its COMMIT, and its journal is cut or changed. What
was committed comes back, or nothing.

The journal is real: a child is killed when SQLite has written its pages and not yet removed the
journal. SQLite alone would go on with whatever part of the journal it can read.
"""

import os
import random
import shutil
import signal
import sqlite3
import struct
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import insert

from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.database import ledger, sqlite, tables
from lmeraser_ray.storage.database.sqlite import MAGIC, torn_journal
from tests.support import desk_acts
from tests.support.desk import Desk, ended, start


@pytest.fixture(scope="module")
def wreck(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A database with a whole hot journal."""
    desk = Desk(tmp_path_factory.mktemp("wreck") / "desk")
    requests = desk.requests()
    with desk.open().write() as connection:
        connection.execute(insert(tables.tombstones), [{"hash": f"{i:064}"} for i in range(3000)])
    for i in range(20):
        requests.submit([f"{i}"], [], key=f"{i}", submitter="me")
    assert ended([start(desk_acts.die_in_commit, desk)]) == [-signal.SIGKILL]
    return desk


@pytest.fixture
def copy(wreck: Desk, tmp_path: Path) -> Desk:
    shutil.copytree(wreck.root, tmp_path / "copy")
    return Desk(tmp_path / "copy")


def journal(desk: Desk) -> Path:
    return desk.root / "requests.db-journal"


def sound(desk: Desk) -> bool:
    """Exactly what was committed is there."""
    with desk.open().read() as connection:
        submitters = {
            row[0] for row in connection.exec_driver_sql("SELECT submitter FROM requests")
        }
        stones = [
            row[0]
            for row in connection.exec_driver_sql("SELECT hash FROM tombstones ORDER BY hash")
        ]
        return (submitters, stones, ledger.check(connection)) == (
            {desk.names.hash("submitter", "me")},
            [f"{i:064}" for i in range(3000)],
            [],
        )


def test_the_file_was_changed_before_the_commit(wreck: Desk) -> None:
    """Otherwise these tests would prove nothing."""
    assert journal(wreck).stat().st_size > 100_000
    assert b"late-" in (wreck.root / "requests.db").read_bytes()
    assert torn_journal(journal(wreck)) is None


def test_a_whole_journal_is_rolled_back(copy: Desk) -> None:
    assert sound(copy)
    assert not journal(copy).exists()
    assert (copy.root / "requests.lock").stat().st_size == 0
    assert copy.open().check() == []
    copy.requests().submit(["x"], [])


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_cut_journal_is_refused_by_everyone(copy: Desk, share: float) -> None:
    size = journal(copy).stat().st_size
    os.truncate(journal(copy), int(share * size))
    for _ in range(3):
        with pytest.raises(VerificationError, match=r"requests\.db is damaged .*lmeraser restore"):
            copy.open()


@pytest.mark.parametrize("seed", range(12))
def test_a_journal_that_is_cut_anywhere_gives_what_was_committed_or_a_refusal(
    copy: Desk, seed: int
) -> None:
    size = journal(copy).stat().st_size
    at = random.Random(seed).randrange(size)
    os.truncate(journal(copy), at)
    try:
        copy.open()
    except VerificationError:
        return
    assert sound(copy), at


def pages(data: bytes) -> list[int]:
    """Where the records of pages begin that a header counts."""
    found, at = [], 0
    while data[at : at + 8] == MAGIC:
        (count,) = struct.unpack_from(">I", data, at + 8)
        found += [at + 512 + number * (4096 + 8) for number in range(count)]
        at = -(-(at + 512 + count * (4096 + 8)) // 512) * 512
    return found


@pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 1.0])
def test_a_changed_journal_is_refused(copy: Desk, part: float) -> None:
    """A bit of a page's bytes that its checksum covers, or of the checksum."""
    data = journal(copy).read_bytes()
    begins = pages(data)
    assert len(begins) > 30
    page = begins[int(part * (len(begins) - 1))]
    for place in (page + 4 + 4096 - 200, page + 4 + 4096 - 4000, page + 4 + 4096 + 2):
        changed = bytearray(data)
        changed[place] ^= 1
        journal(copy).write_bytes(changed)
        with pytest.raises(VerificationError, match=r"is damaged .*cut or changed"):
            copy.open()


def test_sqlite_alone_goes_on_with_half_of_it(copy: Desk) -> None:
    """Why the journal is looked at before SQLite opens the file: without a word it takes half of
    the transaction back, and removes what could have told."""
    os.truncate(journal(copy), journal(copy).stat().st_size // 2)
    with closing(sqlite3.connect(copy.root / "requests.db")) as plain:
        assert plain.execute("SELECT name FROM sqlite_schema").fetchall()
    assert not journal(copy).exists()
    with suppress(VerificationError, ValueError):
        assert not sound(copy)


def test_a_journal_that_has_lost_its_header_is_found_by_what_it_left(copy: Desk) -> None:
    """Then nothing says what was to be rolled back: pages of two moments are in the file."""
    os.truncate(journal(copy), 0)
    assert torn_journal(journal(copy)) is None
    with pytest.raises(VerificationError, match="is damaged"):
        copy.open()
    assert (copy.root / "requests.lock").stat().st_size > 0, "noted, since the journal may be gone"
    journal(copy).unlink(missing_ok=True)
    with pytest.raises(VerificationError, match="is damaged"):
        copy.open()


@pytest.mark.parametrize("rest", [b"", b"\0", b"\0" * 700])
def test_a_journal_that_was_only_begun_is_nothing(lite: Desk, rest: bytes) -> None:
    """A writer that died before its first page, or lost its power before the first sync, has
    changed nothing."""
    request = lite.requests().submit(["a"], [])
    journal(lite).write_bytes(rest)
    assert lite.requests().get(request.id) == request
    assert not journal(lite).exists()


def test_requests_and_ledger_of_two_moments_are_found(lite: Desk) -> None:
    """All pages are whole, and SQLite content; but they are not of one transaction."""
    for statement, problem in (
        ("UPDATE requests SET state = 'PLANNED'", "in a state that the ledger knows nothing of"),
        ("DELETE FROM ledger WHERE seq = 1", "knows nothing of"),
        ("DELETE FROM targets; DELETE FROM requests", "tell of requests that are not there"),
        ("UPDATE ledger SET seq = 9", "its last number is 9"),
    ):
        desk = Desk(lite.root.parent / problem.replace(" ", "-"))
        desk.requests().submit(["a"], [])
        plain = sqlite3.connect(desk.root / "requests.db")
        plain.executescript(statement)
        plain.close()
        journal(desk).write_bytes(b"")
        with pytest.raises(VerificationError, match=problem):
            desk.requests().list()


def test_the_same_checksum_as_sqlites(copy: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checksum of another kind would call every journal torn."""
    monkeypatch.setattr(sqlite, "STEP", 100)
    with pytest.raises(VerificationError, match="cut or changed"):
        copy.open()
    assert sqlite.journal_of(copy.root / "requests.db") == journal(copy)
