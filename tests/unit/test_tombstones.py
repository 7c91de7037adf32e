"""Tombstones: what was erased is known again, and nothing but a keyed hash of it is kept."""

import hashlib
import hmac
from pathlib import Path

import pytest

from lmeraser_ray.errors import LmeraserError
from lmeraser_ray.state.tombstones import Tombstones

NAMES = ["person-1/a.png", "é", "x" * 1024]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tmp").mkdir()
    return tmp_path


def opened(folder: Path) -> Tombstones:
    """As the next command finds them."""
    return Tombstones(folder, folder / "tmp")


def test_nothing_is_covered_and_nothing_is_written_at_first(folder: Path) -> None:
    assert not opened(folder).covers("record", "x")
    assert len(opened(folder)) == 0
    assert opened(folder).lift([], []) == 0
    assert [path.name for path in folder.iterdir()] == ["tmp"]


def test_what_is_added_is_covered_from_then_on(folder: Path) -> None:
    stones = opened(folder)
    stones.add(NAMES, ["someone"])
    for seen in (stones, opened(folder)):
        assert all(seen.covers("record", name) for name in NAMES)
        assert seen.covers("subject", "someone")
        assert not seen.covers("record", "other")
        assert len(seen) == 4


def test_a_record_is_not_a_subject(folder: Path) -> None:
    opened(folder).add(["same"], [])
    assert opened(folder).covers("record", "same")
    assert not opened(folder).covers("subject", "same")


def test_adding_adds(folder: Path) -> None:
    opened(folder).add(["a"], [])
    opened(folder).add(["b"], ["s"])
    opened(folder).add(["a"], [])
    seen = opened(folder)
    assert len(seen) == 3
    assert seen.covers("record", "a")
    assert seen.covers("record", "b")


def test_the_file_is_a_function_of_the_set(folder: Path) -> None:
    """No order of erasure is left in it."""
    opened(folder).add(["a"], [])
    opened(folder).add(["b"], [])
    one = (folder / "tombstones").read_bytes()
    (folder / "tombstones").unlink()
    opened(folder).add(["b"], [])
    opened(folder).add(["a"], [])
    assert (folder / "tombstones").read_bytes() == one


def test_lifting_forgets_and_only_that(folder: Path) -> None:
    opened(folder).add(["a", "b"], ["a"])
    assert opened(folder).lift(["a", "unknown"], []) == 1
    seen = opened(folder)
    assert not seen.covers("record", "a")
    assert seen.covers("subject", "a")
    assert seen.covers("record", "b")
    assert opened(folder).lift([], ["a"]) == 1
    assert not opened(folder).covers("subject", "a")
    assert len(opened(folder)) == 1


def test_only_keyed_hashes_are_kept(folder: Path) -> None:
    """Not the id, nor its plain SHA-256, which anyone could look for."""
    opened(folder).add(NAMES, NAMES)
    text = (folder / "tombstones").read_text()
    secret = (folder / "secret").read_bytes()
    assert text.splitlines() == sorted(
        hmac.new(secret, f"{what}\n{name}".encode(), "sha256").hexdigest() for what in ("record", "subject") for name in NAMES
    )
    for name in NAMES:
        assert name not in text
        assert hashlib.sha256(name.encode()).hexdigest() not in text


def test_secrets_are_for_their_owner_only_and_differ(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "tmp").mkdir()
    for place in (folder, other):
        opened(place).add(["a"], [])
        assert (place / "secret").stat().st_mode & 0o777 == 0o600
        assert (place / "tombstones").stat().st_mode & 0o777 == 0o600
        assert len((place / "secret").read_bytes()) == 32
    assert (folder / "secret").read_bytes() != (other / "secret").read_bytes()
    assert (folder / "tombstones").read_bytes() != (other / "tombstones").read_bytes()


@pytest.mark.parametrize("secret", [None, b"", b"short"])
def test_without_its_secret_nothing_can_be_told(folder: Path, secret: bytes | None) -> None:
    """An answer of no would let the erased in again. Errors instead, and makes no new secret."""
    opened(folder).add(["a"], [])
    (folder / "secret").unlink() if secret is None else (folder / "secret").write_bytes(secret)
    with pytest.raises(LmeraserError, match="secret"):
        opened(folder).covers("record", "a")
    assert (folder / "secret").exists() == (secret is not None)
