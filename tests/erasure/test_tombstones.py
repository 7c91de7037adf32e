"""Tombstones: what was erased is known again, and nothing but a keyed hash of it is kept."""

import hashlib
import hmac

import pytest
from sqlalchemy import select

from lmeraser_ray.errors import LmeraserError
from lmeraser_ray.storage.database import tables
from lmeraser_ray.storage.database.tombstones import (
    NoTombstones,
    Tombstones,
    cover_hashes,
    lift_hashes,
)
from tests.support.desk import Desk

NAMES = ["person-1/a.png", "é", "x" * 1024]


def opened(desk: Desk) -> Tombstones:
    """As the next command finds them."""
    return Tombstones(desk.names, desk.open())


def add(desk: Desk, records: list[str], subjects: list[str]) -> None:
    """Note them as erased, as planning does."""
    found = opened(desk).hashed(records, subjects)
    with desk.open().write() as connection:
        cover_hashes(connection, found, secret=1, at="2026")


def lift(desk: Desk, records: list[str], subjects: list[str]) -> int:
    """Forget them, as training with `data.readmit` does."""
    found = opened(desk).hashed(records, subjects)
    with desk.open().write() as connection:
        return len(lift_hashes(connection, found))


def kept(desk: Desk) -> list[str]:
    with desk.open().read() as connection:
        return list(connection.scalars(select(tables.tombstones.c.hash)))


def test_nothing_is_covered_at_first(desk: Desk) -> None:
    assert not opened(desk).covers("record", "x")
    assert len(opened(desk)) == 0
    assert lift(desk, [], []) == 0


def test_what_is_added_is_covered_from_then_on(desk: Desk) -> None:
    add(desk, NAMES, ["someone"])
    seen = opened(desk)
    assert all(seen.covers("record", name) for name in NAMES)
    assert seen.covers("subject", "someone")
    assert seen.cover("other", "someone")
    assert not seen.covers("record", "other")
    assert len(seen) == 4


def test_a_record_is_not_a_subject(desk: Desk) -> None:
    add(desk, ["same"], [])
    assert opened(desk).covers("record", "same")
    assert not opened(desk).covers("subject", "same")


def test_adding_adds(desk: Desk) -> None:
    add(desk, ["a"], [])
    add(desk, ["b"], ["s"])
    add(desk, ["a"], [])
    seen = opened(desk)
    assert len(seen) == 3
    assert seen.covers("record", "a")
    assert seen.covers("record", "b")


def test_lifting_forgets_and_only_that(desk: Desk) -> None:
    add(desk, ["a", "b"], ["a"])
    assert lift(desk, ["a", "unknown"], []) == 1
    seen = opened(desk)
    assert not seen.covers("record", "a")
    assert seen.covers("subject", "a")
    assert seen.covers("record", "b")
    assert lift(desk, [], ["a"]) == 1
    assert not opened(desk).covers("subject", "a")
    assert len(opened(desk)) == 1


def test_hashes_within_a_transaction_that_fails_are_not_kept(desk: Desk) -> None:
    add(desk, ["a"], [])
    found = desk.names.hash("record", "a")
    with pytest.raises(ZeroDivisionError), desk.open().write() as connection:
        cover_hashes(connection, ["other", found], secret=1, at="2026")
        assert lift_hashes(connection, [found, "unknown"]) == {found}
        raise ZeroDivisionError
    assert kept(desk) == [found]
    with desk.open().write() as connection:
        cover_hashes(connection, ["other", found, "other"], secret=1, at="2026")
    assert sorted(kept(desk)) == sorted(["other", found])


def test_only_keyed_hashes_are_kept(desk: Desk) -> None:
    """Not the id, nor its plain SHA-256, which anyone could look for."""
    add(desk, NAMES, NAMES)
    secret = (desk.root / "secret").read_bytes()
    wanted = {
        hmac.new(secret, f"{what}\n{name}".encode(), "sha256").hexdigest()
        for what in ("record", "subject")
        for name in NAMES
    }
    assert set(kept(desk)) == wanted
    found = desk.bytes()
    assert next(iter(wanted)).encode() in found
    for name in NAMES[::2]:
        assert name.encode() not in found
        assert hashlib.sha256(name.encode()).hexdigest().encode() not in found


def test_a_file_of_version_0_2_0_is_taken_over_once(desk: Desk) -> None:
    hashes = [desk.names.hash("record", "a"), desk.names.hash("subject", "s")]
    desk.open()
    (desk.root / "tombstones").write_text("".join(f"{found}\n" for found in hashes))
    stones = opened(desk)
    assert stones.covers("record", "a")
    assert stones.covers("subject", "s")
    assert not (desk.root / "tombstones").exists()
    assert lift(desk, ["a"], []) == 1
    (desk.root / "tombstones").write_text(
        "".join(f"{found}\n" for found in hashes)
    )  # a crash before it went
    assert len(opened(desk)) == 2


@pytest.mark.parametrize("secret", [None, b"", b"short", b"another secret of 32 bytes......"])
def test_without_its_secret_nothing_can_be_told(desk: Desk, secret: bytes | None) -> None:
    """An answer of no would let the erased in again. Errors instead, and makes no new secret."""
    add(desk, ["a"], [])
    (desk.root / "secret").unlink() if secret is None else (desk.root / "secret").write_bytes(
        secret
    )
    with pytest.raises(LmeraserError, match="secret"):
        opened(Desk(desk.root, desk.url))
    assert (desk.root / "secret").exists() == (secret is not None)


def test_a_study_has_none() -> None:
    assert not NoTombstones().covers("record", "a")
    assert not NoTombstones().cover("a", "s")
