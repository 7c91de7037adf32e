"""Pseudonymizer: keyed hashes under a secret that is made once, and never again where something
needs it."""

import hmac
from pathlib import Path

import pytest

from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.files import create_once
from tests.support import desk_acts
from tests.support.desk import ended, start


def names_of(root: Path) -> Pseudonymizer:
    return Pseudonymizer(root, root / "objects" / "tmp")


def test_a_hash_is_keyed_and_knows_its_kind(tmp_path: Path) -> None:
    found = names_of(tmp_path).hash("record", "é\n1")
    assert (
        found
        == hmac.new(
            (tmp_path / "secret").read_bytes(), "record\né\n1".encode(), "sha256"
        ).hexdigest()
    )
    assert names_of(tmp_path).hash("record", "é\n1") == found
    assert names_of(tmp_path).hash("subject", "é\n1") != found


def test_a_workspace_is_told_by_its_secret(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = names_of(tmp_path / "a").workspace_id
    assert len(first) == 12
    assert first == names_of(tmp_path / "a").workspace_id != names_of(tmp_path / "b").workspace_id
    assert first not in (tmp_path / "a" / "secret").read_bytes().hex()


def test_the_secret_is_its_owners_only(tmp_path: Path) -> None:
    names_of(tmp_path).hash("record", "a")
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert len((tmp_path / "secret").read_bytes()) == 32
    assert list((tmp_path / "objects" / "tmp").iterdir()) == []


@pytest.mark.parametrize("needed", ["database", "requests.db", "tombstones"])
def test_a_missing_secret_that_is_needed_is_not_made_anew(tmp_path: Path, needed: str) -> None:
    (tmp_path / needed).write_text("")
    names_of(tmp_path).hash("record", "a")  # an empty file needs none
    (tmp_path / "secret").unlink()
    (tmp_path / needed).write_text("something hashed")
    with pytest.raises(
        VerificationError, match="secret is missing, so nobody can tell who was erased"
    ):
        names_of(tmp_path).hash("record", "a")
    assert not (tmp_path / "secret").exists()


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_damaged_secret_is_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "secret").write_bytes(b"x" * size)
    with pytest.raises(VerificationError, match="secret is damaged"):
        names_of(tmp_path).hash("record", "a")


def test_many_that_need_the_first_secret_at_once_have_one(tmp_path: Path) -> None:
    assert ended([start(desk_acts.hash_one, tmp_path, number) for number in range(16)]) == [0] * 16
    assert len({path.read_text() for path in tmp_path.glob("*.hash")}) == 1


def test_a_file_that_is_made_once_survives_a_cleared_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another command clears the scratch folder between the writing and the link: the file is made
    all the same."""
    import os

    link, seen = os.link, []

    def late(source: Path, to: Path) -> None:
        if not seen:
            seen.append(source)
            Path(source).unlink()
        link(source, to)

    monkeypatch.setattr(os, "link", late)
    assert create_once(tmp_path / "secret", b"whole", scratch=tmp_path / "tmp")
    assert not create_once(tmp_path / "secret", b"other", scratch=tmp_path / "tmp")
    assert (tmp_path / "secret").read_bytes() == b"whole"
    assert len(seen) == 1
