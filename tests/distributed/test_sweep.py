"""A sweep under Ray Tune: the results of one process, what trials share is trained once; kills and
erasures in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from lmeraser_ray.cli import main as cli
from lmeraser_ray.distributed.cluster import session_folder
from lmeraser_ray.distributed.sweep import Stopping
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError, ExecutionError
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.pipeline.choice import choice_of
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.study.race import Race
from lmeraser_ray.study.trial import Step
from tests.support.sweeps import never_stops, sides, sweep_on
from tests.support.world import TINY, World

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("cluster")]
Heard = Callable[[str, Step], None]


def listen(monkeypatch: pytest.MonkeyPatch, hear: Heard) -> None:
    """Have each step of each trial told, in the order in which the driver hears of them."""
    heard = Race.heard

    def told(self: Race, name: str, step: Step) -> bool:
        hear(name, step)
        return heard(self, name, step)

    monkeypatch.setattr(Race, "heard", told)


def same(here: Path, there: Path) -> None:
    """Table, record and configuration of two studies, but for where they are and which engine they
    name."""
    for name in ("sweep.csv", "choice.json", "best.yaml"):
        one, other = ((root / name).read_text().replace(str(root), "") for root in (here, there))
        for setting in ("engine: ray", "task_gpus: 0.0", "task_gpus: 0.25", "retries: 0"):
            field, _, _ = setting.partition(":")
            other = other.replace(
                setting,
                {"engine": "engine: inline", "retries": "retries: 2"}.get(field, f"{field}: null"),
            )
        assert one == other


@pytest.mark.parametrize("gpus", [0.0, 0.25])
def test_ray_gives_what_one_process_gives(
    world: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], gpus: float
) -> None:
    """Trials on fractions of the GPU; what they share is trained by one of them."""
    never_stops(monkeypatch)
    here, there, steps = world.folder / "here", world.folder / "there", list[tuple[str, Step]]()
    sweep_on(world, "inline", here)
    listen(monkeypatch, lambda name, step: steps.append((name, step)))
    done = sweep_on(world, "ray", there, task_gpus=gpus)
    assert capfd.readouterr().out == "", "stdout is for results"
    same(here, there)
    shared, trained = done.result.sharing, [key for _, step in steps for key in step.trained]
    assert shared.needed > shared.distinct == shared.trained == len(trained) == len(set(trained))


def test_what_tune_writes_of_itself_knows_no_record(world: World) -> None:
    """Its state is in Ray's session folder, where objects are pickled as hexadecimal digits: what
    is erased later must not be in there."""
    session = session_folder()
    assert session
    before = set(session.glob("artifacts/**/*.json"))
    sweep_on(world, "ray", world.folder / "study")
    written = b"".join(
        path.read_bytes() for path in set(session.glob("artifacts/**/*.json")) - before
    )
    assert b"SweepTrial" in written
    ids = [name.encode() for name in world.ids]
    assert not any(form in written for name in ids for form in (name, name.hex().encode()))


def test_a_hopeless_trial_is_stopped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """More shards to ask for the same deletions: who cannot be more accurate any more trains
    nothing more, and the choice is the same."""
    axis = ("aggregation.shards", ["1", "2", "3", "4", "5", "6"])
    done = sweep_on(world, "ray", world.folder / "there", axis=axis)
    with monkeypatch.context() as patch:
        never_stops(patch)
        whole = sweep_on(world, "inline", world.folder / "here", axis=axis)
    assert done.result.choice == whole.result.choice
    truth = {point.name: point for point in whole.result.points}
    assert all(
        truth[name].accuracy <= found.at_most.accuracy
        for name, found in done.result.stopped.items()
    )
    assert len(done.result.results) + len(done.result.stopped) == 6


def test_an_erasure_in_the_middle_is_obeyed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes when trials have trained on the record: they end, and everything is measured without
    it."""
    never_stops(monkeypatch)
    space, gone, pending = world.space(), sorted(sides(world, world.config())[0])[0], [True]
    train(Session(space), world.config())

    def erase(_: str, step: Step) -> None:
        if step.trained and pending and pending.pop():
            unlearn(Session(space), ErasureTargets((gone,)))

    listen(monkeypatch, erase)
    done = sweep_on(world, "ray", world.folder / "study", workspace=space)
    assert done.result.records.erased == 1
    never = sweep_on(world, "inline", world.folder / "never", without=gone)
    assert done.rows == never.rows
    assert (
        choice_of(world.folder / "study" / "choice.json").seen
        == choice_of(world.folder / "never" / "choice.json").seen
    )
    kept = [
        {p.name for p in (world.folder / s / "work/objects/constituents").iterdir()}
        for s in ("study", "never")
    ]
    assert kept[0] <= kept[1], "what was trained on the record is gone"


def kills(monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """Kill the worker of a trial when it has trained something, so many times. Returns the
    processes, as they die."""
    dead: list[int] = []
    tell = Stopping.on_trial_result

    def killing(self: Stopping, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        decision = tell(self, controller, trial, result)
        if len(dead) < times and json.loads(result["step"]).get("trained"):
            dead.append(result["pid"])
            os.kill(result["pid"], signal.SIGKILL)
        return decision

    monkeypatch.setattr(Stopping, "on_trial_result", killing)
    return dead


def test_a_killed_worker_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    never_stops(monkeypatch)
    sweep_on(world, "inline", world.folder / "here")
    dead = kills(monkeypatch, 2)
    sweep_on(world, "ray", world.folder / "there")
    assert len(dead) == 2
    same(world.folder / "here", world.folder / "there")


def test_who_trains_what_may_be_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The actor that knows it dies in the middle: a new one knows nothing, and the results are the
    same."""
    never_stops(monkeypatch)
    here, there, dead = world.folder / "here", world.folder / "there", list[int]()
    sweep_on(world, "inline", here)

    def kill(_: str, step: Step) -> None:
        if step.trained and not dead:
            [claims] = [
                a
                for a in ray._private.state.actors(actor_state_name="ALIVE").values()
                if a["ActorClassName"] == "ClaimsActor"
            ]
            dead.append(claims["Pid"])
            os.kill(claims["Pid"], signal.SIGKILL)

    listen(monkeypatch, kill)
    sweep_on(world, "ray", there)
    assert dead
    assert (here / "sweep.csv").read_text() == (there / "sweep.csv").read_text()


def test_retries_are_bounded_and_nothing_is_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others end, nobody waits for what the dead one had claimed, and the next command goes
    on."""
    never_stops(monkeypatch)
    sweep_on(world, "inline", world.folder / "here")
    with monkeypatch.context() as patch:
        kills(patch, 1)
        with pytest.raises(
            ExecutionError, match=r"worker of a trial died more often than execution\.retries"
        ):
            sweep_on(world, "ray", world.folder / "there", retries=0)
    done = sweep_on(world, "ray", world.folder / "there", retries=0)
    assert done.result.sharing.measured_before == 3
    same(world.folder / "here", world.folder / "there")


def test_a_value_that_does_not_fit_does_not_stop_the_others(world: World) -> None:
    done = sweep_on(
        world, "ray", world.folder / "study", axis=("learner.weight_decay", ["0", "9e15"])
    )
    assert list(done.result.results) == ["learner.weight_decay=0"]
    assert "diverged" in done.result.failed["learner.weight_decay=9e15"]


def test_more_gpus_than_there_are_is_an_error(world: World) -> None:
    with pytest.raises(ConfigError, match="the cluster has 1"):
        sweep_on(world, "ray", world.folder / "study", task_gpus=2, feature_gpus=0.5)


def test_kill_9_of_the_command_loses_nothing(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command again measures what was not measured, and trains nothing that is in the
    store."""
    base, study = tmp_path / "base.yaml", tmp_path / "study"
    execution = {"engine": "ray", "cpus": 2, "gpus": 0}
    tree = {
        **TINY,
        "data": {**TINY["data"], "path": str(world.path)},
        "execution": execution,
        "learner": {**TINY["learner"], "epochs": 20},
    }
    base.write_text(yaml.safe_dump(tree))
    words = [
        "--config",
        str(base),
        "--study",
        str(study),
        "--json",
        "--sweep",
        "partition.shards=2,3,4,5,6,7,8,9",
    ]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [
        sys.executable,
        "-m",
        "lmeraser_ray.sweep",
        *words,
    ]  # on a Ray of its own, which dies with it
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as killed:
        until = time.monotonic() + 400
        while not list(
            (study / "runs").glob("sweep.*")
        ):  # files that it writes are all that can be seen of it
            assert killed.poll() is None, killed.stderr and killed.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.02)
        killed.kill()
    capsys.readouterr()
    assert cli.run("sweep", words) == 0
    shared = json.loads(capsys.readouterr().out)["sharing"]
    assert 1 <= shared["measured_before"] < 8
    assert shared["measured_before"] + shared["trials"] == 8
    assert shared["distinct"] == shared["found"] + shared["trained"] + shared["spared"]
