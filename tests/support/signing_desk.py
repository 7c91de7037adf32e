"""A request database with a signing key: requests are purged there, and signed."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from lmeraser_ray.data.spec import PictureSpec
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.certificate.signer import certify_pending
from lmeraser_ray.erasure.certificate.statement import (
    ConstituentChange,
    ErasedHashes,
    ExecutionKind,
    StateChange,
    statement_of,
)
from lmeraser_ray.erasure.queue.proof import targets_of, terms_of, times_of
from lmeraser_ray.erasure.queue.publisher import Facts, conclude
from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import ErasureRequest
from lmeraser_ray.erasure.requests.transitions import ErasedRecord
from lmeraser_ray.pipeline.manifest import BackboneCard, Manifest
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.ledger import LedgerEntry
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.digests import key_of
from tests.support.statements import STATEMENT

CARD = BackboneCard(
    "a" * 64, 3, 4, PictureSpec(16, 16, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
)
FACTS = Facts(reused_digest=key_of("reused", b""))
"""What a publication changes in states without constituents."""


def manifest(number: int) -> Manifest:
    """A state that holds nothing."""
    return Manifest({"seed": number}, CARD, (), None, ())


def state(number: int) -> str:
    """Its fingerprint."""
    return manifest(number).fingerprint


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
    def folder(self) -> WorkspaceFolder:
        return WorkspaceFolder(self.root)

    def point(self, number: int | None = None) -> None:
        """Move the pointer to a state; to the last one, if none is named."""
        with self.folder.locked() as workspace:
            wanted = manifest(self.published if number is None else number)
            workspace.write_pointer(workspace.put_manifest(wanted))

    def sign(self) -> list[str]:
        """What the signer does."""
        return certify_pending(self.folder, self.database, self.keys)

    @property
    def requests(self) -> RequestRepository:
        return RequestRepository(self.database, self.names)

    def get(self, name: str) -> ErasureRequest:
        return self.requests.get(name)

    def publish(self, *records: str, subject: str | None = None) -> str:
        """Submit a request and bring it to PUBLISHED: the next state is without its records."""
        name = self.requests.submit(records, [subject] if subject else []).id
        self.published += 1
        with self.database.write() as conn:
            before, after = (
                ledger.state_of(conn, state(number))
                for number in (self.published - 1, self.published)
            )
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
            row = {"epoch": 1, "before": before, "after": after, "facts": FACTS.to_json()}
            number = conn.execute(
                insert(tables.publications).values(**row).returning(tables.publications.c.id)
            ).scalar_one()
            conclude(conn, number, [name])
        self.point()
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
            states = {ledger.state_of(conn, state(n)): manifest(n) for n in range(20)}
            after = states[row.after]
            statement = replace(
                STATEMENT,
                configuration=after.identity,
                backbone=CARD.identity,
                constituents=ConstituentChange((), 0, FACTS.reused_digest),
                passes=0,
                numerics=(),
                request=terms_of(request),
                erased=ErasedHashes(targets_of(conn, name), tuple(records)),
                state=StateChange(row.before, row.after),
                execution=ExecutionKind("inline", self.database.dialect),
                times=times_of(request),
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
        assert self.sign() == [name]
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
    WorkspaceFolder(root).create()
    with closing(Database.open(root, None)) as database:
        assert database.dialect == request.param
        yield Desk(root, database, Pseudonymizer(root, root / "objects" / "tmp"), keys)
