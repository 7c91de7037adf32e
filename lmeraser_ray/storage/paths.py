"""Where a workspace is: a folder of this machine or of a shared file system, or a prefix in object
storage.

    >>> from lmeraser_ray.storage.paths import location, name_below
    >>> workspace = location("s3://bucket/pets")
    >>> name_below(workspace / "objects" / "records", workspace)
    'objects/records'
"""

import os
import secrets
from pathlib import Path, PurePosixPath

from lmeraser_ray.errors import ConfigError
from lmeraser_ray.storage.object_storage.path import ObjectPath

Location = Path | ObjectPath
SCHEMES = ("s3", "gs", "az")
UNPACKED = "/runtime_resources/working_dir_files/"
"""A part of the path of each folder that `ray job submit` unpacks for a job."""


def location(text: str) -> Location:
    """The place that a path or a URL `s3://bucket/prefix` (or gs, az) names.

    Errors: `ConfigError` on any other URL, on a URL without a prefix, and on a folder that Ray
    removes with its job.
    """
    scheme, colon, rest = text.partition("://")
    if not colon:
        if goes_with_job(Path(text)):
            raise ConfigError(
                f"{text!r} is where Ray has unpacked this job, a folder of one node that goes "
                "with the job: name a folder that all nodes see by its whole path, or a URL such "
                "as s3://bucket/prefix."
            )
        return Path(text)
    bucket, _, key = rest.partition("/")
    if (
        scheme not in SCHEMES
        or not bucket
        or any(part in ("", ".", "..") for part in key.rstrip("/").split("/"))
    ):
        raise ConfigError(
            f"{text!r} is no place for a workspace: give a folder, or a URL such as "
            f"s3://bucket/prefix (of {', '.join(SCHEMES)})."
        )
    return ObjectPath(f"{scheme}://{bucket}", key.rstrip("/"))


def goes_with_job(path: Path) -> bool:
    """Whether Ray unpacked the folder of this path for a job, and removes it after the job."""
    return UNPACKED in path.absolute().as_posix()


def local_folder(root: Location) -> Path | None:
    """The folder of this machine that `root` is; None where it is in object storage."""
    return root if isinstance(root, Path) else None


def require_disk(root: Location) -> Path:
    """`root`, a folder of this machine. Errors: `ConfigError` where it is in object storage."""
    folder = local_folder(root)
    if folder is None:
        raise ConfigError(
            f"{root} is in object storage, expected a folder of this machine: only a workspace "
            "can be there."
        )
    return folder


def on_disk(text: str) -> Path:
    """A path of this machine. Errors: `ConfigError` on a URL."""
    return require_disk(location(text))


def inside(path: Path, root: Location) -> bool:
    """Whether a path of this machine lies within `root`."""
    folder = local_folder(root)
    return folder is not None and path.resolve().is_relative_to(folder.resolve())


def name_below(path: Location, root: Location) -> str:
    """The names from `root` to `path`, with `/` between them."""
    return PurePosixPath(str(path)).relative_to(str(root)).as_posix()


def temporary_name() -> str:
    """A new name for a file that is not complete yet."""
    return f"{os.getpid()}-{secrets.token_hex(8)}"
