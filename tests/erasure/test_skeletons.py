"""What headers of tensor files say, and what is no such header says nothing."""

import json

import pytest

from lmeraser_ray.data.buckets import SCHEMA
from lmeraser_ray.erasure.absence.skeletons import skeletons, strings_of_header


def test_a_header_says_names_and_how_it_was_made_and_not_its_classes() -> None:
    made = json.dumps({"kind": "ridge", "classes": ["cat", "dog"]})
    header = {"__metadata__": {"about": made}, "weight": {"dtype": "F32", "shape": [2]}}
    said = strings_of_header(json.dumps(header).encode())
    assert {"__metadata__", "about", "ridge", "weight", "F32"} <= said
    assert said.isdisjoint({"cat", "dog"})


def test_every_column_of_a_bucket_is_a_word_of_the_format() -> None:
    """Those too that only some buckets have."""
    assert all(name.encode() in skeletons() for name in SCHEMA.names)


@pytest.mark.parametrize(
    "head",
    [
        *(b"", b"\xff", b"[1]", b"3", b'{"__metadata__": 1}', b'{"__metadata__": {"a": 1}}'),
        *(b'{"__metadata__": {"a": "[]"}}', b'{"__metadata__": {"a": "no JSON"}}'),
    ],
)
def test_what_is_no_header_says_nothing(head: bytes) -> None:
    assert strings_of_header(head) == set()
