"""Which cluster: one that runs already (`execution.address`, RAY_ADDRESS), else a local one for the length of the command.

Nothing true lives in the cluster: what it computes is in the workspace, and whoever kills it loses time only.
"""

import logging
import os
from pathlib import Path

import ray

from lmeraser_ray.config import ExecutionConfig
from lmeraser_ray.errors import ExecutionError


def connect(execution: ExecutionConfig) -> bool:
    """Be connected to a cluster. Returns whether it is ours to shut down. Errors: `ExecutionError` where none can be reached."""
    if ray.is_initialized():
        return False
    address = execution.address or os.environ.get("RAY_ADDRESS")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # else `uv run` uploads the working directory
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    options = {"logging_level": logging.WARNING, "log_to_driver": False, "configure_logging": True}
    try:
        if address:
            ray.init(address=address, **options)
        else:
            ray.init(address="local", num_cpus=execution.cpus, num_gpus=execution.gpus, include_dashboard=False, **options)
    except Exception as error:
        where = f"the Ray cluster at {address}" if address else "a local Ray cluster"
        raise ExecutionError(f"{where} could not be reached or started ({error}): check it, or set --execution.engine inline.") from error
    tighten_token()
    return True


def tighten_token() -> None:
    """Ray makes its token readable by everyone; only its owner should read it."""
    token = Path.home() / ".ray" / "auth_token"
    if token.is_file() and token.owner() == Path.home().owner():
        token.chmod(0o600)


def total(resource: str) -> float:
    """How much of a resource (`CPU`, `GPU`) the cluster has."""
    return float(ray.cluster_resources().get(resource, 0.0))
