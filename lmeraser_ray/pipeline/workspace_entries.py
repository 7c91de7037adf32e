"""What a workspace's folder holds, by name and kind: its own files are regular files, and `objects`
is a folder, with folders below it.

Place in the flow: every command asks before it reads or changes anything, and `verify` names all
that is wrong. Invariant: a command that was not refused has found no link, no pipe and no device
where it is going to open, lock, cut or remove something; what was put there since then is refused
when it is opened (`storage/regular_file.py`). Object storage has nothing but objects.
"""

import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lmeraser_ray.storage.files import walk
from lmeraser_ray.storage.paths import Location, local_folder, name_below
from lmeraser_ray.storage.regular_file import kind_of
from lmeraser_ray.storage.store import KINDS

SWAP, LOCK = "CURRENT.next", "lock"
IN_PLACE = (LOCK, "requests.db", "requests.db-journal", "requests.lock")
"""Files that are changed in place, so that a second name of one would be changed with it."""
OWN_FILES = (
    *("CURRENT", SWAP, "configuration.json", "pace.json", "secret", "database", *IN_PLACE),
    "requests.waiting",  # of version 0.4.0: opening the database removes it
)
FOLDERS = ("objects", *(f"objects/{name}" for name in (*KINDS, "tmp")))


def wrong_entries(root: Location) -> Iterator[str]:
    """Yield a sentence for each entry that is no regular file, or no folder, where the workspace
    has one. Errors: `OSError`."""
    folder = local_folder(root)
    if folder is None:
        return
    for name in OWN_FILES:
        found = lstat(folder / name)
        if found and not stat.S_ISREG(found[0]):
            yield sentence(name, found[0], "a file")
        elif found and found[1] > 1 and name in IN_PLACE:
            yield (
                f"{name} has {found[1]} names: another file would be changed with it. Put a copy "
                "in its place."
            )
    for name in FOLDERS:
        found = lstat(folder / name)
        if found and not stat.S_ISDIR(found[0]):
            yield sentence(name, found[0], "a folder")
            return  # what is below is not the workspace's


def wrong_objects(root: Location) -> Iterator[str]:
    """Yield a sentence for each entry below `objects` that is neither a file nor one of its
    folders, and for each file that has a second name. Errors: those of `walk`.

    The caller holds the lock, so that scratch is its own.
    """
    folder = local_folder(root)
    if folder is None:
        return
    for path, mode in walk(folder / "objects"):
        name = name_below(path, folder)
        if stat.S_ISDIR(mode):
            if name not in FOLDERS and not name.startswith("objects/tmp/"):
                yield f"{name} is no part of a workspace: remove the folder."
        elif not stat.S_ISREG(mode):
            yield sentence(name, mode, "a file")
        elif (found := lstat(folder / name)) and found[1] > 1:
            yield (
                f"{name} has {found[1]} names: whoever keeps another one keeps its bytes when "
                "they are purged here. Remove the other one, or put a copy in its place."
            )


def lstat(path: Path) -> tuple[int, int] | None:
    """The `st_mode` of what is at `path`, a link itself included, and how many names it has; None
    where there is nothing."""
    with suppress(FileNotFoundError, NotADirectoryError):
        found = path.lstat()
        return found.st_mode, found.st_nlink
    return None


def sentence(name: str, mode: int, expected: str) -> str:
    """What is wrong with an entry of this `st_mode`."""
    found = kind_of(mode) if not stat.S_ISREG(mode) else "a file"
    return (
        f"{name} is {found}, expected {expected}: no command follows it or writes there. Remove "
        "it, and bring back the workspace's own from a copy or a backup."
    )
