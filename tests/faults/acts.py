"""What children of the fault matrix do: the commands of the command line, and the queue's own calls where a test needs to be more exact."""

import os
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import torch

from lmeraser_ray import cli, queue, restore, unlearn, verify  # noqa: F401 - imported once for all children
from lmeraser_ray.config import Config
from lmeraser_ray.erasure.signing import KeyFolder
from lmeraser_ray.session import Session
from lmeraser_ray.train import train

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
