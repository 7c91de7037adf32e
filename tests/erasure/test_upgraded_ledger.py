"""The ledger of an earlier release: it is keyed from its upgrade on, and what was under way is
certified as it was frozen; on SQLite and PostgreSQL."""

import json
from contextlib import closing
from dataclasses import replace

import pytest
from sqlalchemy import Connection, delete, insert, select, update

from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.certificate.statement import StateChange, read_statement, statement_of
from lmeraser_ray.erasure.certificate.verifier import check_certificate
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.tables import erased, publications, requests
from lmeraser_ray.storage.database.tables import ledger as ledger_table
from lmeraser_ray.storage.digests import canonical_json
from tests.support.forger import edited
from tests.support.office import desk
from tests.support.signing_desk import Desk, state

__all__ = ["desk"]

NEW_FACTS = ("erased", "statement", "facts", "received")


def age(desk: Desk) -> None:
    """Make the database one of format 1: fingerprints in rows, statements and entries, no key."""
    with desk.database.write() as conn:
        plain = {ledger.state_of(conn, state(number)): state(number) for number in range(20)}
        for row in conn.execute(select(publications)).all():
            values = {"before": plain[row.before], "after": plain[row.after]}
            conn.execute(update(publications).where(publications.c.id == row.id).values(**values))
        hashes = age_ledger(conn, plain)
        for row in conn.execute(select(requests).where(requests.c.statement.is_not(None))).all():
            said = read_statement(bytes(row.statement))
            states = StateChange(plain[said.state.before], plain[said.state.after])
            head = ledger.LedgerHead(said.ledger.seq, hashes[said.ledger.seq])
            old = statement_of(replace(said, version=1, state=states, ledger=head))
            conn.execute(update(requests).where(requests.c.id == row.id).values(statement=old))
        conn.execute(update(requests).values(submitter="somebody"))
        conn.execute(update(tables.workspace).values(format=1))
    pin = desk.root / "database"
    pin.write_text(pin.read_text().splitlines()[0] + "\n")


def age_ledger(conn: Connection, plain: dict[str, str]) -> dict[int, str]:
    """Write the ledger again as an earlier release did. Returns the hashes by number."""
    rows = conn.execute(select(ledger_table).order_by(ledger_table.c.seq)).mappings().all()
    conn.execute(delete(ledger_table))
    hashes, previous = dict[int, str](), ledger.GENESIS
    for row in rows:
        said = json.loads(row["entry"])
        facts = {name: fact for name, fact in said["facts"].items() if name not in NEW_FACTS}
        for name in facts.keys() & {"before", "after"}:
            facts[name] = plain[facts[name]]
        text = canonical_json({**said, "facts": facts}).decode()
        values = {**row, "entry": text, "previous": previous}
        previous = ledger.plain_hash(previous, text) or ""
        conn.execute(insert(ledger_table).values(**{**values, "hash": previous}))
        hashes[row["seq"]] = previous
    return hashes


def upgraded(desk: Desk) -> Desk:
    """The desk with its database opened again, and so upgraded."""
    return replace(desk, database=Database.open(desk.root, None))


def test_what_was_under_way_goes_on(desk: Desk) -> None:
    """PURGED is certified as it was frozen, in version 1; PUBLISHED is frozen in version 2."""
    frozen, early = desk.purge("a"), desk.publish("b")
    age(desk)
    kept = bytes(desk.get(frozen).statement or b"")
    new = upgraded(desk)
    with closing(new.database):
        assert new.told(ledger.KEYED)
        assert new.sign() == [frozen]
        envelope = new.envelope(frozen)
        certificate = check_certificate(envelope, KeyFolder(desk.keys.path).public_keys())
        assert (certificate.signed.payload, certificate.statement.version) == (kept, 1)
        new.freeze(early)
        assert new.sign() == [early]
        other = new.certify("c")
        assert read_statement(bytes(new.get(other).statement or b"")).version == 2
        assert new.get(frozen).submitter == new.names.hash("submitter", "somebody")


def test_it_is_upgraded_once(desk: Desk) -> None:
    desk.certify("a")
    age(desk)
    for _ in range(2):
        new = upgraded(desk)
        with closing(new.database):
            assert len(new.told(ledger.KEYED)) == 1
    with desk.database.write() as conn:
        conn.execute(update(tables.workspace).values(format=1))
    with pytest.raises(VerificationError, match=f"it had format {tables.FORMAT} before"):
        upgraded(desk)


def test_what_was_frozen_is_bound(desk: Desk) -> None:
    """From the upgrade on nobody changes the statement, or the records of what was planned."""
    name, other = desk.purge("a"), desk.publish("b")
    age(desk)
    new = upgraded(desk)
    with closing(new.database):
        whole = new.get(name).statement or b""
        with new.database.write() as conn:
            changed = edited(whole, "passes", value=9)
            conn.execute(update(requests).where(requests.c.id == name).values(statement=changed))
        with pytest.raises(VerificationError, match=f"{name} is not the one that was frozen"):
            new.sign()
        with new.database.write() as conn:
            conn.execute(update(requests).where(requests.c.id == name).values(statement=whole))
            conn.execute(delete(erased).where(erased.c.request_id == other))
        new.freeze(other)
        with pytest.raises(VerificationError, match=f"{other} is of a request that was planned"):
            new.sign()
        assert new.get(name).envelope is not None


def test_ids_that_were_let_in_again_before_stay_so(desk: Desk) -> None:
    """The ledger counted them: as many tombstones may be missing. Where more are, none is taken
    for let in."""
    desk.certify("a")
    desk.certify("b")
    with desk.database.write() as conn:
        states = {name: ledger.state_of(conn, state(2)) for name in ("before", "after")}
        ledger.append(conn, "TRAINED", None, {**states, "readmitted": 1})
        gone = tables.tombstones.c.hash == desk.names.hash("record", "a")
        conn.execute(delete(tables.tombstones).where(gone))
    age(desk)
    new = upgraded(desk)
    with closing(new.database):
        [keyed] = new.told(ledger.KEYED)
        assert keyed.facts["readmitted"] == [desk.names.hash("record", "a")]
