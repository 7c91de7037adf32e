"""Keys: nothing collides, nothing changes from one version to the next without a test saying so."""

import hashlib
import hmac
import json

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from lmeraser_ray.data.buckets import bucket_number
from lmeraser_ray.data.record import Record
from lmeraser_ray.storage.digests import (
    bucket_of,
    canonical_json,
    digest,
    generator_seed,
    key_of,
    keyed_hash,
    keyed_hashes,
    seeded_key,
    unit_interval,
)

GOLDEN = {
    "digest": "c9b7b24cfb9c0cc6ab3d4990642d6af0cbb317d2266c70acffb62bdb6480ddd0",
    "key_of": "474affcdfd79258ef846e8f0d2fad3f69164abd1adc4ff3ca9aa82ab997675b6",
    "seeded_key": "8079e4f18c9d1831fb1cb87b73033efc9d8c62b3e83e95e3751c659ad39229ae",
    "keyed_hash": "0a3ed67b1f0f3e24a7f6b6699e058ac2b267ad50bf58fb992dfefc65ec9dfeb6",
    "generator_seed": 225210249691695988,
    "bucket": 1,
    "record": "8d08702849b23c0bd5bc0d1eff76b3f0cfa67dc52ca1fc9d95bcd037f98edd19",
}

# Small alphabets make near-collisions likely: the same bytes cut at other places, zeros that look
# like lengths.
bits = st.binary(max_size=3).map(lambda b: bytes(x % 2 for x in b))
parts = st.lists(bits | st.sampled_from([b"", b"\0" * 8, b"\0" * 7 + b"\1"]), max_size=4)


@given(parts, parts)
@example([b"a", b"b"], [b"ab"])
@example([b"", b"x"], [b"x", b""])
@example([], [b""])
@example([b"x"], [b"x" + (0).to_bytes(8, "big")])
def test_no_two_lists_of_parts_have_one_digest(one: list[bytes], other: list[bytes]) -> None:
    assert (digest("d", *one) == digest("d", *other)) == (one == other)


@given(st.text("abc/1", min_size=1, max_size=4), st.text("abc/1", min_size=1, max_size=4), parts)
def test_domains_are_separate(one: str, other: str, same: list[bytes]) -> None:
    assume(one != other)
    assert digest(one, *same) != digest(other, *same)


def test_a_digest_is_sha256_of_the_documented_encoding() -> None:
    """Written out again by hand, so that the encoding cannot drift."""
    encoding = (
        b"lmeraser_ray/shard/1\n" + (1).to_bytes(8, "big") + b"a" + (2).to_bytes(8, "big") + b"bc"
    )
    assert digest("shard/1", b"a", b"bc") == hashlib.sha256(encoding).digest()
    assert len(digest("x")) == 32


def test_golden_values() -> None:
    """A workspace that was made by an older version is only understood while these hold."""
    key = b"k" * 32
    assert digest("shard/1", b"a", b"bc").hex() == GOLDEN["digest"]
    assert key_of("d") == GOLDEN["key_of"]
    assert seeded_key(7, "sample").hex() == GOLDEN["seeded_key"]
    assert (
        keyed_hash(key, "é").hex()
        == GOLDEN["keyed_hash"]
        == hmac.new(key, "é".encode(), "sha256").hexdigest()
    )
    assert generator_seed("00" * 32) == GOLDEN["generator_seed"]
    assert bucket_number(0, "person-0/picture-0", 16) == GOLDEN["bucket"]
    assert Record("r", "s", "l", False, b"i").digest().hex() == GOLDEN["record"]


def test_a_keyed_hash_needs_its_key() -> None:
    one, other = seeded_key(0, "sample"), seeded_key(1, "sample")
    assert len({keyed_hash(k, "x") for k in (one, other, seeded_key(0, "split"))}) == 3
    assert keyed_hashes(one, ["x", "y", "x"]) == [
        keyed_hash(one, "x"),
        keyed_hash(one, "y"),
        keyed_hash(one, "x"),
    ]


@given(st.binary(min_size=32, max_size=32), st.integers(1, 65536))
def test_ranges(keyed: bytes, buckets: int) -> None:
    assert 0 <= bucket_of(keyed, buckets) < buckets
    assert 0 <= unit_interval(keyed) < 1
    assert 0 <= generator_seed(keyed.hex()) < 2**63


def test_the_unit_interval_ends_below_one() -> None:
    """A fraction of 1 would hold everyone out; no hash may round up to it."""
    assert unit_interval(b"\xff" * 32) == 1 - 2**-53
    assert unit_interval(b"\0" * 32) == 0


def test_canonical_json_does_not_depend_on_the_order_of_keys() -> None:
    assert (
        canonical_json({"b": 1.0, "a": [1e21, "é"]})
        == canonical_json({"a": [1e21, "é"], "b": 1})
        == '{"a":[1e+21,"é"],"b":1}'.encode()
    )
    with pytest.raises(ValueError, match="representable"):
        canonical_json({"a": float("nan")})
    assert json.loads(canonical_json({"a": 0.1}))["a"] == 0.1


def test_a_record_digest_covers_what_can_be_learnt_and_not_who_it_is_about() -> None:
    base = Record("r", "s", "l", False, b"i")
    assert Record("r", "other", "l", True, b"i").digest() == base.digest()
    others = [
        Record("q", "s", "l", False, b"i"),
        Record("r", "s", "m", False, b"i"),
        Record("r", "s", "l", False, b"j"),
    ]
    others += [Record("rl", "s", "", False, b"i"), Record("", "s", "rl", False, b"i")]
    assert len({base.digest(), *(o.digest() for o in others)}) == 6


@pytest.mark.parametrize("size", [0, 1, 32, 63, 64, 65, 200])
def test_many_keyed_hashes_are_hmacs(size: int) -> None:
    """However long the key is."""
    key, texts = bytes(range(256))[:size], ["", "a", "é", "x" * 1000]
    assert keyed_hashes(key, texts) == [hmac.digest(key, text.encode(), "sha256") for text in texts]
