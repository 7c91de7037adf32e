"""A rotated secret: what was hashed before is recognised, an older or another copy is noticed, a
version is retired only when nothing needs it."""

from pathlib import Path

import pytest
from sqlalchemy import select

from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.errors import ConfigError, ExecutionError, VerificationError
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.keyring import Keyring
from lmeraser_ray.storage.database.secret_versions import needed
from lmeraser_ray.storage.database.tombstones import Tombstones, cover_hashes, lift_hashes
from tests.support.desk import Desk
from tests.support.rotation import retire, rotate


def cover(desk: Desk, name: str) -> None:
    with desk.open().write() as connection:
        found = [desk.names.hash("record", name)]
        cover_hashes(connection, found, secret=desk.names.version, at="2026")


def kinds(desk: Desk) -> list[tuple[str, object]]:
    with desk.open().read() as connection:
        return [(one.kind, one.facts.get("version")) for one in ledger.entries(connection)]


def test_what_was_erased_before_a_rotation_is_known_after_it(desk: Desk) -> None:
    cover(desk, "old")
    later = rotate(desk)
    assert later.names.workspace_id == desk.names.workspace_id
    cover(later, "new")
    stones = Tombstones(later.names, later.open())
    assert stones.covers("record", "old")
    assert stones.covers("record", "new")
    assert not stones.covers("record", "other")
    assert not stones.covers("subject", "old")
    assert len(stones) == 2
    assert kinds(later) == [("ROTATED", 2)]
    assert later.names.hash("record", "old") != desk.names.hash("record", "old")
    with later.open().write() as connection:  # as training with data.readmit
        assert len(lift_hashes(connection, stones.hashed(["old", "new"], []))) == 2
    assert len(Tombstones(later.names, later.open())) == 0


def test_a_rotation_that_was_not_noted_is_noted_by_the_next_command(desk: Desk) -> None:
    """The process died between the keyring and the database."""
    cover(desk, "old")
    rotate(rotate(desk)).open()
    assert kinds(desk_of(desk)) == [("ROTATED", 2), ("ROTATED", 3)]
    desk_of(desk).open()
    assert len(kinds(desk_of(desk))) == 2


def desk_of(desk: Desk) -> Desk:
    return Desk(desk.root, desk.url)


def test_an_older_copy_of_the_secret_is_refused(desk: Desk) -> None:
    """It would not know who was erased since the rotation."""
    desk.open()
    older = (desk.root / "secret").read_bytes()
    rotate(desk).open()
    (desk.root / "secret").write_bytes(older)
    with pytest.raises(VerificationError, match="has no version 2, and"):
        desk_of(desk).open()


def test_another_version_two_is_refused(desk: Desk) -> None:
    desk.open()
    first = Keyring.inside((desk.root / "secret").read_bytes())
    rotate(desk).open()
    (desk.root / "secret").write_bytes(first.rotated(b"?" * 32).to_bytes())
    with pytest.raises(VerificationError, match="Version 2 of the secret is not the one"):
        desk_of(desk).open()


def test_another_master_secret_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workspace's id is in its marker, so that only the seals can tell."""
    (desk.root / "secret").unlink(missing_ok=True)
    monkeypatch.setenv("LMERASER_SECRET", "env:SECRET_OF_TEST")
    monkeypatch.setenv("SECRET_OF_TEST", "ab" * 32)
    desk = desk_of(desk)
    cover(desk, "a")
    monkeypatch.setenv("SECRET_OF_TEST", "cd" * 32)
    with pytest.raises(VerificationError, match="Version 1 of the secret is not the one"):
        desk_of(desk).open()


def test_requests_across_a_rotation(desk: Desk) -> None:
    """An idempotency key stands for one request, and a quota counts all of them."""
    first = desk.requests().submit(["a", "b"], ["s"], key="k", submitter="me")
    later = rotate(desk)
    again = later.requests().submit(["b", "a"], ["s"], key="k", submitter="me")
    assert again.id == first.id
    with pytest.raises(ConfigError, match="names other ids"):
        later.requests().submit(["a"], ["s"], key="k", submitter="me")
    second = later.requests().submit(["a"], [], key="other", submitter="me", quota=2)
    assert (first.secret, second.secret) == (1, 2)
    with pytest.raises(ConfigError, match="has 2 unanswered requests"):
        later.requests().submit(["c"], [], submitter="me", quota=2)
    later.requests().submit(["c"], [], submitter="other", quota=2)


def test_a_process_that_read_the_secret_before_is_refused(desk: Desk) -> None:
    """Two requests with one idempotency key would be two."""
    mine = desk.requests()
    mine.submit(["a"], [], key="k")
    rotate(desk).open()
    with pytest.raises(ExecutionError, match="rotated meanwhile"):
        mine.submit(["a"], [], key="k")
    assert desk_of(desk).requests().counts()[State.RECEIVED] == 1


def test_a_version_is_retired_only_when_nothing_needs_it(desk: Desk) -> None:
    cover(desk, "old")
    request = desk.requests().submit(["a"], [])
    later = rotate(desk)
    with later.open().read() as connection:
        assert needed(connection) == {1: 2}
    assert retire(later).names.versions == (2, 1)
    with later.open().write() as connection:
        lift_hashes(connection, [desk.names.hash("record", "old")])
    assert retire(later).names.versions == (2, 1)
    later.requests().cancel(request.id, "withdrawn")
    gone = retire(later)
    gone.open()
    assert gone.names.versions == (2,)
    assert gone.names.seal("x", b"", version=1) == desk.names.seal("x", b"")
    assert kinds(gone)[-1] == ("RETIRED", 1)
    older = desk.names.keyring.secrets[1]
    assert older not in (desk.root / "secret").read_bytes()
    assert older.hex().encode() not in (desk.root / "secret").read_bytes()


def test_a_keyring_without_a_version_that_is_needed_is_refused(desk: Desk) -> None:
    """Whoever edits the keyring by hand, where it lies outside."""
    cover(desk, "old")
    later = rotate(desk)
    later.open()
    (desk.root / "secret").write_bytes(later.names.keyring.retire(1).to_bytes())
    with pytest.raises(VerificationError, match="has retired version 1"):
        desk_of(desk).open()


def test_an_empty_database_under_an_old_keyring_has_no_entries(desk: Desk, tmp_path: Path) -> None:
    """As before a restore: the ledger of the backup is to continue it."""
    ring = Keyring.own(b"1" * 32).rotated(b"2" * 32).retire(1)
    (desk.root / "secret").write_bytes(ring.to_bytes())
    assert kinds(desk_of(desk)) == []


def test_a_retired_version_does_not_come_back(desk: Desk) -> None:
    desk.open()
    kept = (rotate(desk).root / "secret").read_bytes()
    retire(desk_of(desk)).open()
    (desk.root / "secret").write_bytes(kept)
    with pytest.raises(VerificationError, match="Version 1 of the secret is not the one"):
        desk_of(desk).open()


def test_tables_of_the_earlier_format_have_version_one(lite: Desk, tmp_path: Path) -> None:
    """Before versions were noted: a database that a release before 0.6.0 made."""
    cover(lite, "old")
    with lite.open().write() as connection:
        connection.exec_driver_sql("DROP TABLE secrets")
        connection.exec_driver_sql("ALTER TABLE tombstones DROP COLUMN at")
        connection.exec_driver_sql("ALTER TABLE tombstones DROP COLUMN secret")
        connection.exec_driver_sql("UPDATE workspace SET format = 1")
    pin = lite.root / "database"
    pin.write_text(f"{pin.read_text().splitlines()[0]}\n")
    with lite.open().read() as connection:
        assert connection.scalar(select(tables.secrets.c.version)) == 1
        row = connection.execute(select(tables.tombstones)).one()
    assert row.secret == 1
    assert row.at > "2026"
    assert "ROTATED" not in [kind for kind, _ in kinds(lite)]
