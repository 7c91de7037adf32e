"""`recommend`: a sweep over named systems, its unit, its budget, its time, and that it goes on."""

import json
from pathlib import Path
from typing import Any

import pytest

from lmeraser_ray.config.options import load_config
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.study import sweep as sweeping
from lmeraser_ray.study.candidates import candidates, too_many_sampled, unsuitable
from lmeraser_ray.study.deadline import Deadline
from lmeraser_ray.study.recommendation import question
from lmeraser_ray.study.sweep import SweepRequest
from lmeraser_ray.study.sweep_report import Written
from tests.support.sweeps import run, sides, tree
from tests.support.world import Recorder, World

CLOSED = ("class-means", "neighbors", "ridge")


def asked(world: World, *systems: str, **more: Any) -> SweepRequest:
    found, unsuited = candidates(tree(world), [("learner.epochs", "1")], systems or CLOSED)
    return SweepRequest(found, verb="recommend", unsuited=unsuited, suits=unsuitable, **more)


def known(done: Written) -> set[str]:
    result = done.result
    return {*result.results, *result.stopped, *result.failed, *result.untried}


@pytest.mark.thorough
def test_every_named_system_is_measured_or_said(world: World) -> None:
    request = asked(world, "all")
    done = run(world, request)
    assert known(done) == {each.name for each in request.variants} | set(request.unsuited)
    assert "learner.crop is 16" in done.result.failed["paper"]
    assert "fewer than 10 each" in done.result.failed["ridge-random shards=70"]
    assert done.result.choice.point.name in done.result.results
    root = world.folder / "study"
    written = json.loads((root / "recommend.json").read_text())
    assert written["asked"] == {"unit": "one record", "budget": None}
    assert set(written["failed"]) == set(done.result.failed)
    assert "Chosen by `lmeraser recommend` on validation" in (root / "best.yaml").read_text()


def test_the_choice_is_recorded_and_leaves_with_the_erased(world: World) -> None:
    done = run(world, asked(world))
    config = load_config(world.folder / "study" / "best.yaml", [])
    assert config.identity() == done.result.configs[done.result.choice.point.name].identity()
    space = world.space()
    choice = train(Session(space), config).manifest.choice
    assert choice is not None
    assert choice["fields"]["learner.kind"] == config.learner.kind
    assert choice["records"] == done.result.records.training + done.result.records.queries
    assert unlearn(Session(space), ErasureTargets((sorted(sides(world, config)[0])[0],))).seen == 1
    after = WorkspaceFolder(space).require_published().choice
    assert after is not None
    assert after["records"] == choice["records"] - 1


@pytest.mark.thorough
def test_a_blend_is_tried_chosen_and_trained(world: World) -> None:
    """A system of two: its passes, its time and its record are of both."""
    found, unsuited = candidates(
        tree(world), [("learner.epochs", "1"), ("partition.shards", "2")], ["blend"]
    )
    done = run(world, SweepRequest(found, verb="recommend", unsuited=unsuited, seconds=300))
    assert list(done.result.results) == ["blend"]
    config = load_config(world.folder / "study" / "best.yaml", [])
    assert len(config.members) == 2
    choice = train(Session(world.space()), config).manifest.choice
    assert choice is not None
    assert json.loads(choice["fields"]["aggregation.others"])


def test_the_work_is_of_the_unit_that_was_asked(world: World) -> None:
    """A person of two records costs more than one record, where a hash divides the records."""
    shards = {"partition.shards": "2", "partition.unit": "record"}
    means = {}
    for unit in ("record", "person", "batch"):
        found = question(
            person=unit == "person", batch="50%" if unit == "batch" else None, budget=None
        )
        variants, _ = candidates(tree(world), list(shards.items()), ["ridge-random"])
        request = SweepRequest(variants, question=found, verb="recommend")
        done = run(world, request, root=world.folder / unit)
        [row] = done.rows
        means[unit] = row["work, mean"]
        assert row["work, worst"] >= row["work, p99"] >= means[unit] > 0
        assert f"of a training for {found.unit.words}" in done.result.choice.reason
    assert means["record"] < means["person"] <= means["batch"] == 12 / (12 + 20), (
        "half of 24 leave: 12 passes of statistics, and of 20 features, 8 of test records"
    )


def test_what_is_over_the_budget_is_not_trained_once_another_keeps_it(world: World) -> None:
    many, _ = candidates(tree(world), [("partition.shards", "8")], ["ridge-random"])
    one, _ = candidates(tree(world), [("learner.epochs", "1")], ["single-prompt"])
    asks, recorder = question(person=False, batch=None, budget="30%"), Recorder()
    done = run(world, SweepRequest([*one, *many], question=asks), recorder)
    assert list(done.result.results) == ["ridge-random"]
    assert done.result.choice.fits
    assert len(recorder.trained) == done.result.results["ridge-random"]["shards"]
    assert done.result.untried == {
        "single-prompt": "42.59% is over the budget of 30%, which another one keeps"
    }
    none = run(world, SweepRequest(one, question=asks), root=world.folder / "none")
    assert not none.result.choice.fits
    assert "nothing is within the budget of 30%" in none.result.choice.reason


def test_a_sample_of_nearly_everybody_does_not_suit(world: World) -> None:
    found = candidates(tree(world), [("partition.sample_size", "600")], ["ridge-shards"])[0]
    request = SweepRequest(found, suits=too_many_sampled)
    with pytest.raises(ConfigError, match="a sample of 600 is more than half of 24 records"):
        run(world, request)


class JumpingClock:
    """A clock that jumps when something was trained."""

    def __init__(self, recorder: Recorder, after: int) -> None:
        self.recorder, self.after = recorder, after

    def __call__(self) -> float:
        return 1000.0 if len(self.recorder.trained) >= self.after else 0.0


def test_what_is_not_tried_in_time_is_tried_by_the_next_command(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    with monkeypatch.context() as patch:
        clock = JumpingClock(recorder, 2)
        patch.setattr(sweeping, "Deadline", lambda seconds: Deadline(seconds, clock))
        first = run(world, asked(world, seconds=60), recorder)
    assert len(recorder.trained) == 2
    assert first.result.untried
    assert set(first.result.untried.values()) == {"the time was over"}
    assert known(first) == {each.name for each in asked(world).variants}
    again = Recorder()
    second = run(world, asked(world), again)
    assert not set(again.trained) & set(recorder.trained), "what was measured is kept"
    assert second.result.untried == {}
    assert second.result.sharing.measured_before == len(first.result.results) + len(
        first.result.stopped
    )


def test_no_time_and_no_system_are_errors(world: World) -> None:
    with pytest.raises(ConfigError, match="No value could be measured: the time was over"):
        run(world, asked(world, seconds=1e-9))
    with pytest.raises(ConfigError, match=r"No value could be measured: .*learner.crop is 16"):
        run(world, asked(world, "paper"), root=world.folder / "other")


def test_a_path_is_nowhere_in_the_study(world: World) -> None:
    path = world.folder / "private-name" / "own.yaml"
    path.parent.mkdir()
    path.write_text(
        "partition: {kind: random, shards: 2}\nlearner: {kind: ridge}\naggregation: {kind: all}\n"
    )
    run(world, asked(world, str(path)))
    for written in Path(world.folder / "study").rglob("*.json"):
        assert "private-name" not in written.read_text()
