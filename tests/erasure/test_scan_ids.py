"""The absence scan tells an erased id from longer ids, numbers and words that it is a part of."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lmeraser_ray.data.record import Record
from tests.support.scan_space import IDS, Space, hits_of, record_of, traces_for
from tests.support.statements import PLAIN


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
    for name in ("zoë-0042", 'quo"te-42'):  # JSON writes either otherwise
        yield name, [record_of(name, label=f"like {name}"), record_of("other")]
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
    said = space.scan(traces).as_json([name], PLAIN)
    assert said["ids_looked_for_in_rows_only"] == (name in ("1", "cat"))
    (space.root / "configuration.json").write_text(json.dumps({"path": f"/data/{name}/x"}))
    told = ("configuration.json", "id") in hits_of(space.scan(traces))
    assert told == (name not in ("1", "person-1/x", "cat"))


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


@pytest.mark.parametrize("kind", ["records", "pictures", "features", "manifests"])
def test_the_name_of_an_object_is_no_id(space: Space, kind: str) -> None:
    """An id that a folder's name and the first digits of a key happen to spell."""
    [item, *_] = [
        each
        for each in (space.folder.current(), *space.manifest.objects())
        if each and each.kind == kind
    ]
    for name in (f"{kind}/{item.key[:2]}", f"objects/{kind}/{item.key[:1]}"):
        assert space.scan([traces_for(record_of(name))]).hits == ()


def test_an_id_within_a_longer_one_that_is_erased_too_is_the_longer_ones(tmp_path: Path) -> None:
    """The trace holds back its own owner, and nobody whose id it happens to contain."""
    space = Space(tmp_path / "w", [record_of(name) for name in ("person-11", "person-111", "x")])
    traces = space.erase("person-11", "person-111")
    (space.root / "configuration.json").write_text(json.dumps({"path": "/data/person-111/tests"}))
    report = space.scan(traces)
    assert [hit.trace for hit in report.hits_of(["person-111"])] == ["id"]
    assert report.hits_of(["person-11"]) == ()
