"""What children of the fault matrix do: the commands of the command line, and the queue's own calls
where a test needs to be more exact."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch

from lmeraser_ray.cli import main as cli
from lmeraser_ray.config import Config
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.operations import queue
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.store import Store
from tests.support.world import World

torch.set_num_threads(1)
UNLIKE = ("learner.epochs", ["20", "21", "22", "23"])
"""Values that share no constituent: every trial trains."""
TRAINED, GPUS = "trained", "gpus"
"""Files of `sweep_held`."""


def command(verb: str, *words: str) -> None:
    """A command, as it is typed."""
    with redirect_stdout(sys.stdout), redirect_stderr(sys.stderr):
        sys.exit(cli.run(verb, words))


def learn(root: Path, config: str) -> None:
    """`train` with a configuration, as JSON."""
    train(Session(root), Config.model_validate_json(config))


def scribble(root: Path) -> None:
    """Die within a transaction that is so large that SQLite has written a part of it to the
    file."""
    session = Session(root)
    with session.database() as database, database.write() as conn:
        conn.exec_driver_sql("PRAGMA cache_size = 10")
        for number in range(4000):
            conn.exec_driver_sql(
                "INSERT INTO tombstones (hash, secret) VALUES (?, 1)",
                (f"{number * 7919 % 4001:064x}",),
            )
        os.kill(os.getpid(), signal.SIGKILL)


def serve_gated(root: Path, address: str, keys: Path, gate: Path) -> None:
    """`queue serve` on a Ray cluster, with a learner whose trainings wait at a gate. What it tells
    goes to stderr."""
    from lmeraser_ray.cli.queue import log
    from tests.support.gated import Gated

    session = Session(
        root,
        overrides=(
            ("execution.engine", "ray"),
            ("execution.address", address),
            ("queue.lease", "10"),
        ),
    )
    queue.serve(
        session, keys=KeyFolder(keys), say=log, trusted=True, learner=Gated(session.config(), gate)
    )


def train_held(root: Path, config: str, address: str, told: Path, gate: Path) -> None:
    """`train` on a Ray cluster: waits, with the first features in its hand, for the file `go`;
    trainings wait at the gate."""
    from lmeraser_ray.data.feature_file import Features
    from lmeraser_ray.data.reader import Rows
    from lmeraser_ray.distributed.engine import RayEngine
    from tests.support.children import wait_until
    from tests.support.gated import Gated

    class Holding(RayEngine):
        def features(self, parts: Sequence[Rows]) -> Iterator[tuple[int, int, Features]]:
            for batch in super().features(parts):
                if not (told / "held").exists():
                    (told / "held").touch()
                    wait_until((told / "go").exists)
                yield batch

    def make(store: Store, config: Config, card: BackboneCard) -> RayEngine:
        return Holding(store, config, card, learner=Gated(config, gate))

    execution = {"engine": "ray", "address": address, "feature_block": 1}
    train(
        Session(root, make_engine=make),
        Config.model_validate({**json.loads(config), "execution": execution}),
    )


def sweep_held(
    world: World, study: Path, address: str, told: Path, gpus: float, at_once: int
) -> None:
    """`sweep` of `UNLIKE` on a Ray cluster. What a trial has trained is written to `TRAINED`:
    value, process, node, key. All waits, at the first training, until so many trials live (what
    each node's have of GPUs is written to `GPUS` then), and when trials on two nodes have trained,
    for the file `go`."""
    from lmeraser_ray.distributed.sweep import STEP, VALUE, Stopping
    from tests.support.children import wait_until
    from tests.support.sweeps import never_stops, sweep_on

    tell, nodes = Stopping.on_trial_result, set[str]()

    def holding(self: Stopping, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        keys = json.loads(result[STEP]).get("trained", ())
        if keys and not nodes:
            wait_until(lambda: trials_alive() == at_once)
            (told / GPUS).write_text(json.dumps(gpus_of_trials()))
        if keys:
            node = node_of_actor(result["pid"])
            with (told / TRAINED).open("a") as lines:
                lines.writelines(
                    f"{trial.config[VALUE]} {result['pid']} {node} {key}\n" for key in keys
                )
            if len(nodes) < 2 and len(nodes | {node}) == 2:
                (told / "held").touch()
                wait_until((told / "go").exists)
            nodes.add(node)
        return tell(self, controller, trial, result)

    patch = pytest.MonkeyPatch()
    never_stops(patch)
    patch.setattr(Stopping, "on_trial_result", holding)
    sweep_on(world, "ray", study, axis=UNLIKE, address=address, task_gpus=gpus)


def claims_started(address: str, times: int) -> set[str]:
    """Starts the actor that knows who trains what, so many times. Returns the nodes that are not
    the driver's and have one."""
    import ray

    from lmeraser_ray.config import ExecutionConfig
    from lmeraser_ray.distributed.cluster import connect
    from lmeraser_ray.distributed.sweep import start_claims

    connect(ExecutionConfig(address=address))
    started = [start_claims() for _ in range(times)]
    ray.get([claims.made.remote("key") for claims in started])
    return {actor["Address"]["NodeID"] for actor in ray._private.state.actors().values()} - {
        ray.get_runtime_context().get_node_id()
    }


def node_of_actor(pid: int) -> str:
    """The node of the actor that is, or was, in a process."""
    import ray

    return next(
        str(actor["Address"]["NodeID"])
        for actor in ray._private.state.actors().values()
        if actor["Pid"] == pid
    )


def trials_alive() -> int:
    """How many actors of trials are on the cluster."""
    import ray

    table = ray._private.state.actors(actor_state_name="ALIVE")
    return sum("Trainable" in actor["ActorClassName"] for actor in table.values())


def gpus_of_trials() -> dict[str, float]:
    """The GPUs that are set aside for trials, by node."""
    from ray.util import placement_group_table

    found: dict[str, float] = {}
    for group in placement_group_table().values():
        if group["state"] == "CREATED":
            for bundle, resources in group["bundles"].items():
                node = group["bundles_to_node_id"][bundle]
                found[node] = found.get(node, 0.0) + resources.get("GPU", 0.0)
    return found


def enter(address: str, stopped: int = 0) -> tuple[float, str]:
    """Connects to a Ray cluster. Returns the seconds that it took, and the error. stopped: a
    process that is stopped as soon as the head has greeted."""
    from lmeraser_ray.config import ExecutionConfig
    from lmeraser_ray.distributed import cluster
    from lmeraser_ray.errors import ExecutionError
    from lmeraser_ray.operations.interruption import listen
    from tests.support.children import stop

    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    listen()
    look = cluster.require_head

    def greeted(where: str | None) -> None:
        look(where)
        if stopped:
            stop(stopped)

    pytest.MonkeyPatch().setattr(cluster, "require_head", greeted)
    begun = time.monotonic()
    try:
        cluster.connect(ExecutionConfig(address=address))
    except ExecutionError as error:
        return time.monotonic() - begun, str(error)
    cluster.disconnect()
    return time.monotonic() - begun, ""


def hold_cpus(address: str, told: Path) -> None:
    """Another job: takes the CPU of a Ray cluster until there is the file `go`."""
    from lmeraser_ray.config import ExecutionConfig
    from lmeraser_ray.distributed.cluster import connect, disconnect

    connect(ExecutionConfig(address=address))
    take_cpu(told)
    disconnect()


def take_cpu(told: Path) -> None:
    """Takes a CPU, says so by the file `held`, and gives it back when there is the file `go`."""
    import ray

    from lmeraser_ray.distributed.cluster import nothing
    from tests.support.children import wait_until

    class Other:
        def begun(self) -> None:
            nothing()

    other = ray.remote(num_cpus=1)(Other).remote()
    ray.get(other.begun.remote())
    (told / "held").touch()
    wait_until((told / "go").exists)
    ray.kill(other)


def command_let_in(told: Path, verb: str, *words: str) -> None:
    """A command that finds room on its cluster, which is taken then: for `train` by another job
    before, for `sweep` by `take_cpu`, when its trials are to begin."""
    from lmeraser_ray.distributed import engine, sweep
    from tests.support.children import wait_until

    def taken(*_: object) -> None:
        threading.Thread(target=take_cpu, args=(told,), daemon=True).start()
        wait_until((told / "held").exists)

    patch = pytest.MonkeyPatch()
    patch.setattr(engine, "require_room", lambda *_: None)
    patch.setattr(sweep, "require_room", taken)
    command(verb, *words)
