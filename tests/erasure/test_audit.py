"""The audit: a sound workspace passes, and everything that is changed in its requests and
certificates behind its back is found; on SQLite and PostgreSQL."""

from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select, update

from lmeraser_ray.erasure.certificate.dsse import sign
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.operations.audit import audit
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.tables import erased, requests, targets
from tests.support.office import Office, desk, office
from tests.support.signing_desk import state
from tests.support.world import World

__all__ = ["desk", "office"]


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
    assert desk.sign() == [extended]
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
    desk.sign()
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
        found = office.finds("not among the requests", "nobody can tell whom it erased")
        assert len(found) == 2
        assert all(name in said for said in found)

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
        office.desk.sign()
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

    @pytest.mark.parametrize(
        ("column", "value"), [("outcome", "gone"), ("hash", "no hash"), ("what", "class")]
    )
    def test_a_target_that_cannot_be(
        self, office: Office, name: str, column: str, value: str
    ) -> None:
        """Somebody wrote a row into the database as the program never does."""
        one = office.desk.get(name).targets[0]
        which = (targets.c.request_id == name) & (targets.c.hash == one.hash)
        office.change(update(targets).where(which).values({column: value}))
        office.finds(f"certificate of {name} names other records or subjects")


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
