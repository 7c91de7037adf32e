"""The verbs that measure, from the command line: `train --system`, `compare`, `figures`,
`diversity`."""

import json
from pathlib import Path

import pytest
import yaml

from tests.support.command_line import Lm
from tests.support.world import TINY, World

SMALL = (
    "--partition.shards",
    "3",
    "--partition.sample_size",
    "9",
    "--learner.epochs",
    "2",
    "--learner.prompt.width",
    "2",
)


@pytest.fixture
def base(world: World) -> Path:
    """A configuration of data, backbone and execution alone."""
    tree = {
        "data": {**TINY["data"], "path": str(world.path)},
        "backbone": TINY["backbone"],
        "execution": TINY["execution"],
    }
    path = world.folder / "base.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_train_takes_a_system_and_forgets_under_it(lm: Lm, world: World, base: Path) -> None:
    space = world.folder / "w"
    said = lm(
        "train",
        "--config",
        base,
        "--system",
        "sisa",
        "--workspace",
        space,
        "--learner.epochs",
        "1",
        "--partition.shards",
        "2",
        "--json",
    )
    assert said.code == 0, said.err
    assert said.json["shards"] == 2
    done = lm("unlearn", "--workspace", space, "--records", world.ids[0], "--json")
    assert done.code == 0
    assert lm("verify", "--workspace", space, "--rebuild").code == 0
    other = lm("train", "--config", base, "--system", "ridge", "--workspace", space)
    assert (other.code, "use the same value" in other.err) == (2, True), (
        "another system is another workspace"
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("train", "--system", "sisaa"), "did you mean sisa"),
        (("compare", "--systems", "lmeraser,rigde"), "did you mean ridge"),
        (("compare", "--seeds", "one"), "whole numbers"),
        (("compare", "--forget", "1.5"), "shares"),
        (("compare", "--vary", "learner.epochz=1"), "did you mean learner.epochs"),
        (("compare", "--workspace", "w"), "workspace"),
        (("sweep",), "Nothing to sweep was named"),
        (("sweep", "--thresholds", "5-40"), "first:last:count"),
        (("sweep", "--sweep", "learner.epochz=1"), "did you mean learner.epochs"),
        (("sweep", "--sweep", "seed=1,2"), "seed cannot be swept"),
        (
            ("sweep", "--sweep", "learner.epochs=one,2"),
            "learner.epochs is 'one' in learner.epochs=one",
        ),
        (("sweep", "--thresholds", "5:40:8", "--sweep.on", "public"), "sweep.path is missing"),
        (("sweep", "--system", "ridge", "--sweep", "system=ridge,sisa"), "both name systems"),
        (("sweep", "--sweep", "system=rigde"), "did you mean ridge"),
        (("compare", "--vary", "system=ridge"), "--vary 'system=ridge' was not understood"),
        (("recommend", "--systems", "rigde"), "did you mean ridge"),
        (("recommend", "--budget", "much"), "--budget 'much' was not understood: give a share"),
        (("recommend", "--batch", "0"), "--batch '0' was not understood: give a share"),
        (("recommend", "--batch", "1%", "--person"), "give one of the two"),
        (("recommend", "--seconds", "0"), "--seconds is 0, expected more than 0"),
        (("recommend", "--systems", "paper"), "No value could be measured: learner.crop is 16"),
        (("train", "--system", "ridge", "--learner.epochs", "3"), "learner.epochs"),
    ],
)
def test_mistakes_are_named_and_cost_nothing(
    lm: Lm, world: World, base: Path, words: tuple[str, ...], says: str
) -> None:
    where = (
        ("--study", world.folder / "s")
        if words[0] in ("compare", "sweep", "recommend")
        else ("--workspace", world.folder / "s")
    )
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
    rows = [row.split()[0] for row in said.out.splitlines() if row.count("%") > 2]
    assert rows == ["lmeraser", "ridge"]
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


def test_sweep_then_train_then_forget(lm: Lm, world: World, base: Path) -> None:
    """The commands of docs/guides/sweep.md in their order: sweep, train on the choice, erase, and
    hear what the choice had seen."""
    study, space = world.folder / "study", world.folder / "w"
    words = (
        "sweep",
        "--config",
        base,
        "--study",
        study,
        *SMALL,
        "--thresholds",
        "0.02:0.2:3",
        "--aggregation.shards",
        "1",
    )
    said = lm(*words)
    assert said.code == 0, said.err
    assert "threshold=0.02" in said.out
    assert "constituents needed by 3 values" in said.out
    assert f"lmeraser train --config {study / 'best.yaml'}" in said.out
    for name in (
        "sweep.csv",
        "sweep.json",
        "sweep.md",
        "choice.json",
        "best.yaml",
        "figures/sweep.png",
        "figures/sweep.svg",
    ):
        assert (study / name).stat().st_size > 100
    again = lm(*words, "--json")
    written = json.loads((study / "sweep.json").read_text())["recommended"]
    told = {name: written[name] for name in ("value", "reason", "fits")}
    assert again.json["recommended"] == told
    trained = lm("train", "--config", study / "best.yaml", "--workspace", space, "--json")
    assert trained.code == 0, trained.err
    assert (
        trained.json["seen_by_sweep"]
        == again.json["records"]["training"] + again.json["records"]["queries"]
    )
    done = lm("unlearn", "--workspace", space, "--records", ",".join(world.ids))
    assert (
        done.code,
        f"data that included {trained.json['seen_by_sweep']} of the erased records" in done.err,
    ) == (0, True), done.err
    assert lm("verify", "--workspace", space, "--rebuild").code == 0


def test_a_sweep_takes_the_workspaces_configuration_and_leaves_out_whom_it_erased(
    lm: Lm, world: World, base: Path
) -> None:
    study, space = world.folder / "study", world.folder / "w"
    assert lm("train", "--config", base, "--workspace", space, *SMALL).code == 0
    words = (
        "sweep",
        "--study",
        study,
        "--workspace",
        space,
        "--sweep",
        "aggregation.shards=1,2",
        "--json",
    )
    before = lm(*words)
    assert before.code == 0, before.err
    for name in ("person-1", "person-2", "person-3", "person-4"):
        assert lm("unlearn", "--workspace", space, "--subjects", name).code == 0
    after = lm(*words)
    counts = [
        said.json["records"]["training"] + said.json["records"]["queries"]
        for said in (before, after)
    ]
    assert counts[1] < counts[0]
    assert (after.json["sharing"]["measured_before"], after.json["records"]["erased"]) == (0, 0), (
        "all is measured again"
    )
    narrow = lm(
        "sweep",
        "--study",
        world.folder / "n",
        "--workspace",
        space,
        "--sweep",
        "learner.prompt.width=2,30",
    )
    assert (
        narrow.code,
        "learner.prompt.width=30 was not measured" in narrow.err,
        "learner.prompt.width=2" in narrow.out,
    ) == (2, True, True)


def test_recommend_then_train_then_forget(lm: Lm, world: World, base: Path) -> None:
    """The commands of docs/guides/recommend.md in their order."""
    study, space = world.folder / "study", world.folder / "w"
    words = ("recommend", "--config", base, "--study", study, "--systems", "ridge,ridge-random")
    said = lm(*words, "--partition.shards", "3", "--person", "--budget", "50%")
    assert said.code == 0, said.err
    assert "work: of deleting one person, as a share of a full training" in said.out
    assert "no other within the budget of 50% is more accurate" in said.out
    assert f"lmeraser train --config {study / 'best.yaml'}" in said.out
    for name in ("recommend.csv", "recommend.md", "choice.json", "figures/recommend.png"):
        assert (study / name).stat().st_size > 100
    again = lm(*words, "--partition.shards", "3", "--person", "--budget", "50%", "--json").json
    written = json.loads((study / "recommend.json").read_text())
    assert again["asked"] == written["asked"] == {"unit": "one person", "budget": 0.5}
    assert again["recommended"]["value"] == written["recommended"]["value"]
    assert [row["work, mean"] for row in again["values"]] == [
        row["work, mean"] for row in written["values"]
    ]
    trained = lm("train", "--config", study / "best.yaml", "--workspace", space, "--json")
    assert trained.code == 0, trained.err
    assert trained.json["seen_by_sweep"] == sum(
        again["records"][name] for name in ("training", "queries")
    )
    done = lm("unlearn", "--workspace", space, "--records", world.ids[0], "--json")
    assert done.code == 0, done.err
    assert lm("verify", "--workspace", space, "--rebuild").code == 0


def test_without_people_to_judge_by_nothing_is_recommended(
    lm: Lm, world: World, base: Path
) -> None:
    said = lm(
        "recommend",
        "--config",
        base,
        "--study",
        world.folder / "s",
        "--systems",
        "ridge",
        "--sweep.fraction",
        "0.0001",
    )
    assert (said.code, "no record to judge by: raise sweep.fraction" in said.err) == (3, True)
