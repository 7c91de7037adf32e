"""`lmeraser requests`, and `lmeraser status ID` with its history."""

import csv
import io

import pytest

from lmeraser_ray.cli.request_list import COLUMNS
from tests.support.command_line import Lm, Place, expect_refused


@pytest.fixture
def asked(lm: Lm, place: Place) -> str:
    """The id of a request that one person submitted; another one is withdrawn."""
    said = lm(
        *("submit", "--workspace", place.root, "--records", place.id(), "--key", "ticket 7"),
        *("--submitter", "ann", "--legal_basis", "GDPR art. 17(1)(b), consent, withdrawn"),
        *("--identity", f"by letter; they call it {place.id()}"),
    )
    assert said.code == 0, said.err
    other = lm("submit", "--workspace", place.root, "--records", place.id(test=True))
    assert lm("cancel", other.out.strip(), "--workspace", place.root).code == 0
    return said.out.strip()


def test_all_and_some(lm: Lm, place: Place, asked: str) -> None:
    text = lm("requests", "--workspace", place.root).out
    assert "2 requests" in text and asked in text and "cancelled" in text
    assert max(map(len, text.splitlines())) <= 100
    for words in (
        ("--state", "open"),
        ("--state", "received,planned"),
        ("--key", "ticket 7"),
        ("--submitter", "ann"),
        ("--id", asked[-8:]),
        ("--state", "Received", "--since", "2026-01-01", "--until", "2999-12-31"),
        ("--due", "2999-12-31", "--state", "open"),
    ):
        rows = lm("requests", "--workspace", place.root, "--json", *words).json["requests"]
        assert [row["request"] for row in rows] == [asked], words
    for words in (("--key", "ticket"), ("--until", "2020-01-01"), ("--state", "certified")):
        said = lm("requests", "--workspace", place.root, *words)
        assert (said.code, "0 requests" in said.out) == (0, True), words
    assert len(lm("requests", "--workspace", place.root, "--limit", 1, "--json").json) == 1


def test_csv(lm: Lm, place: Place, asked: str) -> None:
    """All columns, also where there is no row; no name of a record."""
    said = lm("requests", "--workspace", place.root, "--csv")
    rows = list(csv.DictReader(io.StringIO(said.out)))
    mine = next(row for row in rows if row["request"] == asked)
    assert tuple(mine) == COLUMNS
    assert mine["legal_basis"] == "GDPR art. 17(1)(b), consent, withdrawn"
    assert mine["identity"] == "by letter; they call it [name]"
    assert (mine["state"], mine["records_named"], mine["planned"]) == ("RECEIVED", "1", "")
    assert mine["received"].endswith("Z") and mine["due"] > mine["received"]
    assert place.id() not in said.out
    empty = lm("requests", "--workspace", place.root, "--csv", "--key", "none").out
    assert empty == ",".join(COLUMNS) + "\n"


@pytest.mark.parametrize(
    ("option", "value"),
    [("--state", "done"), ("--state", ","), ("--limit", "0"), ("--limit", "-1"), ("--due", "x")],
)
def test_a_filter_that_is_none(lm: Lm, tmp_path, option: str, value: str) -> None:
    expect_refused(lm("requests", "--workspace", tmp_path / "none", option, value), 2, option)


def test_a_status_has_the_history(lm: Lm, place: Place, asked: str) -> None:
    assert lm("cancel", asked, "--workspace", place.root).code == 0
    said = lm("status", asked, "--workspace", place.root)
    assert [line.split()[3] for line in said.out.splitlines() if " UTC  " in line] == [
        "RECEIVED",
        "CANCELLED",
    ]
    assert "1 named, due 20" in said.out
    assert "legal basis: GDPR art. 17(1)(b), consent, withdrawn" in said.out
    told = lm("status", asked, "--workspace", place.root, "--json").json["history"]
    assert [event["event"] for event in told] == ["received", "cancelled"]
    assert all(event["at"].endswith("Z") for event in told)
