"""A workspace to audit, made by hand, and what somebody may do to its ledger."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from sqlalchemy import delete, insert, select

from lmeraser_ray.config import Config
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.certificate.ledger_head import SignedHead, keep_head, kept_head
from lmeraser_ray.operations.audit import Audit, audit
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.ledger import GENESIS, LedgerHead
from lmeraser_ray.storage.database.tables import ledger as ledger_table
from tests.support.signing_desk import Desk, signing_desk

desk = pytest.fixture(params=["sqlite", "postgresql"])(signing_desk)
"""In each kind of database."""


@dataclass
class Office:
    """A desk with what an audit needs of a workspace: a configuration, and a pointer to what is
    published."""

    desk: Desk
    keys: KeyFolder

    def __post_init__(self) -> None:
        self.session = Session(self.desk.root)
        self.point()

    @property
    def folder(self) -> WorkspaceFolder:
        return self.session.folder

    def point(self, number: int | None = None) -> None:
        """Publish a state; the desk's last one, if none is named."""
        with self.folder.locked() as workspace:
            workspace.save_config(Config())
        self.desk.point(number)

    def certify(self, *records: str, subject: str | None = None) -> str:
        name = self.desk.certify(*records, subject=subject)
        self.point()
        return name

    def audit(self, *, against: bytes | None = None, signed: bool = False) -> Audit:
        """signed: with the head that the signer keeps beside its keys."""
        head = self.kept() if signed else None
        return audit(self.session, self.keys.public_keys(), against=against, signed=head)

    def kept(self) -> SignedHead:
        """The head that the signer keeps."""
        found = kept_head(self.keys, self.desk.names)
        assert found
        return found

    def keep(self, head: SignedHead) -> None:
        """What a signer does that is behind the others."""
        at = LedgerHead(head.seq, head.hash)
        keep_head(self.keys, self.desk.names, at, self.keys.current())

    def sound(self) -> None:
        assert self.audit().differences == ()

    def finds(self, *words: str) -> tuple[str, ...]:
        """The audit's differences, in which these words are."""
        found = self.audit()
        assert not found.ok
        for word in words:
            assert any(word in sentence for sentence in found.differences), (
                word,
                found.differences,
            )
        return found.differences

    def change(self, statement: object) -> None:
        """What somebody does behind the program's back."""
        with self.desk.database.write() as conn:
            assert conn.execute(statement).rowcount  # type: ignore[call-overload]


@pytest.fixture
def office(desk: Desk) -> Office:
    return Office(desk, desk.keys)


def rewrite(office: Office, edit: Callable[[list[dict[str, object]]], object]) -> None:
    """Change the ledger as somebody would who can write to the database and has the secret: all
    hashes are right again."""
    with office.desk.database.write() as conn:
        rows = [
            dict(row)
            for row in conn.execute(select(ledger_table).order_by(ledger_table.c.seq)).mappings()
        ]
        edit(rows)
        conn.execute(delete(ledger_table))
        previous, seal = GENESIS, ledger.seal_of(conn)
        for seq, row in enumerate(rows, 1):
            text = json.dumps(
                {**json.loads(str(row["entry"])), "seq": seq}, sort_keys=True, separators=(",", ":")
            )
            fixed = {
                "seq": seq,
                "previous": previous,
                "entry": text,
                "hash": seal.entry(previous, text),
            }
            conn.execute(insert(ledger_table).values(**{**row, **fixed}))
            previous = seal.entry(previous, text)
        assert ledger.check(conn) == []
