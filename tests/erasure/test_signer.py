"""The signer: one certificate and one entry a request, whatever crashes and however many sign at
once; on SQLite and PostgreSQL.

Row 16 of the fault matrix is here: a crash around signing, in a process that ends there and then.
"""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from lmeraser_ray.erasure.certificate.dsse import sha256_of, sign
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.certificate.signer import certify_pending
from lmeraser_ray.erasure.certificate.statement import (
    ErasedHashes,
    ExecutionKind,
    StateChange,
    Times,
    statement_of,
)
from lmeraser_ray.erasure.certificate.verifier import check_certificate
from lmeraser_ray.erasure.queue.proof import targets_of, terms_of
from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import ErasureRequest, State
from lmeraser_ray.erasure.requests.transitions import ErasedRecord
from lmeraser_ray.errors import ConfigError, VerificationError
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.ledger import LedgerEntry
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.digests import key_of
from lmeraser_ray.storage.times import to_text, utcnow
from tests.erasure.test_statement import STATEMENT


def state(number: int) -> str:
    """A fingerprint."""
    return key_of("state", str(number).encode())


@dataclass
class Desk:
    """A request database whose requests are brought through their states by hand: what the queue
    does, without training."""

    root: Path
    database: Database
    names: Pseudonymizer
    keys: KeyFolder
    published: int = 0

    @property
    def requests(self) -> RequestRepository:
        return RequestRepository(self.database, self.names)

    def get(self, name: str) -> ErasureRequest:
        return self.requests.get(name)

    def publish(self, *records: str, subject: str | None = None) -> str:
        """Submit a request and bring it to PUBLISHED: the next state is without its records."""
        name = self.requests.submit(records, [subject] if subject else []).id
        before, after = state(self.published), state(self.published + 1)
        self.published += 1
        with self.database.write() as conn:
            transitions.plan(
                conn,
                name,
                [
                    ErasedRecord(self.names.hash("record", record), record, b"pixels")
                    for record in records
                ],
                {},
            )
            transitions.begin_training(conn, [name])
            row = {"epoch": 1, "before": before, "after": after, "facts": "{}", "done": True}
            number = conn.execute(
                insert(tables.publications).values(**row).returning(tables.publications.c.id)
            ).scalar_one()
            transitions.set_published(conn, number, [name])
            facts = {"publication": number, "before": before, "after": after, "requests": [name]}
            ledger.append(conn, "PUBLICATION", None, facts)
        return name

    def freeze(self, name: str) -> bytes:
        """PUBLISHED → PURGED. Returns the frozen statement."""
        request = self.get(name)
        with self.database.write() as conn:
            transitions.wipe_names(conn, [name])
            row = conn.execute(
                select(tables.publications).where(tables.publications.c.id == request.publication)
            ).one()
            records = conn.scalars(
                select(tables.erased.c.hash).where(tables.erased.c.request_id == name)
            ).all()
            head = ledger.head(conn)
            statement = replace(
                STATEMENT,
                request=terms_of(request),
                erased=ErasedHashes(targets_of(conn, name), tuple(records)),
                state=StateChange(row.before, row.after),
                execution=ExecutionKind("inline", self.database.dialect),
                times=Times(
                    to_text(request.received_at), None, None, to_text(utcnow()), to_text(utcnow())
                ),
                ledger=head,
            )
            transitions.set_purged(conn, name, statement_of(statement))
        return statement_of(statement)

    def purge(self, *records: str, subject: str | None = None) -> str:
        """A request from submission to PURGED."""
        name = self.publish(*records, subject=subject)
        self.freeze(name)
        return name

    def certify(self, *records: str, subject: str | None = None) -> str:
        """A request from submission to CERTIFIED."""
        name = self.purge(*records, subject=subject)
        assert certify_pending(self.database, self.keys) == [name]
        return name

    def told(self, kind: str = "CERTIFIED") -> list[LedgerEntry]:
        """The ledger's entries of a kind, its chain checked."""
        with self.database.read() as conn:
            assert ledger.check(conn) == []
            return [entry for entry in ledger.entries(conn) if entry.kind == kind]

    def envelope(self, name: str) -> bytes:
        found = self.get(name).envelope
        assert found
        return bytes(found)


@pytest.fixture(params=["sqlite", "postgresql"])
def desk(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Desk]:
    """A new one, in each kind of database, with a signing key."""
    monkeypatch.delenv("LMERASER_DATABASE", raising=False)
    if request.param == "postgresql":
        monkeypatch.setenv("LMERASER_DATABASE", request.getfixturevalue("postgresql"))
    keys = KeyFolder(tmp_path / "keys")
    keys.init()
    root = tmp_path / "workspace"
    (root / "objects" / "tmp").mkdir(parents=True)
    with closing(Database.open(root, None)) as database:
        assert database.dialect == request.param
        yield Desk(root, database, Pseudonymizer(root, root / "objects" / "tmp"), keys)


def expect_certified(desk: Desk, name: str, wanted: bytes) -> None:
    """One certificate, these very bytes; one entry with its digest."""
    found = desk.get(name)
    assert (found.state, desk.envelope(name)) == (State.CERTIFIED, wanted)
    assert found.closed_at
    [entry] = desk.told()
    assert (entry.request, entry.facts) == (
        name,
        {"certificate": sha256_of(wanted), "key": desk.keys.current().keyid},
    )
    assert check_certificate(wanted, desk.keys.public_keys()).statement.request.id == name
    assert found.certificate_sha256 == sha256_of(wanted)


def test_what_is_purged_is_certified_once(desk: Desk) -> None:
    name = desk.publish("a", "b")
    assert certify_pending(desk.database, desk.keys) == []
    wanted = sign(desk.freeze(name), desk.keys.current())
    assert certify_pending(desk.database, desk.keys) == [name]
    expect_certified(desk, name, wanted)
    assert certify_pending(desk.database, desk.keys) == []
    desk.keys.rotate()
    assert certify_pending(desk.database, desk.keys) == []
    assert len(desk.told()) == 1


def test_in_the_order_in_which_they_were_purged(desk: Desk) -> None:
    names = [desk.publish(text) for text in "abc"]
    for name in (names[2], names[0], names[1]):
        desk.freeze(name)
    assert certify_pending(desk.database, desk.keys) == [names[2], names[0], names[1]]


def test_many_signers_at_once_make_one_certificate_each(desk: Desk) -> None:
    names = [desk.purge(text) for text in "abcdef"]
    with ThreadPoolExecutor(8) as pool:
        done = [
            name
            for found in pool.map(lambda _: certify_pending(desk.database, desk.keys), range(8))
            for name in found
        ]
    assert sorted(done) == sorted(names)
    assert sorted(entry.request or "" for entry in desk.told()) == sorted(names)


def test_a_damaged_statement_is_not_signed_and_holds_up_nobody(desk: Desk) -> None:
    """Cut, and another request's: both are said, the third is certified."""
    cut, other, good = (desk.purge(text) for text in "abc")
    with desk.database.write() as conn:
        rows = {
            row.id: bytes(row.statement)
            for row in conn.execute(select(tables.requests.c.id, tables.requests.c.statement))
        }
        for name, changed in ((cut, rows[cut][:-1]), (other, rows[good])):
            conn.execute(
                update(tables.requests)
                .where(tables.requests.c.id == name)
                .values(statement=changed)
            )
    with pytest.raises(VerificationError, match=f"statement of {cut} and 1 more is damaged"):
        certify_pending(desk.database, desk.keys)
    assert [desk.get(name).state for name in (cut, other, good)] == [
        State.PURGED,
        State.PURGED,
        State.CERTIFIED,
    ]
    assert [entry.request for entry in desk.told()] == [good]


def test_no_key_no_certificate_and_none_needed_where_nothing_waits(desk: Desk) -> None:
    """The request waits; once there is a key it is signed."""
    empty = KeyFolder(desk.root.parent / "none")
    assert certify_pending(desk.database, empty) == []
    name = desk.purge("a")
    with pytest.raises(ConfigError, match="keys init"):
        certify_pending(desk.database, empty)
    assert desk.get(name).state == State.PURGED
    empty.init()
    assert certify_pending(desk.database, empty) == [name]


DIES = """
import os, sys
from contextlib import closing
from pathlib import Path
from lmeraser_ray.erasure.certificate import signer as certify
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.storage.database import database

point = sys.argv[3]

def die(*_):
    os._exit(9)

def sign_and_die(statement, key, real=certify.sign):
    real(statement, key)
    die()

with closing(database.Database.open(Path(sys.argv[1]), None)) as opened:
    if point == "before signing":
        certify.sign = die
    elif point == "after signing":
        certify.sign = sign_and_die
    elif point == "before COMMIT":
        database.committing = die
    else:
        database.committed = die
    certify.certify_pending(opened, KeyFolder(Path(sys.argv[2])))
"""


@pytest.mark.parametrize(
    "point", ["before signing", "after signing", "before COMMIT", "after COMMIT"]
)
def test_a_crash_around_signing(desk: Desk, point: str) -> None:
    """The process is gone at once, twice in a row; the next signer ends with the very bytes that
    nobody's crash would have changed."""
    name = desk.publish("a")
    wanted = sign(desk.freeze(name), desk.keys.current())
    for at in range(2):
        done = subprocess.run(
            [sys.executable, "-c", DIES, desk.root, desk.keys.path, point],
            check=False,
            capture_output=True,
            text=True,
        )
        committed = point == "after COMMIT"
        assert done.returncode == (0 if committed and at else 9), done.stderr
        assert desk.get(name).state == (State.CERTIFIED if committed else State.PURGED)
        assert len(desk.told()) == committed
    assert certify_pending(desk.database, desk.keys) == ([] if committed else [name])
    expect_certified(desk, name, wanted)


def test_no_name_is_in_a_certificate(desk: Desk) -> None:
    """Record, subject, and their plain digests."""
    name = desk.certify("person-7654321/eye.png", subject="person-7654321")
    payload = check_certificate(desk.envelope(name), desk.keys.public_keys()).signed.payload
    for text in ("person-7654321/eye.png", "person-7654321"):
        assert text.encode() not in payload
        assert hashlib.sha256(text.encode()).hexdigest().encode() not in payload
        assert desk.names.hash("record" if "/" in text else "subject", text).encode() in payload
