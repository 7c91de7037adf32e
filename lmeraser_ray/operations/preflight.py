"""What is checked before a command loads a backbone, starts Ray or makes a folder: that its inputs
are there and its place can be written.

Place in the flow: before `train` and every study, by `Workspace` and the command line, so that a
mistake is told in a second or two and leaves nothing behind. Invariants: nothing is written; torch
and Ray are not imported; nothing is refused that the command would accept.
"""

import os
import shutil

from lmeraser_ray.config import Config, PublicConfig
from lmeraser_ray.data.sources.check_source import check_path, check_source
from lmeraser_ray.data.sources.memory import HeldRecords
from lmeraser_ray.errors import DiskFullError, ExecutionError
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.files import disk_errors
from lmeraser_ray.storage.paths import Location, local_folder

LEAST_BYTES = 1 << 20
"""Free bytes without which no command gets far."""


def check_training(root: Location, config: Config, held: HeldRecords | None = None) -> None:
    """Refuse what a training of the workspace `root` would refuse later. held: as in
    `check_source`. Errors: `ConfigError`,
    `DataError` or `ExecutionError`."""
    folder = WorkspaceFolder(root, config.queue.database)
    folder.check_new()
    check_writable(root)
    check_inputs(config, whole=not folder.has_requests(), held=held)


def check_inputs(config: Config, *, whole: bool = True, held: HeldRecords | None = None) -> None:
    """Refuse inputs that are not there. whole, held: as in `check_source`. Errors: `ConfigError`
    or `DataError`."""
    for system in config.members:
        if isinstance(system.partition, PublicConfig) and system.partition.path is not None:
            check_path(system.partition.path, "partition.path")
    if config.sweep.on == "public" and config.sweep.path is not None:
        check_path(config.sweep.path, "sweep.path")
    check_source(config.data, whole=whole, held=held)


def check_writable(root: Location) -> None:
    """Errors: `ExecutionError` where the folder, or the nearest one above it, cannot be written;
    `DiskFullError` where its disk is full. Of object storage nothing is asked."""
    folder = local_folder(root)
    if folder is None:
        return
    nearest = next(
        path for path in (folder.absolute(), *folder.absolute().parents) if path.exists()
    )
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ExecutionError(
            f"{nearest} cannot be written: give another folder, or correct its permissions."
        )
    with disk_errors(nearest):
        free = shutil.disk_usage(nearest).free
    if free < LEAST_BYTES:
        raise DiskFullError(f"The disk is full: {free:,} bytes are free at {nearest}. Free some.")
