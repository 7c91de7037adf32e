"""Tables: one look, values whole."""

import pytest

from lmeraser_ray.cli.table import WIDTH, table


def test_headings_are_broken_before_a_value_is() -> None:
    """Within the width where the values allow it; a wide value makes a wide table."""
    head = ["system", *(f"a heading of many words, number {at}" for at in range(9))]
    values = ["lmeraser", *(f"0.97{at} ± 0.012" for at in range(4)), *("12 of 40",) * 5]
    lines = table(head, [values]).splitlines()
    assert max(map(len, lines)) > WIDTH, "these values are together wider"
    assert all(value in lines[-1] for value in values)
    few = table(head[:6], [values[:6]]).splitlines()
    assert max(map(len, few)) <= WIDTH
    assert all(value in few[-1] for value in values[:6])
    assert any(line.endswith("number 4") for line in few), "no word is broken"
    assert len(few) > len(table(["system"], [["x"]]).splitlines()), "its headings take lines"
    wide = "x" * 300
    assert wide in table(["record", "share"], [[wide, "1%"]])


def test_alignment() -> None:
    lines = table(["what", "found", "s"], [["train", "yes", "1.5"], ["x", "no", "10.0"]], left=2)
    assert [line.rstrip() for line in lines.splitlines()] == [
        " what    found      s",
        "──────────────────────",
        " train   yes      1.5",
        " x       no      10.0",
    ]


@pytest.mark.parametrize("text", ["[red]x[/red]", "[/]", ":smile:", "a  b"])
def test_what_looks_like_markup_is_shown_as_it_is(text: str) -> None:
    assert text in table(["record"], [[text]])


def test_a_terminal_has_its_own_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "24")
    lines = table(["a heading of many words", "another of many words"], [["1", "2"]]).splitlines()
    assert 20 < max(map(len, lines)) <= 24


def test_an_empty_table_is_its_headings() -> None:
    assert "shard" in table(["shard", "size"], [])
