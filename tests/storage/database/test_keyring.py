"""Keyring: versions of the secret, their file, and what is told of a retired one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmeraser_ray.storage.database.keyring import Keyring
from lmeraser_ray.storage.digests import keyed_hash

FIRST, SECOND = b"1" * 32, b"2" * 32
RING = Keyring.own(FIRST).rotated(SECOND)
MASTER = Keyring.from_bytes(FIRST.hex().encode() + b"\n")


def test_a_workspace_keeps_its_id_when_its_secret_is_rotated() -> None:
    assert RING.workspace == Keyring.own(FIRST).workspace != Keyring.own(SECOND).workspace
    assert RING.version == 2
    assert RING.secrets == {1: FIRST, 2: SECOND}


def test_a_keyring_is_read_as_it_was_written() -> None:
    for ring in (RING, RING.retire(1), Keyring.inside(FIRST), MASTER.rotated(SECOND)):
        assert Keyring.from_bytes(ring.to_bytes()) == ring


def test_a_retired_version_leaves_its_seals_and_no_hash() -> None:
    gone = RING.retire(1)
    assert gone.sealing_key(1) == RING.sealing_key(1)
    assert gone.version == 2
    assert FIRST.hex().encode() not in gone.to_bytes()
    assert gone.workspace == RING.workspace


def test_workspaces_that_share_a_master_secret_have_secrets_of_their_own() -> None:
    one, other = MASTER.of_workspace("a" * 12), MASTER.of_workspace("b" * 12)
    assert len({FIRST, one.secrets[1], other.secrets[1]}) == 3
    assert one == MASTER.of_workspace("a" * 12)
    assert MASTER.rotated(SECOND).of_workspace("a" * 12).secrets[1] == one.secrets[1]
    assert RING.of_workspace("a" * 12) is RING


def test_no_representation_shows_a_secret() -> None:
    shown = repr(RING.retire(1))
    for secret in (FIRST, SECOND, RING.sealing_key(1)):
        assert secret.hex() not in shown
        assert repr(secret) not in shown


def test_a_keyring_covers_an_older_copy_and_not_a_newer_one() -> None:
    assert RING.covers(Keyring.own(FIRST))
    assert RING.retire(1).covers(Keyring.own(FIRST))
    assert not Keyring.own(FIRST).covers(RING)
    assert not RING.covers(Keyring(RING.workspace, {1: SECOND}))
    assert not RING.covers(Keyring.own(SECOND))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        FIRST,
        b"not a secret at all",
        b"AB" * 32,
        FIRST.hex().encode()[:-1],
        b"[1]",
        b"[" * 100_000,
        b'{"format":1}',
        RING.to_bytes()[:-3],
        RING.to_bytes().replace(b"31", b"32", 1),
        RING.to_bytes().replace(b'"format":1', b'"format":2'),
    ],
)
def test_what_is_no_keyring_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"damaged|of format 2"):
        Keyring.from_bytes(data)


@pytest.mark.parametrize("change", [{"secrets": {}}, {"secrets": {"1": "00"}}, {"workspace": "x"}])
def test_a_keyring_with_other_fields_is_refused(change: dict[str, object]) -> None:
    """Its digest is right; a person changed it."""
    from lmeraser_ray.storage.database.keyring import digest_of_table

    table = {**json.loads(RING.to_bytes()), **change}
    del table["sha256"]
    data = json.dumps({**table, "sha256": digest_of_table(table)}).encode()
    with pytest.raises(ValueError, match="damaged"):
        Keyring.from_bytes(data)


def test_a_workspace_has_no_master_secret() -> None:
    with pytest.raises(ValueError, match="no workspace"):
        Keyring.inside(MASTER.to_bytes())


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        Keyring.from_bytes(data)
    except ValueError:
        return


def test_a_seal_and_a_hash_never_meet() -> None:
    """The sealing key is a keyed hash of a text without a line end; each hash of a name has one."""
    assert RING.sealing_key(2) == keyed_hash(SECOND, "lmeraser_ray/seal")
