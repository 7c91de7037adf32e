"""A Ray cluster whose head or node is stopped, or whose CPUs another job has: a command ends soon
with a sentence that names the address, or says what it waits for. Real clusters, as processes of
this machine."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmeraser_ray.config.options import to_yaml
from lmeraser_ray.operations.interruption import SENTENCE
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.session import Session
from tests.support import acts
from tests.support.children import Child, Nursery, stop, wait_until
from tests.support.world import World

pytestmark = pytest.mark.long
SETTINGS = {"RAY_AUTH_MODE": "disabled"}
SOON_S = 60.0
"""A command gives up after 20 s; Ray's core knows no end."""


class Head:
    """A head, which is a node with one CPU."""

    def __init__(self, made: Any) -> None:
        self.made, self.address = made, str(made.address)

    def pid(self, kind: str) -> int:
        """Its gcs_server, or its raylet."""
        [found] = self.made.head_node.all_processes[kind]
        return int(found.process.pid)


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Iterator[Head]:
    from ray.cluster_utils import Cluster

    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    found = Head(made)
    pids = [found.pid(kind) for kind in ("gcs_server", "raylet")]
    yield found
    for pid in pids:
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, signal.SIGCONT)
    made.shutdown()


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    made = Nursery(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("kind", "greets", "told"),
    [
        ("gcs_server", False, "what accepts connections there does not answer"),
        ("gcs_server", True, "it has not let this command in for 20 s"),
        ("raylet", False, "its node on this machine"),
    ],
    ids=["head", "head-that-greets", "node"],
)
def test_what_hangs_is_an_error_that_names_the_address(
    kind: str, greets: bool, told: str, head: Head, nursery: Nursery
) -> None:
    pid = head.pid(kind)
    if not greets:
        stop(pid)
    ended = nursery.start(
        acts.enter, head.address, pid if greets else 0, environment=SETTINGS
    ).end()
    seconds, said = ended.value
    assert f"The Ray cluster at {head.address} cannot be used: {told}" in said
    assert seconds < SOON_S


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_signal_ends_the_wait_at_once(number: int, head: Head, nursery: Nursery) -> None:
    """While Ray's own code waits for a head that has greeted."""
    child = nursery.start(acts.enter, head.address, head.pid("gcs_server"), environment=SETTINGS)
    wait_until(lambda: "waiting for the Ray cluster at" in child.printed("err"))
    os.kill(child.pid, number)
    ended = child.end()
    assert ended.code == 130
    assert ended.err.endswith(f"{SENTENCE}\n")


class TestBusy:
    """Another job has the only CPU."""

    @pytest.fixture
    def busy(self, head: Head, nursery: Nursery, tmp_path: Path) -> Child:
        child = nursery.start(acts.hold_cpus, head.address, tmp_path, environment=SETTINGS)
        wait_until((tmp_path / "held").exists)
        return child

    def words(self, world: World, head: Head, tmp_path: Path, *more: str) -> list[str]:
        config = tmp_path / "config.yaml"
        config.write_text(to_yaml(world.config()))
        engine = ("--execution.engine", "ray", "--execution.address", head.address)
        return ["--config", str(config), *engine, *more]

    def test_it_has_no_room(
        self, busy: Child, head: Head, nursery: Nursery, world: World, tmp_path: Path
    ) -> None:
        more = ("--workspace", str(tmp_path / "workspace"), "--execution.patience", "15")
        words = self.words(world, head, tmp_path, *more)
        ended = nursery.start(acts.command, "train", *words, environment=SETTINGS).end()
        waiting = f"for a free CPU of the Ray cluster at {head.address} (0 of 1 CPUs and 0 of 0"
        said = re.escape(f"lmeraser: waiting {waiting} GPUs are free), for ")
        assert re.search(rf"{said}([5-9]|1\d) s so far", ended.err), ended.err
        assert f"The Ray cluster at {head.address} has begun no task for 15 s: 0 of 1" in ended.err
        assert ended.code == 5

    @pytest.mark.parametrize("work", ["features", "tasks", "trials"])
    def test_it_loses_its_room(
        self,
        work: str,
        request: pytest.FixtureRequest,
        head: Head,
        nursery: Nursery,
        world: World,
        tmp_path: Path,
    ) -> None:
        """After the command has looked whether there is any. It goes on when there is."""
        root = tmp_path / "workspace"
        words = ["train", *self.words(world, head, tmp_path, "--workspace", str(root))]
        if work == "tasks":  # with the features that are there
            train(Session(root), world.config())
            (tmp_path / "out.txt").write_text("".join(f"{each}\n" for each in world.ids[:6]))
            words += ["--data.exclude", str(tmp_path / "out.txt")]
        if work == "trials":
            words[0], words[-2:] = "sweep", ["--study", str(root), "--sweep", "learner.epochs=3,4"]
        else:
            request.getfixturevalue("busy")
        child = nursery.start(acts.command_let_in, tmp_path, *words, environment=SETTINGS)
        said = f"lmeraser: waiting for {work} on the Ray cluster at {head.address} (0 of 1 CPUs"
        wait_until(lambda: said in child.printed("err") or not child.process.is_alive())
        (tmp_path / "go").touch()
        ended = child.end()
        assert said in ended.err
        assert ended.code == 0, ended
