"""The sweep in one process: shared constituents, hopeless values, a choice with its record,
erasures in the middle, interruptions."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from lmeraser_ray.config import Config
from lmeraser_ray.config.options import load_config
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.pipeline.choice import choice_of
from lmeraser_ray.pipeline.engine import InlineEngine, Outcome
from lmeraser_ray.pipeline.jobs import Trained
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.store import Store
from lmeraser_ray.study import sweep as sweeping
from lmeraser_ray.study.sweep import SweepRequest, sweep
from lmeraser_ray.study.variants import parse_range, sweep_variants
from tests.support.sweeps import SHARDS, never_stops, question, run, sides, tree
from tests.support.world import TINY, Recorder, World


def test_a_constituent_that_several_values_need_is_trained_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_stops(monkeypatch)
    recorder = Recorder()
    done = run(
        world,
        question(world, ("partition.shards", ["4", "5", "6"]), partition={"sample_size": 30}),
        recorder,
    )
    shared = done.result.sharing
    assert shared.needed > shared.distinct, "these values share shards"
    assert shared.distinct == shared.trained == len(recorder.trained) == len(set(recorder.trained))
    assert (shared.found, shared.spared) == (0, 0)
    assert recorder.features == sum((done.result.records.training, done.result.records.queries)), (
        "and features"
    )
    assert (
        f"{shared.needed} constituents needed by 3 values, {shared.distinct} of them distinct"
        in shared.sentence()
    )


@pytest.mark.thorough
def test_values_that_change_no_constituent_cost_no_training(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_stops(monkeypatch)
    shared = run(world, question(world, ("aggregation.shards", ["1", "2", "3"]))).result.sharing
    assert shared.needed == 3 * shared.distinct == 3 * shared.trained


@pytest.mark.thorough
def test_the_table_says_what_was_measured(world: World) -> None:
    done = run(world, question(world))
    root = world.folder / "study"
    written = json.loads((root / "sweep.json").read_text())
    assert [row["value"] for row in written["values"]] == [row["value"] for row in done.rows]
    rows = list(csv.DictReader(io.StringIO((root / "sweep.csv").read_text())))
    assert [row["verdict"] for row in rows] == [row["verdict"] for row in done.rows]
    assert sum(row["verdict"] == "recommended" for row in rows) == 1
    assert (root / "sweep.md").read_text().count("\n| ") == len(rows) + 1
    assert done.result.choice.reason in (root / "sweep.md").read_text()
    for name, result in done.result.results.items():
        row = next(row for row in done.rows if row["value"] == name)
        assert (row["accuracy"], row["work, mean"]) == (
            result["accuracy"]["test"],
            result["asked"]["mean_share"],
        )


@pytest.mark.thorough
def test_results_name_no_record_and_the_records_go(world: World) -> None:
    run(world, question(world))
    root = world.folder / "study"
    assert not (root / "work").exists()
    text = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    assert not any(name.encode() in text for name in (*world.ids, *world.subjects))


@pytest.mark.thorough
def test_what_was_measured_is_not_measured_again(world: World) -> None:
    first = run(world, question(world))
    recorder = Recorder()
    again = run(world, question(world), recorder)
    assert (recorder.trained, recorder.features) == ([], 0)
    assert (again.rows, again.result.sharing) == (first.rows, first.result.sharing)
    more = run(world, question(world, ("partition.shards", [*SHARDS[1], "3"])), recorder)
    assert recorder.trained
    assert more.result.sharing.trials == 1


class Dies(Recorder):
    """Its engine is killed after some trainings."""

    def __init__(self, after: int, act: Callable[[], object]) -> None:
        super().__init__()
        self.after, self.act = after, act

    def __call__(self, store: Store, config: Config, card: BackboneCard) -> InlineEngine:
        made, recorder = super().__call__(store, config, card), self
        wait = made.wait

        def watched(seconds: float | None = None) -> list[Outcome]:
            found = wait(seconds)
            if (
                any(isinstance(outcome.result, Trained) for outcome in found)
                and len(recorder.trained) == recorder.after
            ):
                recorder.act()
            return found

        made.wait = watched  # type: ignore[method-assign]
        return made


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.thorough
def test_an_interrupted_sweep_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    never_stops(monkeypatch)
    whole = run(world, question(world), root=world.folder / "whole")
    killed, recorder = Dies(10, interrupt), Recorder()
    with pytest.raises(KeyboardInterrupt):
        run(world, question(world), killed)
    measured = sorted(path.name for path in (world.folder / "study" / "runs").glob("sweep.*"))
    assert 0 < len(measured) < 4
    done = run(world, question(world), recorder)
    assert not set(killed.trained) & set(recorder.trained), "what was finished is not trained again"
    assert done.result.sharing.measured_before == len(measured)
    assert done.rows == whole.rows
    for name in ("best.yaml", "choice.json", "sweep.csv"):
        here, there = ((world.folder / study / name).read_text() for study in ("study", "whole"))
        assert here.replace(f"{world.folder}/study", "") == there.replace(
            f"{world.folder}/whole", ""
        )


@pytest.mark.thorough
def test_a_hopeless_value_is_stopped_and_the_choice_is_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More shards that answer cost more passes and, on one partition, change no deletion."""
    axes = (("aggregation.shards", ["1", "4"]), ("learner.epochs", ["2", "1"]))
    sections = {"partition": {"shards": 6, "sample_size": 30}}
    recorder = Recorder()
    done = run(world, question(world, *axes, **sections), recorder)
    assert done.result.stopped
    with monkeypatch.context() as patch:
        never_stops(patch)
        whole = run(world, question(world, *axes, **sections), root=world.folder / "whole")
    assert done.result.choice == whole.result.choice
    assert {row["value"] for row in done.rows if row["verdict"] == "front"} == {
        row["value"] for row in whole.rows if row["verdict"] == "front"
    }
    truth = {point.name: point for point in whole.result.points}
    for name, found in done.result.stopped.items():
        assert truth[name].accuracy <= found.at_most.accuracy
        assert (truth[name].cost, truth[name].passes) == (found.at_most.cost, found.at_most.passes)
    shared = done.result.sharing
    assert shared.distinct == shared.found + shared.trained + shared.spared
    again = Recorder()
    assert run(world, question(world, *axes, **sections), again).rows == done.rows
    assert again.trained == [], "who was stopped stays so"


@pytest.mark.thorough
def test_an_erasure_in_the_middle_is_obeyed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep ends as one that never saw the record, and nothing that it keeps was made of it."""
    never_stops(monkeypatch)
    space, gone = world.space(), sorted(sides(world, world.config())[0])[0]
    train(Session(space), world.config())
    truth = run(
        world,
        question(world, data={"exclude": str(world.without([gone]).data.exclude)}, keep=True),
        root=world.folder / "never",
    )
    recorder = Dies(9, lambda: unlearn(Session(space), ErasureTargets((gone,))))
    done = run(world, question(world, workspace=space, keep=True), recorder)
    assert done.result.records.erased == 1
    assert done.rows == truth.rows
    seen, never = (
        choice_of(world.folder / study / "choice.json").seen for study in ("study", "never")
    )
    assert seen == never
    here, there = (
        {
            path.name
            for path in (world.folder / study / "work" / "objects").rglob("*-*")
            if "tmp" not in path.parts
        }
        for study in ("study", "never")
    )
    assert here <= there, "what was made of the record is gone"
    kept = {name[:64] for name in here}
    assert set(recorder.trained) - kept, "something was trained on it"
    runs = [
        json.loads(path.read_text())
        for path in (world.folder / "study" / "runs").glob("sweep.*.json")
    ]
    assert {
        run["result"]["records"]["training"] + run["result"]["records"]["test"] for run in runs
    } == {len(seen)}


def test_a_value_that_does_not_fit_does_not_stop_the_others(world: World) -> None:
    done = run(world, question(world, ("learner.prompt.width", ["2", "30"])))
    assert list(done.result.results) == ["learner.prompt.width=2"]
    assert "learner.prompt.width is 30" in done.result.failed["learner.prompt.width=30"]
    with pytest.raises(ConfigError, match=r"No value could be measured.*width is 30"):
        run(world, question(world, ("learner.prompt.width", ["30"])), root=world.folder / "other")


def test_mistakes_are_named(world: World) -> None:
    for field in ("seed", "data.buckets", "execution.cpus", "sweep.fraction"):
        with pytest.raises(ConfigError, match="cannot be swept"):
            question(world, (field, ["1", "2"]))
    with pytest.raises(ConfigError, match="swept twice"):
        question(world, SHARDS, SHARDS)
    with pytest.raises(ConfigError, match="is no workspace"):
        run(world, question(world, workspace=world.folder / "nowhere"))
    assert not (world.folder / "study").exists(), "and cost nothing"
    with pytest.raises(DataError, match=r"no record to judge by: raise sweep\.fraction"):
        run(world, question(world, sweep={"fraction": 0.0001}))
    with pytest.raises(ConfigError, match=r"sweep\.path is missing"):
        load_config(None, [("sweep.on", "public")])


def test_systems_are_swept_with_the_fields_that_they_have(world: World) -> None:
    axes = [("system", ["ridge", "random-mean"]), ("partition.shards", ["2", "3"])]
    found = sweep_variants(
        tree(world), [("learner.epochs", "1")], [*axes, ("learner.penalty", ["1"])]
    )
    configs = {each.name: each.config() for each in found}
    assert list(configs) == [
        "ridge shards=2 penalty=1",
        "ridge shards=3 penalty=1",
        "random-mean shards=2",
        "random-mean shards=3",
    ]
    kinds = [config.learner.kind for config in configs.values()]
    assert kinds == ["ridge", "ridge", "prompt_head", "prompt_head"]
    assert getattr(found[2].config().learner, "epochs", None) == 1, "options hold where they can"
    [cut, _] = sweep_variants(
        tree(world), [], [("system", ["lmeraser", "ridge"]), ("partition.threshold", ["0.1"])]
    )
    assert (cut.config().partition.threshold, cut.config().partition.shards) == (0.1, None)
    for axes, says in (
        ([("system", ["ridge"]), ("learner.epochs", ["1"])], "No system of this sweep has"),
        ([("system", ["rigde"])], "did you mean ridge"),
        ([("system", ["ridge", "ridge"])], "Two systems would be called"),
    ):
        with pytest.raises(ConfigError, match=says):
            sweep_variants(tree(world), [], axes)


@pytest.mark.parametrize("text", ["5:40", "40:5:8", "5:40:1", "0:1:3", "a:b:c", "5:inf:3"])
def test_a_range_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="first:last:count"):
        parse_range(text)


def test_a_range_has_its_ends() -> None:
    assert parse_range("5:40:8") == ["5", "10", "15", "20", "25", "30", "35", "40"]
    assert parse_range("0.1:0.2:3") == ["0.1", "0.15", "0.2"]


def test_a_threshold_takes_the_place_of_a_number_of_shards(world: World) -> None:
    [one, _] = sweep_variants(tree(world), [], [("partition.threshold", ["0.05", "0.1"])])
    assert (one.config().partition.threshold, one.config().partition.shards) == (0.05, None)
    [other, _] = sweep_variants(
        tree(world), [("partition.threshold", "3")], [("partition.shards", ["2", "3"])]
    )
    assert (other.config().partition.threshold, other.config().partition.shards) == (None, 2)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "system", ["one-head", "sisa", "ridge-shards", "dam-vp", "random-mean", "retrain", "blend"]
)
def test_every_kind_of_system_can_be_swept(
    world: World, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound is no lower than what is measured, and equal to it where there is no tie, for joint
    learners, slices and votes too."""
    from lmeraser_ray.config import presets

    bounds: list[tuple[float, float]] = []
    heard = sweeping.Race.heard

    def watched(self: Any, name: str, step: Any) -> bool:
        if step.result is not None:
            bounds.append((step.at_most, step.result["accuracy"]["test"]))
        return heard(self, name, step)

    monkeypatch.setattr(sweeping.Race, "heard", watched)
    base = presets.with_system(
        {"data": {**TINY["data"], "path": str(world.path)}, "execution": TINY["execution"]}, system
    )
    base["backbone"] = TINY["backbone"]
    small = [
        ("learner.epochs", "2"),
        ("learner.batch", "8"),
        ("partition.sample_size", "9"),
        ("learner.prompt.width", "2"),
    ]
    from lmeraser_ray.study.variants import applies

    fixed = [pair for pair in small if applies(base, pair[0], small)]
    axis = (
        ("learner.epochs", ["1", "2"])
        if system not in ("ridge-shards",)
        else ("learner.penalty", ["0.1", "1"])
    )
    found = sweep_variants(base, fixed, [axis])
    done = sweep(Recorder().session(world.folder / "study"), SweepRequest(found))
    assert done.result.choice.point in done.result.points
    assert bounds
    assert all(at_most == pytest.approx(accuracy) for at_most, accuracy in bounds)
