"""JSON from others: exactly the declared shape, or a `ValueError` that repeats nothing of it."""

from pathlib import Path

import pytest

from lmeraser_ray.storage.digests import canonical_json
from lmeraser_ray.storage.foreign_json import Digest, ForeignJson, JsonObject, Natural, read_bounded


class Card(ForeignJson):
    name: str
    size: Natural = 0
    digest: Digest = "0" * 64


HOSTILE = {
    "not JSON": b"name",
    "not text": b'{"name": "\xff"}',
    "a lone surrogate": b'{"name": "\\ud800"}',
    "another type": b'{"name": ["secret"]}',
    "a number as text": b'{"name": "a", "size": "1"}',
    "a truth as a number": b'{"name": "a", "size": true}',
    "not a number": b'{"name": "a", "size": NaN}',
    "infinity": b'{"name": "a", "size": 1e999}',
    "too large": b'{"name": "a", "size": 9007199254740993}',
    "thousands of digits": b'{"name": "a", "size": ' + b"9" * 5000 + b"}",
    "less than nothing": b'{"name": "a", "size": -1}',
    "a field of its own": b'{"name": "a", "secret": 1}',
    "nested": b'{"name": ' + b"[" * 100_000,
    "null": b"null",
    "a line after a digest": b'{"name": "a", "digest": "' + b"0" * 64 + b'\\n"}',
    "a path": b'{"name": "a", "digest": "../../etc/passwd"}',
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not the JSON that was expected") as caught:
        Card.read(data)
    assert "secret" not in str(caught.value)


class Anything(ForeignJson):
    about: JsonObject


@pytest.mark.parametrize("number", ["9007199254740992", "-9007199254740993", "9" * 99, "1e20"])
@pytest.mark.parametrize("around", ['{"n": %s}', '{"deep": [{"n": [0, %s]}]}'])
def test_a_number_that_canonical_json_does_not_hold_is_refused(number: str, around: str) -> None:
    """What is read can be written again: a manifest whose configuration had such a number ended
    `to_bytes` with another library's error."""
    with pytest.raises(ValueError, match="at about"):
        Anything.read('{"about": ' + around % number + "}")


def test_the_largest_numbers_are_held() -> None:
    read = Anything.read(
        '{"about": {"n": [9007199254740991, -9007199254740991, 1.5, 1e21, -1.5e300, true]}}'
    )
    assert Anything.read(canonical_json(read.model_dump())) == read


@pytest.mark.parametrize("data", [None, 1, 1.5, [], object()])
def test_a_cell_that_is_no_text_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match="neither"):
        Card.read(data)


def test_bytes_and_text_are_read() -> None:
    assert Card.read(b'{"name": "\\u00e9"}') == Card.read('{"name": "é"}') == Card(name="é")


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_bounded(tmp_path / "file", 5) == b"12345"
    for path, limit in ((tmp_path / "file", 4), (Path("/dev/zero"), 1 << 20)):
        with pytest.raises(ValueError, match="more than"):
            read_bounded(path, limit)
