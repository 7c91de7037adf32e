"""Where a workspace is: a folder of this machine or of a shared file system, or a prefix in object
storage."""

from pathlib import Path, PurePosixPath

from lmeraser_ray.errors import ConfigError
from lmeraser_ray.storage.object_storage.path import ObjectPath

Location = Path | ObjectPath
SCHEMES = ("s3", "gs", "az")
UNPACKED = "/runtime_resources/working_dir_files/"
"""In the path of the folder from which a job of `ray job submit` runs."""


def location(text: str) -> Location:
    """A path, or a URL `s3://bucket/prefix` (or gs, az).

    Errors: `ConfigError` on any other URL, on one that names no place in a bucket, and on a folder
    that goes with a job of Ray's.
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
    """Whether a path of this machine is in a folder that Ray has unpacked for a job."""
    return UNPACKED in path.absolute().as_posix()


def inside(path: Path, root: Location) -> bool:
    """Whether a path of this machine lies within `root`."""
    return isinstance(root, Path) and path.resolve().is_relative_to(root.resolve())


def on_disk(text: str) -> Path:
    """A path of this machine. Errors: `ConfigError` on a URL."""
    return require_disk(location(text))


def require_disk(root: Location) -> Path:
    """A folder of this machine. Errors: `ConfigError` where it is in object storage."""
    if not isinstance(root, Path):
        raise ConfigError(
            f"{root} is in object storage, expected a folder of this machine: only a workspace "
            "can be there."
        )
    return root


def name_below(path: Location, root: Location) -> str:
    """The names from `root` to `path`, with `/` between them."""
    return PurePosixPath(str(path)).relative_to(str(root)).as_posix()
