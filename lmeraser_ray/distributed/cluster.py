"""Which cluster: one that runs already (`execution.address`, RAY_ADDRESS), else a local one for the
length of the command.

Nothing true lives in the cluster: what it computes is in the workspace, and whoever kills it loses
time only.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lmeraser_ray.config import ExecutionConfig
from lmeraser_ray.distributed import sentinel
from lmeraser_ray.errors import ExecutionError


def connect(execution: ExecutionConfig) -> bool:
    """Be connected to a cluster. Returns whether it is ours to shut down. Errors: `ExecutionError`
    where none can be reached."""
    if ray.is_initialized():
        return False
    address = execution.address or os.environ.get("RAY_ADDRESS")
    os.environ.setdefault(
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0"
    )  # else `uv run` uploads the working directory
    os.environ.setdefault(
        "RAY_BACKEND_LOG_LEVEL", "fatal"
    )  # the C++ core writes to our terminal; its log files keep all that matters
    options = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        with silent_stderr():
            if address:
                ray.init(address=address, **options)
            else:
                ray.init(
                    address="local",
                    num_cpus=execution.cpus,
                    num_gpus=execution.gpus,
                    include_dashboard=False,
                    **options,
                )
    except Exception as error:
        where = f"the Ray cluster at {address}" if address else "a local Ray cluster"
        raise ExecutionError(
            f"{where} could not be reached or started ({error}): check it, or set "
            "--execution.engine inline."
        ) from error
    tighten_token()
    stop_on_sigterm()
    sentinel.watch()
    return True


def disconnect() -> None:
    """Leave the cluster; one that `connect` started ends."""
    sentinel.leave()
    ray.shutdown()


@contextmanager
def connected(execution: ExecutionConfig) -> Iterator[None]:
    """Stay connected to the configured cluster while the context lasts; a cluster that this context
    started ends with it. Errors: as `connect`."""
    owned = connect(execution)
    try:
        yield
    finally:
        if owned:
            disconnect()


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Send what the C++ core writes to file descriptor 2 nowhere: a line about its own log level.
    Errors come as exceptions."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def tighten_token() -> None:
    """Ray makes its token readable by everyone; only its owner should read it."""
    token = Path.home() / ".ray" / "auth_token"
    if (
        token.is_file() and token.stat().st_uid == os.geteuid()
    ):  # a container's user may have no name
        token.chmod(0o600)


def stop_on_sigterm() -> None:
    """Have SIGTERM (docker stop, ray job stop) end a command as Ctrl-C does: `ray.init` set a
    handler that aborts with a C++ stack, 134."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def session_folder() -> Path | None:
    """The session folder of the cluster that this process is connected to, on this machine; None
    without a cluster."""
    node = ray._private.worker.global_worker.node if ray.is_initialized() else None
    return Path(node.get_session_dir_path()) if node else None


def total(resource: str) -> float:
    """How much of a resource (`CPU`, `GPU`) the cluster has."""
    return float(ray.cluster_resources().get(resource, 0.0))


def here() -> NodeAffinitySchedulingStrategy:
    """For an actor that must be on this process's node. Ray 2.60 takes no notice of a soft affinity
    where an actor asks for no resources: any node may be given it, and takes it along when it is
    lost."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
