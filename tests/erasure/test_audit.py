"""The audit: a sound workspace passes, and everything that can be changed behind its back is found;
on SQLite and PostgreSQL."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select, update

from lmeraser_ray.cli import main as cli
from lmeraser_ray.config import Config
from lmeraser_ray.erasure.certificate.dsse import SigningKey, sign
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.certificate.ledger_head import export_head
from lmeraser_ray.erasure.certificate.signer import certify_pending
from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.operations.audit import Audit, audit
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.ledger import GENESIS, hash_of
from lmeraser_ray.storage.database.tables import erased, publications, requests, targets
from lmeraser_ray.storage.database.tables import ledger as ledger_table
from lmeraser_ray.storage.store import StoredObject
from tests.support.signing_desk import Desk, signing_desk, state
from tests.support.world import World

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

    def point(self, fingerprint: str | None = None) -> None:
        """Publish a state; the desk's last one, if none is named."""
        with self.folder.locked() as workspace:
            workspace.save_config(Config())
            workspace.write_pointer(
                StoredObject("manifests", fingerprint or state(self.desk.published), "0" * 64)
            )

    def certify(self, *records: str, subject: str | None = None) -> str:
        name = self.desk.certify(*records, subject=subject)
        self.point()
        return name

    def audit(self, **options: bytes | None) -> Audit:
        return audit(self.session, self.keys.public_keys(), **options)  # type: ignore[arg-type]

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


def test_a_sound_workspace_passes(office: Office) -> None:
    """Requests in every state, deadlines extended, tried again, keys rotated between."""
    office.sound()
    desk = office.desk
    office.certify("a", subject="s")
    desk.keys.rotate()
    office.certify("b", "c")
    extended = desk.purge("d")
    office.point()
    desk.requests.extend(extended, 2, "many requests")
    office.sound()
    assert certify_pending(desk.database, desk.keys) == [extended]
    desk.requests.cancel(desk.requests.submit(["e"], []).id, "a mistake")
    desk.requests.refuse(desk.requests.submit(["f"], []).id, "a legal hold")
    failed = desk.requests.submit(["g"], []).id
    with desk.database.write() as conn:
        transitions.fail(conn, failed, "its shard cannot be trained")
    office.sound()
    desk.requests.retry(failed)
    early = desk.publish("h")
    office.point()
    desk.requests.extend(early, 1, "many requests")
    desk.freeze(early)
    certify_pending(desk.database, desk.keys)
    desk.requests.submit(["i"], [])
    found = office.audit()
    assert found.differences == ()
    assert (found.requests, found.certificates, found.fingerprint) == (8, 4, state(4))
    with desk.database.read() as conn:
        assert found.head == ledger.head(conn)


class TestRequests:
    """What is changed in the rows of requests."""

    @pytest.fixture
    def name(self, office: Office) -> str:
        """A certified request among others."""
        office.certify("before")
        name = office.certify("a", "b", subject="s")
        office.certify("after")
        office.sound()
        return name

    def test_one_that_is_taken_out(self, office: Office, name: str) -> None:
        for table in (targets, erased):
            office.change(delete(table).where(table.c.request_id == name))
        office.change(delete(requests).where(requests.c.id == name))
        [said] = office.finds("not among the requests")
        assert name in said

    def test_one_that_nobody_submitted(self, office: Office, name: str) -> None:
        with office.desk.database.read() as conn:
            row = dict(conn.execute(select(requests).where(requests.c.id == name)).mappings().one())
        office.change(
            insert(requests).values(
                **{**row, "id": "er-20260101-0000000000000000", "state": "RECEIVED"}
            )
        )
        office.finds("er-20260101-0000000000000000 is among the requests and not in the ledger")

    def test_another_state(self, office: Office, name: str) -> None:
        waiting = office.desk.requests.submit(["x"], []).id
        for other in ("CANCELLED", "CERTIFIED"):
            office.change(update(requests).where(requests.c.id == waiting).values(state=other))
            office.finds(f"{waiting} is {other} in the database, and RECEIVED by the ledger")
        office.change(update(requests).where(requests.c.id == waiting).values(state="RECEIVED"))
        office.change(update(requests).where(requests.c.id == name).values(state="PURGED"))
        office.finds(f"{name} is PURGED in the database, and CERTIFIED by the ledger")

    @pytest.mark.parametrize("column", ["due_at", "extended_at", "received_at"])
    def test_other_times(self, office: Office, name: str, column: str) -> None:
        office.change(
            update(requests)
            .where(requests.c.id == name)
            .values({column: "2030-01-01T00:00:00.000000Z"})
        )
        office.finds(
            f"{name} has another deadline" if column != "received_at" else "other times of receipt"
        )

    def test_an_extension_that_is_taken_back(self, office: Office, name: str) -> None:
        late = office.desk.publish("late")
        office.point()
        office.desk.requests.extend(late, 2, "many requests")
        office.desk.freeze(late)
        certify_pending(office.desk.database, office.desk.keys)
        office.sound()
        office.change(update(requests).where(requests.c.id == late).values(extended_at=None))
        office.finds(f"{late} has another deadline", "other times of receipt or deadline")

    def test_other_targets_and_records(self, office: Office, name: str) -> None:
        of = targets.c.request_id == name
        office.change(
            update(targets).where(of, targets.c.what == "subject").values(outcome="already")
        )
        office.finds(f"certificate of {name} names other records or subjects, or another outcome")
        office.change(
            update(targets).where(of, targets.c.what == "subject").values(outcome="removed")
        )
        office.sound()
        office.change(delete(erased).where(erased.c.hash == office.desk.names.hash("record", "a")))
        office.finds(f"certificate of {name} has other removed records")


class TestCertificates:
    """What is done to certificates."""

    @pytest.fixture
    def name(self, office: Office) -> str:
        name = office.certify("a")
        office.certify("b")
        office.sound()
        return name

    def put(self, office: Office, name: str, envelope: bytes | None) -> None:
        office.change(update(requests).where(requests.c.id == name).values(envelope=envelope))

    def test_any_byte(self, office: Office, name: str) -> None:
        whole = office.desk.envelope(name)
        for at in range(0, len(whole), len(whole) // 12):
            self.put(office, name, whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            office.finds(f"The certificate of {name}: ")
        for bad in (None, b"", whole[:-1], whole + b"\n"):
            self.put(office, name, bad)
            office.finds(f"The certificate of {name}: ")
        self.put(office, name, whole)
        office.sound()

    def test_another_requests_certificate(self, office: Office, name: str) -> None:
        other = office.certify("c")
        self.put(office, name, office.desk.envelope(other))
        office.finds(
            "is not the one that the ledger has",
            f"is about {other}",
            "is not over the statement that was frozen",
        )

    def test_a_forged_one(self, office: Office, name: str, tmp_path: Path) -> None:
        """By a key that nobody trusts; and by the right key, after the fact."""
        statement = office.desk.get(name).statement
        assert statement
        forger = KeyFolder(tmp_path / "forger").init()
        self.put(office, name, sign(statement, forger))
        office.finds(forger.keyid, "--public_key")
        later = office.desk.keys.rotate()
        self.put(office, name, sign(statement, later))
        office.finds(f"certificate of {name} is not the one that the ledger has")

    def test_another_frozen_statement(self, office: Office, name: str) -> None:
        office.change(update(requests).where(requests.c.id == name).values(statement=b"{}"))
        office.finds(f"certificate of {name} is not over the statement that was frozen")

    def test_a_lost_public_key(self, office: Office, name: str) -> None:
        [path] = (office.keys.path / "public").iterdir()
        path.unlink()
        office.finds("no public key is at hand")


def rewrite(office: Office, edit: Callable[[list[dict[str, object]]], object]) -> None:
    """Change the ledger as somebody would who can write to the database and knows how the chain is
    made: all hashes are right again."""
    with office.desk.database.write() as conn:
        rows = [
            dict(row)
            for row in conn.execute(select(ledger_table).order_by(ledger_table.c.seq)).mappings()
        ]
        edit(rows)
        conn.execute(delete(ledger_table))
        previous = GENESIS
        for seq, row in enumerate(rows, 1):
            text = json.dumps(
                {**json.loads(str(row["entry"])), "seq": seq}, sort_keys=True, separators=(",", ":")
            )
            fixed = {
                "seq": seq,
                "previous": previous,
                "entry": text,
                "hash": hash_of(previous, text),
            }
            conn.execute(insert(ledger_table).values(**{**row, **fixed}))
            previous = hash_of(previous, text)
        assert ledger.check(conn) == []


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
            f"became {state(1)[:12]}…, and the ledger has no such publication",
            "by another hash than it has",
        )


class TestStates:
    """Which state followed on which."""

    def note(self, office: Office, kind: str, before: str | None, after: str) -> None:
        with office.desk.database.write() as conn:
            ledger.append(conn, kind, None, {"before": before, "after": after})

    def test_a_training_between_is_in_the_ledger(self, office: Office) -> None:
        office.certify("a")
        self.note(office, "TRAINED", state(1), state(7))
        office.point(state(7))
        office.sound()
        self.note(
            office, "TRAINED", None, state(8)
        )  # what was published was damaged: all was built from the source
        office.point(state(8))
        office.sound()

    def test_a_state_that_came_past_the_ledger(self, office: Office) -> None:
        office.certify("a")
        office.desk.published = 5
        office.certify("b")
        office.finds(f"follows on state {state(5)[:12]}…, and entry")
        assert len(office.audit().differences) == 1

    def test_another_state_than_the_last_is_published(self, office: Office) -> None:
        office.certify("a")
        office.certify("b")
        office.point(state(1))
        office.finds(f"State {state(1)[:12]}… is published, and the last one in the ledger")
        office.point(state(9))
        office.finds(f"State {state(9)[:12]}… is published")
        (office.folder.root / "CURRENT").unlink()
        office.finds("State none is published")

    def test_a_publication_that_a_crash_interrupted_is_no_difference(self, office: Office) -> None:
        """Between the pointer and its entry: the next queue concludes it. Any other state is a
        difference still."""
        office.certify("a")
        row = {"epoch": 1, "before": state(1), "after": state(2), "facts": "{}", "done": False}
        office.change(insert(publications).values(**row))
        office.sound()
        office.point(state(2))
        office.sound()
        office.point(state(3))
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
        office.point(state(1))
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


@dataclass(frozen=True)
class Said:
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.mark.parametrize("desk", ["sqlite"], indirect=True)
class TestVerbs:
    """The command line."""

    @pytest.fixture
    def lm(
        self,
        capfd: pytest.CaptureFixture[str],
        office: Office,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> Callable[..., Said]:
        """Run a command in this process; the default key folder is a new one."""
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        monkeypatch.delenv("LMERASER_KEYS", raising=False)

        def run(*words: object) -> Said:
            capfd.readouterr()
            code = cli.run(None, [str(word) for word in words])
            return Said(code, *capfd.readouterr())

        return run

    def test_keys(self, lm: Callable[..., Said], tmp_path: Path) -> None:
        none = json.loads(lm("keys", "list", "--json").out)
        assert none == {
            "folder": str(tmp_path / "config" / "lmeraser_ray" / "keys"),
            "signs": None,
            "keys": [],
        }
        where = ("--keys", tmp_path / "own")
        assert lm("keys", "list", *where).code == 2
        first = json.loads(lm("keys", "init", *where, "--json").out)["signs"]
        assert lm("keys", "init", *where).code == 2
        said = lm("keys", "rotate", *where, "--json")
        data = json.loads(said.out)
        assert data["signs"] != first
        assert {entry["key"]: entry["signs"] for entry in data["keys"]} == {
            first: False,
            data["signs"]: True,
        }
        assert all(Path(entry["file"]).is_file() for entry in data["keys"])
        text = lm("keys", "list", *where).out
        assert f"* {data['signs']}" in text
        assert f"  {first}" in text
        assert "PRIVATE" not in text + said.out

    def test_a_certificate_from_the_workspace_to_an_auditor_without_one(
        self,
        lm: Callable[..., Said],
        office: Office,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Written to a file, and checked in an empty folder with the public key alone; any changed
        byte, another key: exit code 4."""
        name = office.certify("a", subject="s")
        away = tmp_path / "away"
        away.mkdir()
        where = ("--workspace", office.folder.root)
        said = lm("certificate", name, *where, "--output", away / "c.json")
        assert (said.code, said.err.count("\n")) == (0, 1)
        assert "signature was not checked" in said.err
        assert (away / "c.json").read_bytes() == office.desk.envelope(name)
        key = office.keys.current()
        shutil.copy(office.keys.public_path(key.keyid), away / "key.pem")
        with_keys = lm("certificate", name, *where, "--keys", office.keys.path, "--json")
        assert with_keys.err == ""
        assert json.loads(with_keys.out)["envelope"].encode() == office.desk.envelope(name)
        monkeypatch.chdir(away)
        words = ("verify", "--certificate", "c.json", "--public_key", "key.pem")
        text = lm(*words)
        assert text.code == 0
        for word in (
            "ok:",
            key.keyid,
            name,
            state(0),
            state(1),
            "in time",
            "NIST SP 800-88",
            "2 removed",
            "1 record;",
            "41 files, 12,475 bytes, in 2 places",
            ": 0 found",
        ):
            assert word in text.out, word
        data = json.loads(lm(*words, "--json").out)
        assert (data["ok"], data["key"], data["request"], data["deadline"]["met"]) == (
            True,
            key.keyid,
            name,
            True,
        )
        assert data["statement"]["predicate"]["state"] == {"before": state(0), "after": state(1)}
        unknown = lm("verify", "--certificate", "c.json")
        assert (unknown.code, unknown.out) == (4, "")
        assert key.keyid in unknown.err
        assert "--public_key" in unknown.err
        whole = (away / "c.json").read_bytes()
        for at in (0, len(whole) // 3, len(whole) - 1):
            (away / "c.json").write_bytes(whole[:at] + bytes([whole[at] ^ 2]) + whole[at + 1 :])
            changed = lm(*words)
            assert (changed.code, changed.out, changed.err.count("\n")) == (4, "", 1)
            assert "c.json does not verify. " in changed.err
        assert sorted(path.name for path in away.iterdir()) == ["c.json", "key.pem"]

    def test_what_has_no_certificate(
        self, lm: Callable[..., Said], office: Office, tmp_path: Path
    ) -> None:
        waiting = office.desk.requests.submit(["x"], []).id
        where = ("--workspace", office.folder.root)
        assert (
            lm("certificate", waiting, *where).code,
            "is RECEIVED" in lm("certificate", waiting, *where).err,
        ) == (3, True)
        assert lm("certificate", "er-20260101-0000000000000000", *where).code == 3
        assert lm("certificate", waiting, "--workspace", tmp_path / "none").code == 2
        assert lm("verify", "--certificate", tmp_path / "none").code == 2
        assert lm("verify", "--public_key", tmp_path / "none").code == 2
        assert lm("verify", "--certificate", tmp_path, "--rebuild").code == 2

    def test_audit(self, lm: Callable[..., Said], office: Office, tmp_path: Path) -> None:
        name = office.certify("a")
        words = ("audit", "--workspace", office.folder.root, "--keys", office.keys.path)
        head = tmp_path / "head.json"
        said = lm(*words, "--head", head)
        assert (said.code, said.out.splitlines()[0]) == (
            0,
            f"ok: {office.audit().head.seq} ledger entries in one chain, 1 request, 1 certificate "
            "verified",
        )
        assert "keep it where" in said.err
        data = json.loads(lm(*words, "--against", head, "--json").out)
        assert {
            field: data[field]
            for field in ("ok", "requests", "certificates", "differences", "against", "rebuilt")
        } == {
            "ok": True,
            "requests": 1,
            "certificates": 1,
            "differences": [],
            "against": True,
            "rebuilt": False,
        }
        office.change(delete(ledger_table).where(ledger_table.c.seq == data["entries"]))
        again = tmp_path / "again.json"
        bad = lm(*words, "--against", head, "--head", again)
        assert bad.code == 4
        assert bad.out.startswith("not ok: 2 differences, the first is:\n")
        assert name in bad.out
        assert not again.exists(), "a broken ledger is not signed"
        assert json.loads(lm(*words, "--json").out)["ok"] is False
        assert lm(*words, "--against", tmp_path / "none").code == 2

    def test_the_first_head_makes_a_key_and_says_so(
        self, lm: Callable[..., Said], office: Office, tmp_path: Path
    ) -> None:
        said = lm("audit", "--workspace", office.folder.root, "--head", tmp_path / "head.json")
        assert said.code == 0
        assert "a signing key was made in" in said.err
        assert (
            lm("audit", "--workspace", office.folder.root, "--against", tmp_path / "head.json").code
            == 0
        )


def test_rebuild_trains_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a real workspace, trained twice: sound, and not once a constituent's bytes are others."""
    monkeypatch.delenv("LMERASER_DATABASE", raising=False)
    world, session = World(tmp_path / "world", n=20), Session(tmp_path / "workspace")
    train(session, world.without(world.ids[:2]))
    train(session, world.config())
    found = audit(session, {}, rebuild=True)
    assert (found.differences, found.rebuilt) == ((), True)
    assert found.fingerprint == session.folder.require_published().fingerprint
    with session.database() as database, database.read() as conn:
        chain = [entry.facts for entry in ledger.entries(conn) if entry.kind == "TRAINED"]
    assert [facts["before"] for facts in chain] == [None, chain[0]["after"]]
    path = next((session.root / "objects" / "constituents").iterdir())
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert audit(session, {}).ok
    assert path.name in audit(session, {}, rebuild=True).differences[0]
