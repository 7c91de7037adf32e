"""Rows 6, 7 and 9: a node is lost, its raylet is killed or stopped, the head dies. Real nodes, as
processes of this machine."""

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lmeraser_ray.distributed.queue_actor import QueueActor
from lmeraser_ray.distributed.sentinel import PATIENCE_VARIABLE
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.session import Session
from tests.support import acts
from tests.support.children import Child, Nursery, wait_until
from tests.support.gated import Begun, Gate
from tests.support.law import held
from tests.support.story import LANES, SAMPLED, Case
from tests.support.sweeps import never_stops, sweep_on
from tests.support.world import World

pytestmark = pytest.mark.long
SETTINGS = {
    "RAY_AUTH_MODE": "disabled",
    PATIENCE_VARIABLE: "8",  # a minute otherwise, until a node gives its head up
    # and a minute until the head gives a stopped node up
    "RAY_health_check_failure_threshold": "2",
}
"""Of the cluster and of the commands on it."""


@dataclass
class Cluster:
    """A head without CPUs, and nodes, of one CPU each if nothing else is said."""

    made: Any
    nodes: list[Any] = field(default_factory=list)

    def add(self, **resources: int) -> Any:
        self.nodes.append(self.made.add_node(**(resources or {"num_cpus": 1})))
        return self.nodes[-1]

    def alive(self, node: Any) -> bool:
        """Whether the head takes a node for alive."""
        [seen] = [
            seen
            for seen in self.made.global_state.node_table()
            if seen["ObjectStoreSocketName"] == node.plasma_store_socket_name
        ]
        return bool(seen["Alive"])

    def actor(self, name: str) -> int:
        """The process of an actor with this in its class's name, 0 while none lives."""
        table = self.made.global_state.actor_table(None, None, "ALIVE")
        return next(
            (int(actor["Pid"]) for actor in table.values() if name in actor["ActorClassName"]), 0
        )

    def queue(self) -> int:
        """The process of the queue's actor, 0 while it does not live."""
        return self.actor(QueueActor.__name__)

    def node_of(self, begun: Begun) -> Any:
        """The node whose raylet started the process of a training."""
        return self.node_of_process(begun.pid)

    def node_of_process(self, pid: int) -> Any:
        """The node whose raylet started a process."""
        [node] = [node for node in self.nodes if pid_of(node, "raylet") == parent_of(pid)]
        return node


def pid_of(node: Any, kind: str) -> int:
    """The process of a node that is its raylet or gcs_server."""
    [found] = node.all_processes[kind]
    return int(found.process.pid)


def parent_of(pid: int) -> int:
    """The process that started a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Cluster]]:
    """Starts clusters with so many nodes; all end with the test."""
    from ray.cluster_utils import Cluster as RayCluster

    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    started: list[Any] = []

    def make(nodes: int) -> Cluster:
        made = RayCluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        started.append(made)
        cluster = Cluster(made)
        for _ in range(nodes):
            cluster.add()
        return cluster

    yield make
    for made in started:
        made.shutdown()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    (tmp_path / "gate").mkdir()
    return Gate(tmp_path / "gate")


def serve(case: Case, cluster: Cluster, gate: Gate) -> Child:
    """`lmeraser queue serve` on a cluster, with trainings that wait at the gate."""
    words = (case.root, cluster.made.address, case.keys, gate.folder)
    return case.nursery.start(
        acts.serve_gated, *words, environment={**case.environment(), **SETTINGS}
    )


def drained(child: Child) -> None:
    """Ctrl-C ends it in peace."""
    os.kill(child.pid, signal.SIGINT)
    ended = child.end()
    assert ended.code == 0, ended


def certified(case: Case) -> bool:
    return set(case.states().values()) == {State.CERTIFIED}


def remove(cluster: Cluster, node: Any) -> None:
    """Row 6: all processes of the node end at once."""
    cluster.nodes.remove(node)
    cluster.made.remove_node(node, allow_graceful=False)


def kill(_: Cluster, node: Any) -> None:
    """Row 7: kill -9 of its raylet, and nothing else."""
    os.kill(pid_of(node, "raylet"), signal.SIGKILL)
    node.all_processes["raylet"][0].process.wait()


@pytest.mark.parametrize("lose", [remove, kill])
def test_a_node_that_is_lost_costs_only_what_it_trained(
    case: Case, gate: Gate, start: Callable[[int], Cluster], lose: Any
) -> None:
    """Two of three shards are in training on a node each. One node is lost, another one joins: it
    takes up what the first had."""
    cluster = start(2)
    case.submit(*(case.ids[i] for i in LANES))
    child = serve(case, cluster, gate)
    wait_until(lambda: len(gate.begun()) == 2)
    first = gate.begun()
    lost = min(first, key=lambda begun: begun.key)
    node = cluster.node_of(lost)
    assert node is not cluster.node_of(max(first, key=lambda begun: begun.key))
    lose(cluster, node)
    cluster.add()
    wait_until(lambda: len(gate.begun()) == 3)
    [again] = gate.begun() - first
    assert again.key == lost.key
    gate.open()
    wait_until(lambda: certified(case))
    drained(child)
    assert sorted(Counter(begun.key for begun in gate.begun()).values()) == [1, 1, 2]
    assert case.request(next(iter(case.acknowledged))).attempts == 0
    case.expect_whole()


def test_a_node_with_the_queue_is_lost(
    make: Callable[[str | None], Case], postgresql: str, gate: Gate, start: Callable[[int], Cluster]
) -> None:
    """With PostgreSQL the actor may be on any node. What it had in training goes with it; Ray
    starts it elsewhere, in the next epoch."""
    case, cluster = make(postgresql), start(2)
    child = serve(case, cluster, gate)
    wait_until(cluster.queue)
    queue = cluster.queue()
    while parent_of(queue) == pid_of(
        cluster.made.head_node, "raylet"
    ):  # Ray takes any node for an actor without resources
        os.kill(queue, signal.SIGKILL)
        wait_until(lambda before=queue: cluster.queue() not in (0, before))
        queue = cluster.queue()
    case.submit(*(case.ids[i] for i in LANES))
    wait_until(lambda: len(gate.begun()) == 2)
    epoch = case.epoch()
    remove(cluster, cluster.node_of_process(queue))
    cluster.add()
    gate.open()
    wait_until(lambda: certified(case))
    drained(child)
    assert case.epoch() > epoch
    assert case.request(next(iter(case.acknowledged))).attempts == 0
    case.expect_whole()


def test_a_training_that_loses_nodes(
    tmp_path: Path, nursery: Nursery, start: Callable[[int], Cluster], gate: Gate
) -> None:
    """One in the middle of the features, with the actors and the features on it, and one in the
    middle of the trainings. Others join."""
    world, cluster, told = World(tmp_path / "world", n=200), start(0), tmp_path / "told"
    told.mkdir()
    root, truth = world.space(), world.space()
    cluster.add(num_cpus=2)
    cluster.add(num_cpus=2)
    words = (root, world.config().model_dump_json(), cluster.made.address, told, gate.folder)
    child = nursery.start(acts.train_held, *words, environment=SETTINGS)
    wait_until((told / "held").exists)
    remove(cluster, cluster.node_of_process(cluster.actor("FeatureActor")))
    cluster.add(num_cpus=2)
    (told / "go").touch()
    wait_until(lambda: len(gate.begun()) == 4)
    first = gate.begun()
    lost = cluster.node_of(min(first, key=lambda begun: begun.key))
    gone = {begun for begun in first if cluster.node_of(begun) is lost}
    assert first - gone, "trainings are on both nodes"
    remove(cluster, lost)
    cluster.add(num_cpus=2)
    wait_until(lambda: len(gate.begun()) == 4 + len(gone))
    gate.open()
    ended = child.end()
    assert ended.code == 0, ended
    assert {begun.key for begun in gate.begun() - first} == {begun.key for begun in gone}, (
        "nothing else is trained again"
    )
    train(Session(truth), world.config())
    assert held(root) == held(truth)


def test_retrains_share_one_gpu(case: Case, gate: Gate, start: Callable[[int], Cluster]) -> None:
    """A quarter of a GPU each is the default where there is one. A sampled record's going trains
    all four shards; one is of one class and needs no training, the others are held at once, on one
    GPU, in processes of their own."""
    cluster = start(0)
    cluster.add(num_cpus=4, num_gpus=1)
    case.submit(case.ids[SAMPLED])
    child = serve(case, cluster, gate)
    wait_until(lambda: len(gate.begun()) == 3)
    assert len({begun.pid for begun in gate.begun()}) == 3
    gate.open()
    wait_until(lambda: certified(case))
    drained(child)
    case.expect_whole()


@pytest.mark.parametrize(
    ("node", "gpus"),
    [({"num_cpus": 1}, 0.0), ({"num_cpus": 2, "num_gpus": 1}, 0.25)],
    ids=["CPUs", "quarters of GPUs"],
)
def test_a_node_that_is_lost_costs_a_sweep_only_its_trials(
    tmp_path: Path,
    nursery: Nursery,
    start: Callable[[int], Cluster],
    monkeypatch: pytest.MonkeyPatch,
    node: dict[str, int],
    gpus: float,
) -> None:
    """Trials on all CPUs of two nodes, each on a quarter of its node's GPU where it has one. When
    both nodes have trained, one is lost, and another one joins. What had trained there is begun
    again elsewhere, and nothing else is; the study is that of one process."""
    world, here, there, told = (
        World(tmp_path / "world"),
        tmp_path / "here",
        tmp_path / "there",
        tmp_path / "told",
    )
    told.mkdir()
    cluster, trials = start(0), 2 * node["num_cpus"]
    nodes = [cluster.add(**node), cluster.add(**node)]
    child = nursery.start(
        acts.sweep_held,
        world,
        there,
        cluster.made.address,
        told,
        gpus,
        trials,
        environment=SETTINGS,
    )
    wait_until((told / "held").exists)
    assert json.loads((told / acts.GPUS).read_text()) == {
        one.node_id: gpus * node["num_cpus"] for one in nodes
    }
    before = [line.split() for line in (told / acts.TRAINED).read_text().splitlines()]
    assert {where for _, _, where, _ in before} == {one.node_id for one in nodes}
    value, _, lost, _ = before[-1]
    remove(cluster, next(one for one in nodes if one.node_id == lost))
    cluster.add(**node)
    (told / "go").touch()
    ended = child.end()
    assert ended.code == 0, ended
    lines = [line.split() for line in (told / acts.TRAINED).read_text().splitlines()]
    assert len({key for *_, key in lines}) == len(lines), "nothing is trained twice"
    begun = {name: {pid for each, pid, *_ in lines if each == name} for name, *_ in lines}
    elsewhere = {
        name for name in begun if lost not in {where for each, _, where, _ in lines if each == name}
    }
    assert len(begun[value]) == 2
    assert all(len(begun[name]) == 1 for name in elsewhere), "nothing else is begun again"
    never_stops(monkeypatch)
    sweep_on(world, "inline", here, axis=acts.UNLIKE)
    for name in ("sweep.csv", "choice.json"):
        assert (here / name).read_text() == (there / name).read_text()


def test_who_trains_what_is_known_beside_the_driver(
    nursery: Nursery, start: Callable[[int], Cluster]
) -> None:
    """And so on no node that a sweep may lose."""
    ended = nursery.start(acts.claims_started, start(2).made.address, 8, environment=SETTINGS).end()
    assert (ended.code, ended.value) == (0, set()), ended


def test_a_node_that_is_taken_for_dead_does_no_harm(
    case: Case, gate: Gate, start: Callable[[int], Cluster]
) -> None:
    """SIGSTOP of a raylet in the middle of a retrain, until the cluster takes the node for dead.
    The training on it goes on and ends."""
    cluster = start(2)
    case.submit(*(case.ids[i] for i in LANES))
    child = serve(case, cluster, gate)
    wait_until(lambda: len(gate.begun()) == 2)
    lost = min(gate.begun(), key=lambda begun: begun.key)
    node = cluster.node_of(lost)
    os.kill(pid_of(node, "raylet"), signal.SIGSTOP)
    wait_until(lambda: not cluster.alive(node))
    gate.open()
    wait_until(lambda: gate.ended(lost) and certified(case))
    os.kill(pid_of(node, "raylet"), signal.SIGCONT)
    drained(child)
    assert len({begun.key for begun in gate.begun()}) == len(LANES)
    case.expect_whole()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
def test_a_head_that_is_lost_takes_nothing_with_it(
    number: int, case: Case, gate: Gate, start: Callable[[int], Cluster]
) -> None:
    """Row 9: kill -9 of gcs_server in the middle of two retrains, or it is stopped. `serve` says so
    and ends; on a new cluster the next one goes on."""
    cluster = start(2)
    case.submit(*(case.ids[i] for i in LANES))
    before = case.published()
    child = serve(case, cluster, gate)
    wait_until(lambda: len(gate.begun()) == 2)
    epoch = case.epoch()
    os.kill(pid_of(cluster.made.head_node, "gcs_server"), number)
    ended = child.end()
    assert ended.code == 5, ended
    assert "The head of the Ray cluster" in ended.err.splitlines()[-1], ended.err
    assert case.published() == before
    cluster.made.shutdown()
    case.submit(case.ids[6])
    gate.open()
    child = serve(case, start(1), gate)
    wait_until(lambda: certified(case))
    drained(child)
    assert case.epoch() > epoch
    case.expect_whole()
