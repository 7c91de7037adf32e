"""`lmeraser help`: all verbs, one verb, the fields of the configuration; and the version."""

import pytest

from lmeraser_ray import __version__
from lmeraser_ray.cli.verbs import GROUPS, VERBS
from lmeraser_ray.config.options import FIELDS
from tests.support.command_line import Lm, expect_refused


@pytest.mark.parametrize("word", ["version", "--version", "-V"])
def test_the_version(lm: Lm, word: str) -> None:
    assert lm(word) == lm("--version")
    assert (lm(word).code, lm(word).out) == (0, f"lmeraser_ray {__version__}\n")


def test_all_verbs_by_group_with_three_examples(lm: Lm) -> None:
    said = lm("help")
    assert (said.code, lm("--help"), lm("-h")) == (0, said, said)
    assert lm().out == said.out
    assert all(f"\n{group}:\n" in said.out for group in GROUPS)
    examples = said.out.split("examples:\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[:2] for line in examples] == [
        ["lmeraser", "demo"],
        ["lmeraser", "train"],
        ["lmeraser", "unlearn"],
    ]
    assert max(map(len, said.out.splitlines())) <= 100


@pytest.mark.parametrize("words", [["help", "wait"], ["--help", "wait"], ["wait", "--help"]])
def test_one_verb(lm: Lm, words: list[str]) -> None:
    said = lm(*words)
    assert (said.code, said.out) == (0, lm("wait", "-h").out)
    assert said.out.startswith("usage: lmeraser wait")
    assert len(said.out.splitlines()) < 30


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_fields_by_section(lm: Lm, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Each with a text and its choices, in the terminal's columns."""
    monkeypatch.setenv("COLUMNS", str(width))
    said = lm("help", "config").out
    assert max(map(len, said.splitlines())) < width
    flat = " ".join(said.split())
    for name, option in FIELDS.items():
        assert flat.count(f" --{name} VALUE ") == 1, name
        own = flat.split(f" --{name} VALUE ")[1].split(" --")[0]
        assert len(own.partition(" (")[0].strip()) > 3, name
        assert all(str(choice) in own for choice in option.choices), name
        if isinstance(option.default, bool | int | float):  # 1 is not shown as true
            assert f" ({str(option.default).lower()})" in own, name


def test_a_section_a_part_of_it_or_a_field(lm: Lm) -> None:
    def shown(*words: str) -> set[str]:
        lines = lm("help", "config", *words).out.splitlines()
        return {line.split()[0].lstrip("-") for line in lines if line.startswith("  --")}

    assert shown("data") == {name for name in FIELDS if name.startswith("data.")}
    assert shown("learner.prompt") == {n for n in FIELDS if n.startswith("learner.prompt.")}
    assert shown("seed") == shown("configuration") == {"seed"}
    assert "prompt_head: " in lm("help", "config", "learner.kind").out


def test_mistakes(lm: Lm) -> None:
    expect_refused(lm("help", "trian"), 2, "did you mean train?")
    expect_refused(lm("help", "confg"), 2, "did you mean config?")
    expect_refused(lm("help", "config", "lerner"), 2, "did you mean learner?", "aggregation")
    expect_refused(lm("versoin"), 2, "did you mean version?")
    said = lm("versions")
    expect_refused(said, 2, "did you mean version?")
    assert "diversity?" not in said.err
    assert set(VERBS)
