"""What children of the fault matrix do: the commands of the command line, and the queue's own calls where a test needs to be more exact."""

import json
import os
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch

from lmeraser_ray import cli, queue, restore, unlearn, verify  # noqa: F401 - imported once for all children
from lmeraser_ray.config import Config
from lmeraser_ray.erasure.signing import KeyFolder
from lmeraser_ray.session import Session
from lmeraser_ray.train import train
from tests.conftest import World

torch.set_num_threads(1)


def command(verb: str, *words: str) -> None:
    """A command, as it is typed."""
    with redirect_stdout(sys.stdout), redirect_stderr(sys.stderr):
        sys.exit(cli.run(verb, words))


def learn(root: Path, config: str) -> None:
    """`train` with a configuration, as JSON."""
    train(Session(root), Config.model_validate_json(config))


def scribble(root: Path) -> None:
    """Die within a transaction that is so large that SQLite has written a part of it to the file."""
    session = Session(root)
    with session.database() as database, database.write() as conn:
        conn.exec_driver_sql("PRAGMA cache_size = 10")
        for number in range(4000):
            conn.exec_driver_sql("INSERT INTO tombstones VALUES (?)", (f"{number * 7919 % 4001:064x}",))
        os.kill(os.getpid(), signal.SIGKILL)


def serve_gated(root: Path, address: str, keys: Path, gate: Path) -> None:
    """`queue serve` on a Ray cluster, with a learner whose trainings wait at a gate. What it tells goes to stderr."""
    from lmeraser_ray.verbs.serving import log
    from tests.gated import Gated

    session = Session(root, overrides=(("execution.engine", "ray"), ("execution.address", address), ("queue.lease", "10")))
    queue.serve(session, keys=KeyFolder(keys), say=log, trusted=True, learner=Gated(session.config(), gate))


def sweep_held(world: World, study: Path, address: str, told: Path) -> None:
    """`sweep` on a Ray cluster. When a trial has trained something for the first time, its process is told, by the name of a file, and
    everything waits for the file `go`."""
    from lmeraser_ray.distributed.sweep import STEP, Stopping
    from tests.distributed.test_sweep import run
    from tests.faults.children import wait_until
    from tests.unit.test_sweep import never_stops

    tell = Stopping.on_trial_result

    def holding(self: Stopping, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if json.loads(result[STEP]).get("trained") and not any(told.iterdir()):
            (told / str(result["pid"])).touch()
            wait_until((told / "go").exists)
        return tell(self, controller, trial, result)

    patch = pytest.MonkeyPatch()
    never_stops(patch)
    patch.setattr(Stopping, "on_trial_result", holding)
    run(world, "ray", study, address=address)
