"""`doctor`: what of the machine, GPU, Ray, keys, database and disk is ready, a sentence each, and
what to do where something is not.

Nothing is started, made or changed: a local cluster is not begun, no key and no table is made.

>>> [finding.what for finding in doctor(Session(Path("nowhere"))).findings][:3]
['machine', 'GPU', 'Ray']
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from lmeraser_ray.config import ExecutionConfig
from lmeraser_ray.erasure.certificate.keystore import key_folder
from lmeraser_ray.errors import ConfigError, ExecutionError, LmeraserError
from lmeraser_ray.pipeline.engines import require_cluster
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.home import can_hold
from lmeraser_ray.storage.paths import local_folder

NEEDED_BYTES = 2 << 30
"""Free space below which a training of a few thousand pictures may fill the disk."""


@dataclass(frozen=True)
class Sighting:
    """What was found of one thing. ready: None where the thing is not needed."""

    what: str
    ready: bool | None
    sentence: str


@dataclass(frozen=True)
class Diagnosis:
    """What was found of everything."""

    findings: tuple[Sighting, ...]

    @property
    def ready(self) -> bool:
        """Whether nothing that is needed is missing."""
        return all(finding.ready is not False for finding in self.findings)


def doctor(session: Session) -> Diagnosis:
    """Look at everything that a command needs. Errors: none; what fails is a finding."""
    looks: dict[str, Callable[[], Sighting]] = {
        "machine": machine,
        "GPU": gpu,
        "Ray": lambda: ray(execution_of(session)),
        "keys": keys,
        "database": lambda: database(session),
        "disk": lambda: disk(session),
    }
    return Diagnosis(tuple(found(what, look) for what, look in looks.items()))


def found(what: str, look: Callable[[], Sighting]) -> Sighting:
    """Return what a look found; an error that it meets is a finding."""
    try:
        return look()
    except LmeraserError as error:
        return Sighting(what, False, str(error))


def execution_of(session: Session) -> ExecutionConfig:
    """Return how the workspace's commands are carried out; the defaults where there is none."""
    try:
        return session.config().execution
    except LmeraserError:
        return ExecutionConfig()


def machine() -> Sighting:
    """The processors and the memory that this process may use."""
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory().available
    said = f"{cores} processors, {gigabytes(memory)} of memory free"
    if memory < NEEDED_BYTES:
        return Sighting("machine", False, f"{said}: end other programs, or take a larger machine.")
    return Sighting("machine", True, f"{said}.")


def gpu() -> Sighting:
    """The GPUs that torch sees."""
    import torch

    count = torch.cuda.device_count()
    if count:
        name = torch.cuda.get_device_name()
        return Sighting("GPU", True, f"torch {torch.__version__} sees {count} ({name}).")
    return Sighting(
        "GPU", None, f"torch {torch.__version__} sees none: everything runs on the CPU."
    )


def ray(execution: ExecutionConfig) -> Sighting:
    """The cluster that commands would connect to, or whether a local one could be started."""
    if find_spec("ray") is None:
        return Sighting("Ray", False, "Ray is not installed: run `pip install ray`.")
    release = f"Ray {version('ray')}"
    if execution.engine == "inline":
        return Sighting("Ray", None, f"{release} is not used: execution.engine is inline.")
    address = execution.address or os.environ.get("RAY_ADDRESS", "")
    if address in ("", "auto", "local"):
        return Sighting("Ray", True, f"{release} starts a cluster on this machine when needed.")
    try:
        require_cluster(execution)
    except ExecutionError as error:
        return Sighting("Ray", False, str(error))
    return Sighting("Ray", True, f"{release}; the cluster at {address} answers.")


def keys() -> Sighting:
    """The key that would sign certificates."""
    folder = key_folder()
    folder.require_place()
    if folder.private_path.exists():
        return Sighting("keys", True, f"{folder.path} signs with {folder.current().keyid[:12]}….")
    if not folder.default:
        folder.current()  # says what is missing
    if not can_hold(folder.private_path):
        raise ConfigError(
            f"{folder.path} cannot be written, and certificates are signed there: name another "
            "folder by LMERASER_KEYS, and make its key by `lmeraser keys init`."
        )
    return Sighting("keys", True, f"the first certificate makes a key in {folder.path}.")


def database(session: Session) -> Sighting:
    """The request database of the workspace."""
    if not session.folder.store.root.is_dir():
        return Sighting(
            "database", None, f"{session.root} is no workspace yet: `lmeraser train` makes one."
        )
    from contextlib import closing

    from lmeraser_ray.errors import DataError
    from lmeraser_ray.storage.database.database import Database

    url = session.config().queue.database
    try:
        with closing(Database.open(session.root, url, create=False)) as opened:
            return Sighting("database", True, f"the request database ({opened.dialect}) answers.")
    except DataError:
        return Sighting("database", True, "no erasure has been requested here yet.")


def disk(session: Session) -> Sighting:
    """The space for what is written: the workspace, or what goes to a bucket meanwhile."""
    root = local_folder(session.root) or Path(os.environ.get("TMPDIR", "/tmp"))  # noqa: S108
    there = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if not os.access(there, os.W_OK | os.X_OK):
        return Sighting("disk", False, f"{there} cannot be written: choose another --workspace.")
    if free < NEEDED_BYTES:
        return Sighting(
            "disk",
            False,
            f"{gigabytes(free)} are free in {there}, and {gigabytes(NEEDED_BYTES)} are needed: "
            "remove what is not needed, or choose another --workspace.",
        )
    return Sighting("disk", True, f"{gigabytes(free)} are free in {there}.")


def gigabytes(size: int) -> str:
    """Return a number of bytes for people."""
    return f"{size / (1 << 30):.1f} GB"
