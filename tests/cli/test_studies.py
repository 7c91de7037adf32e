"""The verbs that measure, from the command line: `train --system`, `compare`, `figures`, `diversity`."""

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.test_cli import Lm, lm
from tests.conftest import TINY, World

__all__ = ["lm"]
SMALL = ("--partition.shards", "3", "--partition.sample_size", "9", "--learner.epochs", "2", "--learner.prompt.width", "2")


@pytest.fixture
def base(world: World) -> Path:
    """A configuration of data, backbone and execution alone."""
    tree = {"data": {**TINY["data"], "path": str(world.path)}, "backbone": TINY["backbone"], "execution": TINY["execution"]}
    path = world.folder / "base.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_train_takes_a_system_and_forgets_under_it(lm: Lm, world: World, base: Path) -> None:
    space = world.folder / "w"
    said = lm(
        "train", "--config", base, "--system", "sisa", "--workspace", space, "--learner.epochs", "1", "--partition.shards", "2", "--json"
    )
    assert said.code == 0, said.err
    assert said.json["shards"] == 2
    done = lm("unlearn", "--workspace", space, "--records", world.ids[0], "--json")
    assert done.code == 0
    assert lm("verify", "--workspace", space, "--rebuild").code == 0
    other = lm("train", "--config", base, "--system", "ridge", "--workspace", space)
    assert (other.code, "use the same value" in other.err) == (2, True), "another system is another workspace"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("train", "--system", "sisaa"), "did you mean sisa"),
        (("compare", "--systems", "lmeraser,rigde"), "did you mean ridge"),
        (("compare", "--seeds", "one"), "whole numbers"),
        (("compare", "--forget", "1.5"), "shares"),
        (("compare", "--vary", "learner.epochz=1"), "did you mean learner.epochs"),
        (("compare", "--workspace", "w"), "workspace"),
        (("train", "--system", "ridge", "--learner.epochs", "3"), "learner.epochs"),
    ],
)
def test_mistakes_are_named_and_cost_nothing(lm: Lm, world: World, base: Path, words: tuple[str, ...], says: str) -> None:
    where = ("--study", world.folder / "s") if words[0] == "compare" else ("--workspace", world.folder / "s")
    said = lm(*words, "--config", base, *where)
    assert (said.code, says in said.err) == (2, True), said.err
    assert not (world.folder / "s").exists()


def test_compare_then_figures(lm: Lm, world: World, base: Path) -> None:
    study = world.folder / "study"
    words = (
        "compare",
        "--config",
        base,
        "--study",
        study,
        "--systems",
        "lmeraser,ridge",
        "--seeds",
        "0,1",
        "--deletions",
        "1",
        "--together",
        "2",
    )
    said = lm(*words, *SMALL, "--curves")
    assert said.code == 0, said.err
    assert "| lmeraser |" in said.out
    assert "| ridge |" in said.out
    again = lm(*words, *SMALL, "--curves", "--json")
    assert again.json["systems"] == json.loads((study / "compare.json").read_text())["systems"]
    drawn = lm("figures", "--study", study, "--json")
    assert drawn.code == 0, drawn.err
    for name in ("frontier.png", "frontier.svg", "accuracy_over_epochs.png"):
        assert (study / "figures" / name).stat().st_size > 1000
    assert "was not drawn" in lm("figures", "--study", study).out


def test_figures_without_results_say_what_to_run(lm: Lm, world: World) -> None:
    said = lm("figures", "--study", world.folder / "none")
    assert (said.code, "lmeraser compare --study" in said.err) == (3, True)


def test_diversity_and_sheets_of_a_workspace(lm: Lm, world: World, base: Path) -> None:
    space = world.folder / "w"
    assert lm("train", "--config", base, "--workspace", space, *SMALL).code == 0
    said = lm("diversity", "--workspace", space, "--json")
    assert said.code == 0
    assert said.json["between"]["mean"] > said.json["within_shards"]["mean"] > 0
    drawn = lm("figures", "--workspace", space, "--out", world.folder / "sheets")
    assert (drawn.code, "private" in drawn.err) == (0, True)
    assert list((world.folder / "sheets").glob("*.png"))
    assert lm("verify", "--workspace", space).code == 0, "nothing was left in the workspace"
