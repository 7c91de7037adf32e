"""The audit of the ledger: changed, missing and rewritten entries, states that do not follow on
each other, and a signed head that is kept elsewhere; on SQLite and PostgreSQL."""

from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select, update

from lmeraser_ray.erasure.certificate.dsse import SigningKey
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.certificate.ledger_head import export_head
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.ledger import GENESIS
from lmeraser_ray.storage.database.tables import ledger as ledger_table
from lmeraser_ray.storage.database.tables import publications
from tests.support.office import Office, desk, office, rewrite
from tests.support.signing_desk import state

__all__ = ["desk", "office"]


class TestLedger:
    """What is changed in the ledger."""

    @pytest.fixture
    def last(self, office: Office) -> int:
        """The number of the last entry."""
        office.certify("a")
        office.certify("b")
        office.sound()
        return office.audit().head.seq

    def test_an_entry_that_is_changed_or_taken_out(self, office: Office, last: int) -> None:
        with office.desk.database.read() as conn:
            text = str(conn.scalar(select(ledger_table.c.entry).where(ledger_table.c.seq == 3)))
        office.change(
            update(ledger_table)
            .where(ledger_table.c.seq == 3)
            .values(entry=text.replace('"seq":3', '"seq":4'))
        )
        office.finds("Ledger entry 3 was changed")
        office.change(update(ledger_table).where(ledger_table.c.seq == 3).values(entry=text))
        office.sound()
        office.change(delete(ledger_table).where(ledger_table.c.seq == 3))
        office.finds("Ledger entry 3 is missing")

    def test_a_tail_that_is_cut_off(self, office: Office, last: int) -> None:
        """The chain alone does not show it: the requests do, and a head that was kept."""
        kept = office.audit().signed_head(office.keys.current())
        office.change(delete(ledger_table).where(ledger_table.c.seq == last))
        found = office.finds("is CERTIFIED in the database, and PURGED by the ledger")
        assert not any("chain" in sentence for sentence in found)
        assert any(
            f"ends at entry {last - 1}" in sentence
            for sentence in office.audit(against=kept).differences
        )

    def test_one_that_is_written_again_whole(self, office: Office, last: int) -> None:
        """With all hashes right: the certificates, which are signed, name entries by the old
        ones."""
        rewrite(
            office,
            lambda rows: rows[0].update(
                entry=str(rows[0]["entry"]).replace('"quarantine":false', '"quarantine":true')
            ),
        )
        office.finds("by another hash than it has")

    def test_a_publication_that_is_taken_out(self, office: Office, last: int) -> None:
        def without(rows: list[dict[str, object]]) -> None:
            [at, *_] = [
                i
                for i, row in enumerate(rows)
                if row["kind"] == "PUBLICATION" and row["request_id"] is None
            ]
            del rows[at]

        office.certify("c")
        rewrite(office, without)
        office.finds(
            "became", "and the ledger has no such publication", "by another hash than it has"
        )


class TestStates:
    """Which state followed on which."""

    def note(self, office: Office, kind: str, before: str | None, after: str) -> None:
        with office.desk.database.write() as conn:
            facts = {"before": before and ledger.state_of(conn, before)}
            ledger.append(conn, kind, None, {**facts, "after": ledger.state_of(conn, after)})

    def test_a_training_between_is_in_the_ledger(self, office: Office) -> None:
        office.certify("a")
        self.note(office, "TRAINED", state(1), state(7))
        office.point(7)
        office.sound()
        self.note(
            office, "TRAINED", None, state(8)
        )  # what was published was damaged: all was built from the source
        office.point(8)
        office.sound()

    def test_a_state_that_came_past_the_ledger(self, office: Office) -> None:
        office.certify("a")
        office.desk.published = 5
        office.certify("b")
        with office.desk.database.read() as conn:
            skipped = ledger.state_of(conn, state(5))
        office.finds(f"follows on state {skipped[:12]}…, and entry")
        assert len(office.audit().differences) == 1

    def test_another_state_than_the_last_is_published(self, office: Office) -> None:
        office.certify("a")
        office.certify("b")
        office.point(1)
        office.finds(f"State {state(1)[:12]}… is published, and the last one in the ledger")
        office.point(9)
        office.finds(f"State {state(9)[:12]}… is published")
        (office.folder.root / "CURRENT").unlink()
        office.finds("State none is published")

    def test_a_publication_that_a_crash_interrupted_is_no_difference(self, office: Office) -> None:
        """Between the pointer and its entry: the next queue concludes it. Any other state is a
        difference still."""
        office.certify("a")
        with office.desk.database.read() as conn:
            before, after = (ledger.state_of(conn, state(number)) for number in (1, 2))
        row = {"epoch": 1, "before": before, "after": after, "facts": "{}", "done": False}
        office.change(insert(publications).values(**row))
        office.sound()
        office.point(2)
        office.sound()
        office.point(3)
        office.finds("is published")


class TestHead:
    """A signed head that is kept elsewhere."""

    def test_it_is_contained_for_ever(self, office: Office) -> None:
        heads = []
        for text in "abc":
            heads.append(office.audit().signed_head(office.keys.current()))
            office.certify(text)
            office.keys.rotate()
        for kept in heads:
            found = office.audit(against=kept)
            assert (found.ok, found.against) == (True, True)

    @pytest.mark.parametrize("desk", ["sqlite"], indirect=True)
    def test_an_older_database_is_found(self, office: Office, tmp_path: Path) -> None:
        """Put back whole, it is sound by itself."""
        office.certify("a")
        old = (office.folder.root / "requests.db").read_bytes()
        office.certify("b")
        kept = office.audit().signed_head(office.keys.current())
        office.desk.database.close()
        (office.folder.root / "requests.db").write_bytes(old)
        office.point(1)
        office.sound()
        [said] = office.audit(against=kept).differences
        assert "an older database was put in its place" in said

    def test_a_ledger_that_was_written_again_is_found(self, office: Office) -> None:
        office.desk.requests.submit(["a"], [])
        office.desk.requests.submit(["b"], [])
        kept = office.audit().signed_head(office.keys.current())
        rewrite(
            office,
            lambda rows: rows[0].update(
                entry=str(rows[0]["entry"]).replace('"quarantine":false', '"quarantine":true')
            ),
        )
        office.sound()
        [said] = office.audit(against=kept).differences
        assert "Entry 2 of the ledger is not the one" in said

    def test_another_workspaces_head(self, office: Office) -> None:
        other = export_head("0" * 12, 0, GENESIS, office.keys.current())
        [said] = office.audit(against=other).differences
        assert "of workspace 000000000000" in said

    def test_what_is_no_head_is_refused(self, office: Office, tmp_path: Path) -> None:
        """A certificate, a stranger's head, a changed one."""
        name = office.certify("a")
        head = office.audit().signed_head(office.keys.current())
        stranger: SigningKey = KeyFolder(tmp_path / "stranger").init()
        for bad in (
            office.desk.envelope(name),
            office.audit().signed_head(stranger),
            head[:-1],
            head.replace(b"sig", b"sog"),
            b"",
        ):
            with pytest.raises(VerificationError):
                office.audit(against=bad)
