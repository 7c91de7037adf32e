"""What children of the fault matrix do: the commands of the command line, and the queue's own calls where a test needs to be more exact."""

import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import torch

from lmeraser_ray import cli, unlearn, verify  # noqa: F401 - imported once for all children
from lmeraser_ray.config import Config
from lmeraser_ray.erasure.queue import queue_of
from lmeraser_ray.erasure.requests import Requests
from lmeraser_ray.erasure.signing import KeyFolder
from lmeraser_ray.session import Session
from lmeraser_ray.train import train

torch.set_num_threads(1)


def command(verb: str, *words: str) -> None:
    """A command, as it is typed."""
    with redirect_stdout(sys.stdout), redirect_stderr(sys.stderr):
        sys.exit(cli.run(verb, words))


def submit(root: Path, records: Sequence[str], subjects: Sequence[str] = (), key: str | None = None) -> str:
    """Submit a request. What this returns is acknowledged."""
    session = Session(root)
    with session.database() as database:
        return Requests(database, session.names()).submit(records, subjects, key=key).id


def learn(root: Path, config: str) -> None:
    """`train` with a configuration, as JSON."""
    train(Session(root), Config.model_validate_json(config))


def work(root: Path, keys: Path | None) -> None:
    """Be the queue until nothing is left to do, and sign, if there are keys. Errors: those of the last round."""
    session = Session(root)
    with queue_of(session, keys=KeyFolder(keys) if keys else None) as queue:
        queue.round(patient=False, stop=lambda: False)
        if queue.errors:
            raise queue.errors[-1]


def serve(root: Path, keys: Path) -> None:
    """Be the queue for ever."""
    with queue_of(Session(root), keys=KeyFolder(keys)) as queue:
        queue.serve(waiting, say=print)


def waiting(seconds: float) -> bool:
    """Nobody says stop."""
    time.sleep(seconds)
    return False
