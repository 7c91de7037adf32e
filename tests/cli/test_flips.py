"""Flips in the two small files beside the database: the pin, and the lock."""

import fcntl

import pytest

from tests.support.command_line import Lm, Place, everything


def test_verify_names_a_pin_that_changed_and_a_restore_mends_it(lm: Lm, place: Place) -> None:
    """Where the database was is for people to read: commands go on, and `verify` says it."""
    tar = place.root.parent / "b.tar"
    assert lm("backup", "--workspace", place.root, "--to", tar).code == 0
    pin = place.root / "database"
    pin.write_bytes(pin.read_bytes().replace(b"requests.db", b"requests.dB"))
    assert lm("status", "--workspace", place.root).code == 0
    said = lm("verify", "--workspace", place.root)
    assert (said.code, "database is damaged" in said.out) == (4, True)
    assert lm("restore", "--workspace", place.root, "--from", tar).code == 0
    assert lm("verify", "--workspace", place.root).code == 0


@pytest.mark.parametrize("text", [b"", b"12\xff4", b"\x1b[2Jgone", b"1" * 4000])
def test_what_the_lock_says_is_a_number_or_unknown(lm: Lm, place: Place, text: bytes) -> None:
    """Whoever holds the lock writes its process id; no command depends on it, and none prints
    anything else."""
    (place.root / "lock").write_bytes(text)
    before = everything(place.root)
    with open(place.root / "lock", "r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = lm("verify", "--workspace", place.root)
    assert said.code == 5
    assert "Another command (process unknown)" in said.err or "(process 1111" in said.err
    assert said.err.strip().isprintable()
    assert everything(place.root) == before
    assert lm("verify", "--workspace", place.root).code == 0
