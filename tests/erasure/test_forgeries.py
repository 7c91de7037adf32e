"""Who can write to the request database, and has not the workspace's secret, gets no certificate;
`audit` and `verify` see what he did. On SQLite and PostgreSQL."""

from collections.abc import Callable

import pytest
from sqlalchemy import delete, insert, update

from lmeraser_ray.erasure.certificate.statement import read_statement
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.storage.database import tables
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.ledger import KEYED
from lmeraser_ray.storage.database.tables import erased, ledger, requests, targets
from tests.support.forger import FORGED, append_plain, edited, forge_request
from tests.support.office import Office, desk, office
from tests.support.signing_desk import Desk
from tests.support.statements import digit

__all__ = ["desk", "office"]


def expect_seen(office: Office, *words: str) -> None:
    """By `audit`, and by `verify`."""
    office.finds(*words)
    found = verify(office.session).differences
    for word in words:
        assert any(word in sentence for sentence in found), (word, found)


def expect_unsigned(office: Office, name: str, words: str) -> None:
    """The signer says what differs, and the request stays as it is."""
    with pytest.raises(VerificationError, match=words):
        office.desk.sign()
    assert office.desk.get(name).state is State.PURGED
    assert not [entry for entry in office.desk.told() if entry.request == name]


def test_a_request_with_its_entries(office: Office) -> None:
    """Everything that a real one has, but the key."""
    name = forge_request(office.desk, office.certify("a"), entries=True)
    with pytest.raises(VerificationError, match=r"Nothing was signed.*workspace's secret"):
        office.desk.sign()
    assert office.desk.get(name).state is State.PURGED
    expect_seen(office, "was not written with the workspace's secret: somebody added it")


def test_a_request_with_its_entries_before_anything_was_signed(office: Office) -> None:
    """Nor where no head is kept yet."""
    name = forge_request(office.desk, office.certify("a"), entries=True)
    office.keys.head_path(office.desk.names).unlink()
    with pytest.raises(VerificationError, match=r"Nothing was signed.*workspace's secret"):
        office.desk.sign()
    assert office.desk.get(name).state is State.PURGED


def test_a_request_without_entries_holds_up_nobody(office: Office) -> None:
    name = forge_request(office.desk, office.certify("a"), entries=False)
    other = office.desk.purge("b")
    expect_unsigned(office, name, f"statement of {name} is of a request that was not received")
    assert office.desk.get(other).state is State.CERTIFIED
    expect_seen(office, f"{name} is among the requests and not in the ledger", "was not received")


FIELDS: tuple[tuple[tuple[str, ...], object], ...] = (
    (("seed",), 9),
    (("passes",), 9),
    (("backbone",), digit("b")),
    (("purged", "files"), 0),
    (("scan", "searched"), []),
    (("erased", "records"), []),
    (("state", "before"), digit("c")),
    (("state", "after"), digit("c")),
    (("times", "purged"), "2026-01-01T00:00:00.000000Z"),
    (("code", "version"), "9"),
    (("transient",), []),
    (("ledger", "seq"), 1),
)


@pytest.mark.parametrize(("path", "value"), FIELDS, ids=[".".join(path) for path, _ in FIELDS])
@pytest.mark.parametrize("desk", ["sqlite"], indirect=True)
def test_any_field_of_a_frozen_statement(
    office: Office, path: tuple[str, ...], value: object
) -> None:
    """It is a statement still, about the request; and it is not the one that was frozen."""
    name = office.desk.purge("a")
    changed = edited(office.desk.get(name).statement or b"", *path, value=value)
    assert read_statement(changed).request.id == name
    office.change(update(requests).where(requests.c.id == name).values(statement=changed))
    expect_unsigned(office, name, f"statement of {name} is not the one that was frozen")
    expect_seen(office, f"statement of {name} is not the one that was frozen")


def a_target(office: Office, name: str) -> None:
    row = {"request_id": name, "what": "record", "hash": digit("e"), "outcome": "removed"}
    office.change(insert(targets).values(**row))


def a_record(office: Office, name: str) -> None:
    office.change(insert(erased).values(request_id=name, hash=digit("e"), publication=1))


def no_record(office: Office, name: str) -> None:
    office.change(delete(erased).where(erased.c.request_id == name))


def another_deadline(office: Office, name: str) -> None:
    late = "2030-01-01T00:00:00.000000Z"
    office.change(update(requests).where(requests.c.id == name).values(due_at=late))


def another_receipt(office: Office, name: str) -> None:
    late = "2026-11-30T23:00:00.000000Z"
    office.change(update(requests).where(requests.c.id == name).values(received_at=late))


def an_earlier_plan(office: Office, name: str) -> None:
    early = "2026-01-01T00:00:00.000000Z"
    office.change(update(requests).where(requests.c.id == name).values(planned_at=early))


def other_facts(office: Office, name: str) -> None:
    facts = '{"rebuilt": [], "numerics": []}'
    office.change(update(tables.publications).values(facts=facts))


def another_publication(office: Office, name: str) -> None:
    office.change(update(erased).where(erased.c.request_id == name).values(publication=7))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (a_target, "names other records or subjects than were submitted"),
        (a_record, "was planned with other records"),
        (no_record, "was planned with other records"),
        (another_deadline, "another deadline in the database than in the ledger"),
        (another_receipt, "another deadline in the database than in the ledger"),
        (an_earlier_plan, "was PLANNED at another time by the ledger"),
        (other_facts, "a publication whose facts were changed"),
        (another_publication, "of publications that the ledger does not have"),
    ],
)
@pytest.mark.parametrize("before_freezing", [True, False])
@pytest.mark.parametrize("desk", ["sqlite"], indirect=True)
def test_rows_of_a_request(
    office: Office, change: Callable[[Office, str], None], said: str, *, before_freezing: bool
) -> None:
    """Changed while it is PUBLISHED, so that the queue freezes them; and after that."""
    name = office.desk.publish("a", "b")
    if before_freezing:
        change(office, name)
        office.desk.freeze(name)
    else:
        office.desk.freeze(name)
        change(office, name)
    with pytest.raises(VerificationError, match="not signed"):
        office.desk.sign()
    assert office.desk.get(name).state is State.PURGED
    expect_seen(office, said)


def test_last_entries_that_are_cut_off(office: Office) -> None:
    """With all that they are of, and the state before published again: nothing that is left shows
    it, but the head that was kept at the last signature."""
    office.certify("a")
    name, desk = office.certify("b"), office.desk
    [first, *_] = [entry.seq for entry in desk.told("RECEIVED") if entry.request == name]
    for table in (targets, erased):
        office.change(delete(table).where(table.c.request_id == name))
    office.change(delete(requests).where(requests.c.id == name))
    office.change(delete(tables.publications).where(tables.publications.c.id == 2))
    office.change(delete(ledger).where(ledger.c.seq >= first))
    desk.published = 1
    office.point()
    office.sound()
    waiting = desk.purge("c")
    with pytest.raises(VerificationError, match=r"entries were cut off.*remove .*heads"):
        desk.sign()
    assert desk.get(waiting).state is State.PURGED
    for found in (
        office.audit(signed=True).differences,
        verify(office.session, signed=office.kept()).differences,
    ):
        assert any("entries were cut off" in sentence for sentence in found), found


def test_the_kept_head_follows_the_ledger(office: Office) -> None:
    """An older signer's head takes nothing back."""
    office.certify("a")
    first = office.kept()
    office.certify("b")
    assert office.kept().seq > first.seq
    office.keep(first)
    assert office.kept().seq > first.seq
    office.desk.keys.rotate()
    office.certify("c")
    office.sound()


def test_a_format_that_is_set_back(desk: Desk) -> None:
    """Else the upgrade would adopt what he wrote."""
    desk.certify("a")
    with desk.database.write() as conn:
        conn.execute(delete(ledger))
        append_plain(conn, "RECEIVED", FORGED, {})
        conn.execute(update(tables.workspace).values(format=1))
    with pytest.raises(
        VerificationError, match=f"format 1, and it had format {tables.FORMAT} before"
    ):
        Database.open(desk.root, None)
    with desk.database.read() as conn:
        kinds = conn.scalars(ledger.select().with_only_columns(ledger.c.kind)).all()
        assert KEYED not in kinds


class TestFlips:
    """What no digest of the store covers: `verify` reads it too."""

    def test_facts_of_a_publication(self, office: Office) -> None:
        office.certify("a")
        office.change(update(tables.publications).values(facts='{"rebuilt": ['))
        expect_seen(office, "The facts of publication 1 cannot be read")

    @pytest.mark.parametrize("desk", ["sqlite"], indirect=True)
    def test_the_path_in_the_pin(self, office: Office) -> None:
        office.certify("a")
        pin = office.folder.root / "database"
        pin.write_text(pin.read_text().replace("requests.db", "requests.dc"))
        expect_seen(office, "file database is damaged")

    def test_a_frozen_statement(self, office: Office) -> None:
        name = office.desk.purge("a")
        cut = (office.desk.get(name).statement or b"")[:-1]
        office.change(update(requests).where(requests.c.id == name).values(statement=cut))
        expect_seen(office, f"The statement of {name} is damaged")
