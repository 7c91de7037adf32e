"""A request database with a signing key: requests are purged there, and signed."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.certificate.signer import certify_pending
from lmeraser_ray.erasure.certificate.statement import (
    ErasedHashes,
    ExecutionKind,
    StateChange,
    Times,
    statement_of,
)
from lmeraser_ray.erasure.queue.proof import targets_of, terms_of
from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import ErasureRequest
from lmeraser_ray.erasure.requests.transitions import ErasedRecord
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.ledger import LedgerEntry
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.digests import key_of
from lmeraser_ray.storage.times import to_text, utcnow
from tests.support.statements import STATEMENT


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


def signing_desk(
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
