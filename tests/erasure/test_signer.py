"""The signer: one certificate and one entry a request, whatever crashes and however many sign at
once; on SQLite and PostgreSQL.

Row 16 of the fault matrix is here: a crash around signing, in a process that ends there and then.
"""

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update

from lmeraser_ray.erasure.certificate.dsse import sha256_of, sign
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.certificate.signer import certify_pending
from lmeraser_ray.erasure.certificate.verifier import check_certificate
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.errors import ConfigError, VerificationError
from lmeraser_ray.storage.database import tables
from tests.support.signing_desk import Desk, signing_desk

desk = pytest.fixture(params=["sqlite", "postgresql"])(signing_desk)
"""In each kind of database."""


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
    assert desk.sign() == []
    wanted = sign(desk.freeze(name), desk.keys.current())
    assert desk.sign() == [name]
    expect_certified(desk, name, wanted)
    assert desk.sign() == []
    desk.keys.rotate()
    assert desk.sign() == []
    assert len(desk.told()) == 1


def test_in_the_order_in_which_they_were_purged(desk: Desk) -> None:
    names = [desk.publish(text) for text in "abc"]
    for name in (names[2], names[0], names[1]):
        desk.freeze(name)
    assert desk.sign() == [names[2], names[0], names[1]]


def test_many_signers_at_once_make_one_certificate_each(desk: Desk) -> None:
    names = [desk.purge(text) for text in "abcdef"]
    with ThreadPoolExecutor(8) as pool:
        done = [name for found in pool.map(lambda _: desk.sign(), range(8)) for name in found]
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
    with pytest.raises(VerificationError, match=f"{cut} is damaged: .* nor were 1 more"):
        desk.sign()
    assert [desk.get(name).state for name in (cut, other, good)] == [
        State.PURGED,
        State.PURGED,
        State.CERTIFIED,
    ]
    assert [entry.request for entry in desk.told()] == [good]


def test_no_key_no_certificate_and_none_needed_where_nothing_waits(desk: Desk) -> None:
    """The request waits; once there is a key it is signed."""
    empty = KeyFolder(desk.root.parent / "none")
    assert certify_pending(desk.folder, desk.database, empty) == []
    name = desk.purge("a")
    with pytest.raises(ConfigError, match="keys init"):
        certify_pending(desk.folder, desk.database, empty)
    assert desk.get(name).state == State.PURGED
    empty.init()
    assert certify_pending(desk.folder, desk.database, empty) == [name]


DIES = """
import os, sys
from contextlib import closing
from pathlib import Path
from lmeraser_ray.erasure.certificate import signer as certify
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
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
    root = WorkspaceFolder(Path(sys.argv[1]))
    certify.certify_pending(root, opened, KeyFolder(Path(sys.argv[2])))
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
    assert desk.sign() == ([] if committed else [name])
    expect_certified(desk, name, wanted)


def test_no_name_is_in_a_certificate(desk: Desk) -> None:
    """Record, subject, and their plain digests."""
    name = desk.certify("person-7654321/eye.png", subject="person-7654321")
    payload = check_certificate(desk.envelope(name), desk.keys.public_keys()).signed.payload
    for text in ("person-7654321/eye.png", "person-7654321"):
        assert text.encode() not in payload
        assert hashlib.sha256(text.encode()).hexdigest().encode() not in payload
        assert desk.names.hash("record" if "/" in text else "subject", text).encode() in payload
