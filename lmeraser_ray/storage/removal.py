"""Removing files of a workspace, wherever they are."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from typing import cast

from lmeraser_ray.storage.files import disk_errors
from lmeraser_ray.storage.object_storage.path import ObjectPath, remove_all
from lmeraser_ray.storage.paths import Location


def files_below(root: Location) -> list[Location]:
    """Every file below a folder, whatever it is, in order; links are not followed."""
    if isinstance(root, ObjectPath):
        return list(root.below())
    return sorted(path for path in root.rglob("*") if path.is_file() or path.is_symlink())


def remove_files(paths: Sequence[Location]) -> None:
    """Remove files of one workspace. Errors: `ExecutionError` for the first that cannot be removed, once all others are."""
    if any(isinstance(path, ObjectPath) for path in paths):
        with disk_errors(paths[0]):
            remove_all(cast(Sequence[ObjectPath], paths))
        return
    stuck = None
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            stuck = stuck or (path, error)
    if stuck:
        with disk_errors(stuck[0]):
            raise stuck[1]


def remove_tree(folder: Location) -> None:
    """Remove a folder with all that is below. Errors: `OSError`."""
    if isinstance(folder, ObjectPath):
        remove_all(folder.below(markers=True))
    else:
        shutil.rmtree(folder)


def discard_tree(folder: Location) -> None:
    """Remove a folder with all that is below, as far as it can be removed: a late writer may move something out of it meanwhile."""
    if isinstance(folder, ObjectPath):
        with suppress(OSError):
            remove_tree(folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def empty_folder(folder: Location) -> None:
    """Remove what is in a folder, and not the folder. Errors: `OSError`."""
    if isinstance(folder, ObjectPath):
        remove_all(path for path in folder.below(markers=True) if path != folder.marker)
        return
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
