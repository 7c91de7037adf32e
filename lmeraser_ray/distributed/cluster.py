"""The connection to a cluster: one that runs already (`execution.address`, RAY_ADDRESS), else a
local one that ends with the command.

The cluster holds no state that matters: what it computes is in the workspace, and its loss costs
time only.
"""

import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

import ray
from ray._private import services
from ray._private.authentication.authentication_token_setup import (
    maybe_enable_token_auth_if_token_available,
)
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lmeraser_ray.config import ExecutionConfig
from lmeraser_ray.distributed import sentinel
from lmeraser_ray.distributed.address import ANSWER_S, configured, require_head, speaks, unreachable
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.operations.interruption import end_without_python, ending_at_once
from lmeraser_ray.pipeline.outlet import occupy
from lmeraser_ray.pipeline.waiting import Waiting
from lmeraser_ray.storage.home import can_hold, home_folder

TOKEN = Path(".ray", "auth_token")
"""Where Ray keeps its token, below the home folder."""
TOKEN_VARIABLES = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
Handler = Callable[[int, FrameType | None], object] | int | None
"""What `signal.signal` takes and returns."""


def connect(execution: ExecutionConfig) -> bool:
    """Connect to a cluster, unless this process is connected. Returns whether the caller is to
    `disconnect`. Errors: `ExecutionError` where no cluster can be reached or started."""
    if ray.is_initialized():
        return False
    address = configured(execution)
    os.environ.setdefault(
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0"
    )  # else `uv run` uploads the working directory
    os.environ.setdefault(
        "RAY_BACKEND_LOG_LEVEL", "fatal"
    )  # the C++ core writes to our terminal; its log files keep all that matters
    where = f"the Ray cluster at {address}" if address else "a local Ray cluster"
    options = {"logging_level": logging.ERROR, "log_to_driver": False}
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        with Waiting(f"for {where}"), silent_stderr(), ending_at_once():
            if address:
                require_head(head_of(address))
                enter(address, partial(ray.init, address=address, **options), execution.patience)
            else:
                provide_token()
                # a cluster of our own does our work alone, and no other is to have precedence
                os.environ.setdefault("RAY_worker_niceness", "0")
                ray.init(
                    address="local",
                    num_cpus=execution.cpus,
                    num_gpus=execution.gpus,
                    include_dashboard=False,
                    **options,
                )
    except ExecutionError:
        raise
    except SystemExit as error:  # of Ray's own handler of SIGTERM, until ours is back
        raise KeyboardInterrupt from error
    except Exception as error:
        raise ExecutionError(
            f"{where} could not be reached or started ({error}): check it, or set "
            "--execution.engine inline."
        ) from error
    tighten_token()
    stop_on_sigterm(on_sigterm)
    sentinel.watch()
    return True


def head_of(address: str | None) -> str | None:
    """Where the head is that an address means; `auto` is the one that this machine started last,
    which may be gone. Errors: `ConnectionError` where it started none."""
    if address != "auto":
        return address
    found: str | None = services.canonicalize_bootstrap_address(address)
    return found


def enter(address: str, begin: Callable[[], object], patience: float) -> None:
    """Have `begin` connect to the cluster at an address, in a thread: Ray's core, where it waits
    for a head that hangs, hears no signal and knows no end. Errors: `ExecutionError` where the
    cluster has not let this process in after `patience` seconds, or its node here hangs; else as
    `begin`."""
    entered: Future[None] = Future()

    def run() -> None:
        try:
            require_node(address)
            begin()
            entered.set_result(None)
        except (Exception, SystemExit) as error:  # raised where the result is asked for
            entered.set_exception(error)

    threading.Thread(target=run, name="lmeraser-connecting", daemon=True).start()
    try:
        entered.result(patience)
    except TimeoutError:
        if entered.done():  # by an error of that kind, or at the last moment
            entered.result()
            return
        end_without_python()
        raise unreachable(address, f"it has not let this command in for {patience:g} s") from None


def require_node(address: str) -> None:
    """Errors: `ExecutionError` where this machine's node of the cluster does not answer. Ray's core
    would end this process then, without a word."""
    if "://" in address:
        return
    if address == "auto":
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    node = services.get_node_to_connect_for_driver(GcsClient(address=head_of(address)))
    where = f"{node.node_manager_address}:{node.node_manager_port}"
    if not speaks(where, ANSWER_S):
        raise unreachable(address, f"its node on this machine ({where}) does not answer")


def require_room(execution: ExecutionConfig, gpus: float) -> None:
    """Errors: `ExecutionError` that names the cluster and what is free in it, where a task that
    takes a CPU, and `gpus` GPUs, does not begin within `execution.patience` seconds. An autoscaler
    sees the task. A cluster that this process started is not asked."""
    address = configured(execution)
    if address is None:
        return
    task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(nothing).remote()
    with Waiting(lambda: f"for a free CPU of the Ray cluster at {address} ({free()})"):
        done, _ = ray.wait([task], timeout=execution.patience)
    if not done:
        ray.cancel(task, force=True)
        raise ExecutionError(
            f"The Ray cluster at {address} has begun no task for {execution.patience:g} s: "
            f"{free()}. Wait until it has room, add nodes, or raise --execution.patience."
        )


def free() -> str:
    """What of the cluster is free, in words."""
    left, there = ray.available_resources(), ray.cluster_resources()
    return (
        " and ".join(
            f"{left.get(kind, 0.0):g} of {there.get(kind, 0.0):g} {kind}s"
            for kind in ("CPU", "GPU")
        )
        + " are free"
    )


def working(execution: ExecutionConfig, what: str) -> Waiting:
    """Say what a cluster that others may use is to do, where nothing has come of it for a while.
    what: the work, in words. On a cluster that this process started, there is only that work."""
    address = configured(execution)
    return Waiting(
        lambda: f"for {what} on the Ray cluster at {address} ({free()})", silent=address is None
    )


def nothing() -> None:
    """The task that asks whether there is room."""


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
    """Discard what the C++ core writes to file descriptor 2: a line about its own log level. Errors
    come as exceptions."""
    occupy()
    if sys.stderr is not None:
        sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def provide_token() -> None:
    """Give the local cluster a token of this process's own where Ray could not keep one: Ray makes
    one in the home folder, and fails for a user who has none or may not write there."""
    kept = home_folder() / TOKEN
    if not kept.is_file() and not can_hold(kept) and not TOKEN_VARIABLES & set(os.environ):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def tighten_token() -> None:
    """Make Ray's token readable by its owner only; Ray makes it readable by everyone."""
    token = home_folder() / TOKEN
    if (
        token.is_file() and token.stat().st_uid == os.geteuid()
    ):  # a container's user may have no name
        token.chmod(0o600)


def stop_on_sigterm(before: Handler) -> None:
    """Have SIGTERM (docker stop, ray job stop) end a command as Ctrl-C does. The handler of
    `ray.init` aborts with a C++ stack and exit code 134. before: the handler until then."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before if callable(before) else signal.default_int_handler)


def session_folder() -> Path | None:
    """Return the session folder on this machine of the cluster that this process is connected to;
    None without a cluster."""
    node = ray._private.worker.global_worker.node if ray.is_initialized() else None
    return Path(node.get_session_dir_path()) if node else None


def total(resource: str) -> float:
    """Return how much of a resource (`CPU`, `GPU`) the cluster has."""
    return float(ray.cluster_resources().get(resource, 0.0))


def here() -> NodeAffinitySchedulingStrategy:
    """Return the strategy for an actor that must be on this process's node. A soft affinity is not
    enough: Ray 2.60 ignores it for an actor without resources, which then may be on any node, and
    is lost with that node."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
