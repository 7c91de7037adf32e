"""The absence scan tells an erased id from longer ids, numbers and words that it is a part of."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lmeraser_ray.data.record import Record
from tests.support.scan_space import IDS, Space, hits_of, record_of, traces_for


def short_ids() -> Iterator[tuple[str, list[Record]]]:
    """An id to erase, and records whose ids, labels and subjects it is a part of."""
    yield (
        "1",
        [
            record_of(name, label=label)
            for name, label in (("1", "1"), ("2", "1"), ("11", "21"), ("21", "2"))
        ],
    )
    yield (
        "digit-0042",
        [record_of(name) for name in ("digit-0042", "digit-00421", "digit-0043", "z/digit-0042")],
    )
    yield (
        "person-1/x",
        [
            record_of(name, label="person-1/x")
            for name in ("person-1/x", "person-1/y", "person-12/x")
        ],
    )
    yield (
        "123456789012",
        [record_of(name) for name in ("123456789012", "51234567890123", "1234567890121")],
    )
    yield 'quo"te-ä', [record_of(name, label='a quo"te-äther') for name in ('quo"te-ä', "other")]
    yield "cat", [record_of(name, label="cat") for name in ("cat", "cat-1", "dog")]


@pytest.mark.parametrize("case", list(short_ids()), ids=lambda case: case[0])
def test_an_id_that_is_a_part_of_another_blocks_nothing(
    case: tuple[str, list[Record]], tmp_path: Path
) -> None:
    """And the rows still say whether it is there."""
    name, records = case
    space = Space(tmp_path / "w", records)
    traces = [traces_for(records[0])]
    (space.root / "configuration.json").write_text(
        json.dumps({"label": records[-1].label, "shards": 1, "cat": 42})
    )
    assert ("records", "row of an erased record") in hits_of(space.scan(traces))
    traces = [replace(each, subject_id=None) for each in space.erase(name)]
    assert space.scan(traces).hits == ()
    assert space.scan(traces).in_rows_only == (name in ("1", "cat"))
    (space.root / "configuration.json").write_text(json.dumps({"path": f"/data/{name}/x"}))
    told = ("configuration.json", "id") in hits_of(space.scan(traces))
    assert told == (name in ("digit-0042", "123456789012", 'quo"te-ä'))


@pytest.mark.parametrize(
    ("name", "part"),
    [("1234567890", "91234567890"), ("1234567890", "1234567890a"), ("margaret", "margarets")],
)
def test_a_part_of_a_number_or_a_word_is_no_id(name: str, part: str, tmp_path: Path) -> None:
    space = Space(tmp_path / "w", [record_of(name), record_of("other")])
    traces = space.erase(name)
    for text, found in (
        (f"a {part} b", False),
        (f"a {name} b", True),
        (f"/{name}.png", True),
        (name, True),
    ):
        (space.root / "configuration.json").write_text(text)
        assert (space.scan(traces).hits != ()) == found


def test_a_longer_name_that_another_open_request_names_is_that_requests(space: Space) -> None:
    traces = space.erase(IDS[1])  # person-0/picture-1
    (space.root / "configuration.json").write_text("person-0/picture-177")
    assert hits_of(space.scan(traces)) == {("configuration.json", "id")}
    assert space.scan(traces, open_names=["person-0/picture-177", IDS[1]]).hits == ()
