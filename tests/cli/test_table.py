"""Tables: one look, values whole."""

import pytest

from lmeraser_ray.cli.table import WIDTH, table


@pytest.mark.parametrize("columns", range(1, 13))
def test_headings_are_broken_before_a_value_is(columns: int) -> None:
    """Within the width where the values allow it; wide values make a wide table."""
    head = [
        "system",
        *("records retrained, mean share", "p99 share", "seconds for one deletion") * 4,
    ]
    values = ["lmeraser", *("0.970 ± 0.012", "100.00%", "0.12") * 4]
    head, values = head[:columns], values[:columns]
    lines = table(head, [values]).splitlines()
    assert all(value in lines[-1] for value in values)
    words = {word for name in head for word in name.split()}
    assert words <= set(" ".join(lines[:-2]).split()), "no word is broken"
    least = sum(
        max(map(len, (*name.split(), value))) + 3 for name, value in zip(head, values, strict=True)
    )
    assert max(map(len, lines)) <= max(WIDTH, least)
    assert columns < 12 or least > WIDTH


def test_a_heading_is_broken_only_where_it_must_be() -> None:
    assert len(table(["records retrained, mean share"] * 3, [["1"] * 3]).splitlines()) == 3
    assert len(table(["records retrained, mean share"] * 4, [["1"] * 4]).splitlines()) == 5


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
    assert max(map(len, lines)) <= 24


def test_an_empty_table_is_its_headings() -> None:
    assert "shard" in table(["shard", "size"], [])


def test_a_long_name_is_broken_before_the_table_is_too_wide() -> None:
    """Whole names where there is room; nothing of a name is lost where there is none."""
    head = ["system", "test accuracy", "shards", "records retrained, mean share", "worst share"]
    name = "ridge-shards_partition.shards=140_learner.penalty=0.01"
    lines = table(head + ["s"] * 4, [[name, *["0.970 ± 0.012"] * 8]]).splitlines()
    least = 16 + 3 + sum(max(len(word), 13) + 3 for word in ["x"] * 8)
    assert max(map(len, lines)) <= max(WIDTH, least)
    [at] = [at for at, line in enumerate(lines) if line.startswith("─")]
    parts = [line[:17].strip() for line in lines[at + 1 :]]
    assert "".join(parts) == name
    assert parts[:3] == ["ridge-shards_", "partition.", "shards=140_"], "after its signs"
    name = name[:39]
    lines = table(head, [[name, "0.970 ± 0.012", "140", "3.37%", "33.33%"]]).splitlines()
    assert max(map(len, lines)) <= WIDTH and any(name in line for line in lines)
