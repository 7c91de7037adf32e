"""Files that are made once and never change: whole or not there, whichever of several processes is first."""

import os

from lmeraser_ray.storage.files import disk_errors, sync_folder, write_temporary
from lmeraser_ray.storage.object_storage.path import ObjectPath
from lmeraser_ray.storage.paths import Location


def create_once(path: Location, data: bytes, *, scratch: Location) -> bool:
    """Durably make the file `path` with `data` (mode 0600), unless there is one. Returns whether it was made here.

    scratch: a folder on the same disk; another command may clear it at any moment, after which this tries again.
    """
    with disk_errors(path):
        if isinstance(path, ObjectPath):
            try:
                path.write(data, mode="create")
            except FileExistsError:
                return False
            return True
        while True:
            scratch.mkdir(parents=True, exist_ok=True)
            temporary, _ = write_temporary(scratch, [data])
            try:
                os.link(temporary, path)  # type: ignore[arg-type]
            except FileExistsError:
                return False
            except FileNotFoundError:
                continue
            finally:
                temporary.unlink(missing_ok=True)
            sync_folder(path.parent)
            return True
