"""The ledger: one chain, in the transactions of what it tells of; whatever is changed in it is
found and named."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.ledger import Seal
from lmeraser_ray.storage.database.tables import ledger as table
from tests.support import desk_acts
from tests.support.desk import Desk, ended, start


def told(desk: Desk, count: int = 5) -> list[ledger.LedgerEntry]:
    with desk.open().write() as connection:
        return [
            ledger.append(connection, "KIND", f"er-{i}", {"count": i, "hash": "ab"})
            for i in range(count)
        ]


def problems(desk: Desk) -> list[str]:
    with desk.open().read() as connection:
        return ledger.check(connection)


def change(desk: Desk, *statements: Any) -> None:
    with desk.open().write() as connection:
        for statement in statements:
            connection.execute(statement)


def test_an_empty_ledger_has_a_head(desk: Desk) -> None:
    with desk.open().read() as connection:
        assert ledger.head(connection) == ledger.LedgerHead(0, "0" * 64)
        assert ledger.check(connection) == []
        assert ledger.contains(connection, ledger.LedgerHead(0, ledger.GENESIS))
        assert not ledger.contains(connection, ledger.LedgerHead(0, "1" * 64))
        assert not ledger.contains(connection, ledger.LedgerHead(1, ledger.GENESIS))


def test_entries_are_chained_as_is_said(desk: Desk) -> None:
    made = told(desk)
    previous = "0" * 64
    for number, entry in enumerate(made, 1):
        assert (entry.seq, entry.previous, entry.kind, entry.request) == (
            number,
            previous,
            "KIND",
            f"er-{number - 1}",
        )
        assert json.loads(entry.text) == {
            "seq": number,
            "at": entry.at,
            "kind": "KIND",
            "request": f"er-{number - 1}",
            "facts": {"count": number - 1, "hash": "ab"},
        }
        assert entry.text == json.dumps(
            json.loads(entry.text), sort_keys=True, separators=(",", ":")
        )
        sealed = bytes.fromhex(previous) + entry.text.encode()
        assert entry.hash == desk.names.seal("ledger/2", sealed)
        previous = entry.hash
    with desk.open().read() as connection:
        assert list(ledger.entries(connection)) == made
        assert list(ledger.entries(connection, after=3)) == made[3:]
        assert ledger.head(connection) == ledger.LedgerHead(5, previous)
        assert ledger.contains(connection, ledger.LedgerHead(2, made[1].hash))
        assert not ledger.contains(connection, ledger.LedgerHead(2, made[2].hash))
    assert problems(desk) == []


def test_one_or_many_are_the_same_chain(desk: Desk) -> None:
    with desk.open().write() as connection:
        ledger.append_all(connection, "A", [("r", {"n": 1}), (None, {})])
        ledger.append(connection, "B", None, {})
        assert ledger.append_all(connection, "C", []) == []
    assert problems(desk) == []
    assert desk.count("ledger") == 3


def test_what_is_rolled_back_was_never_told(desk: Desk) -> None:
    told(desk, 1)
    with pytest.raises(ZeroDivisionError), desk.open().write() as connection:
        ledger.append(connection, "LOST", None, {})
        raise ZeroDivisionError
    told(desk, 1)
    assert desk.count("ledger") == 2
    assert problems(desk) == []


COLUMNS = {
    "at": "2026-01-01T00:00:00.000000Z",
    "kind": "OTHER",
    "request_id": "er-9",
    "entry": '{"at":"","facts":{},"kind":"","request":null,"seq":3}',
    "previous": "1" * 64,
    "hash": "2" * 64,
}


@pytest.mark.parametrize("column", COLUMNS)
def test_a_changed_entry_is_named(desk: Desk, column: str) -> None:
    told(desk)
    change(desk, update(table).where(table.c.seq == 3).values({column: COLUMNS[column]}))
    found = problems(desk)
    assert any(
        "entry 3" in text and ("changed" in text or "does not follow" in text) for text in found
    ), found
    assert not any("missing" in text for text in found)


@pytest.mark.parametrize("column", ["entry", "hash", "previous"])
def test_what_is_no_entry_at_all_is_named_too(desk: Desk, column: str) -> None:
    told(desk)
    change(desk, update(table).where(table.c.seq == 3).values({column: "no hexadecimal"}))
    assert any("entry 3 was changed" in text for text in problems(desk))
    with desk.open().read() as connection:
        assert len(list(ledger.entries(connection))) == 5


def test_missing_entries_are_named(desk: Desk) -> None:
    told(desk, 7)
    change(desk, delete(table).where(table.c.seq.in_([1, 3, 4])))
    assert problems(desk) == ["ledger entry 1 is missing", "ledger entries 3 to 4 are missing"]


def test_exchanged_entries_are_named(desk: Desk) -> None:
    made = told(desk)
    with desk.open().read() as connection:
        rows = {row.seq: row._asdict() for row in connection.execute(select(table))}
    for at, other in ((2, 3), (3, 2)):
        change(
            desk,
            update(table)
            .where(table.c.seq == at)
            .values({**rows[other], "seq": at, "previous": made[at - 1].previous}),
        )
    assert [text.split(" was")[0] for text in problems(desk) if "changed" in text] == [
        "ledger entry 2",
        "ledger entry 3",
    ]


def test_one_that_is_cut_off_is_found_by_an_older_head(desk: Desk) -> None:
    made = told(desk)
    change(desk, delete(table).where(table.c.seq > 3))
    assert problems(desk) == []
    with desk.open().read() as connection:
        assert not ledger.contains(connection, ledger.LedgerHead(5, made[4].hash))
        assert ledger.contains(connection, ledger.LedgerHead(3, made[2].hash))


def test_a_chain_that_was_forged_anew_is_found_by_an_older_head(desk: Desk) -> None:
    """Somebody who can write everything, and has the secret, hashes it again: only a head that was
    kept elsewhere tells."""
    made = told(desk)
    change(desk, delete(table))
    told(desk, 6)
    change(desk, update(table).where(table.c.seq == 9).values(kind="x"))
    with desk.open().write() as connection:
        ledger.append(connection, "KIND", None, {})
    assert problems(desk) == []
    with desk.open().read() as connection:
        assert not ledger.contains(connection, ledger.LedgerHead(5, made[4].hash))


def test_many_processes_write_one_chain(desk: Desk) -> None:
    desk.open()
    assert ended([start(desk_acts.tell, desk, 8) for _ in range(6)]) == [0] * 6
    assert desk.count("ledger") == 48
    assert problems(desk) == []


def test_the_check_can_fail(lite: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that hashes without what came before would be one whose entries can be exchanged."""
    told(lite)
    real: Callable[[Seal, str, str], str] = Seal.entry
    monkeypatch.setattr(Seal, "entry", lambda seal, _, text: real(seal, "0" * 64, text))
    assert len(problems(lite)) == 4


class TestKeys:
    """Who can write to the database, and has not the secret."""

    def test_what_he_adds_is_named(self, desk: Desk) -> None:
        told(desk, 2)
        forge(desk, seq=3, previous=None)
        assert problems(desk) == [
            "ledger entry 3 was not written with the workspace's secret: somebody added it"
        ]

    def test_a_whole_ledger_of_his_is_refused(self, desk: Desk) -> None:
        desk.open()
        forge(desk, seq=1, previous=ledger.GENESIS)
        [said] = problems(desk)
        assert "not keyed" in said

    def test_nothing_of_his_follows_the_first_keyed_entry(self, desk: Desk) -> None:
        """Two plain entries of an earlier release, the keyed one, and one of his."""
        desk.open()
        forge(desk, seq=1, previous=ledger.GENESIS)
        forge(desk, seq=2, previous=None)
        with desk.open().write() as connection:
            ledger.append(connection, ledger.KEYED, None, {})
        assert problems(desk) == []
        forge(desk, seq=4, previous=None)
        [said] = problems(desk)
        assert "entry 4 was not written with the workspace's secret" in said

    def test_after_a_signed_head_all_is_keyed(self, desk: Desk) -> None:
        desk.open()
        forge(desk, seq=1, previous=ledger.GENESIS)
        with desk.open().write() as connection:
            kept = ledger.head(connection)
        forge(desk, seq=2, previous=None)
        with desk.open().read() as connection:
            [said] = ledger.check(connection, kept, keyed_after=kept.seq)
        assert "entry 2" in said


def forge(desk: Desk, *, seq: int, previous: str | None) -> None:
    """Append an entry as a release without keys wrote it, all its hashes right."""
    with desk.open().write() as connection:
        before = previous or ledger.head(connection).hash
        text = json.dumps(
            {"at": "now", "facts": {}, "kind": "KIND", "request": None, "seq": seq},
            separators=(",", ":"),
        )
        row = {"seq": seq, "at": "now", "kind": "KIND", "entry": text, "previous": before}
        connection.execute(insert(table).values(**row, hash=ledger.plain_hash(before, text)))
