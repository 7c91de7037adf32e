"""The source `folder`: PATH/class/file, each file a picture of the class that its folder names.

Invariants: the record id is the path below PATH with `/`, in the order of sorted names; nothing
outside of PATH is read; a file that is not understood is an error and never left out, except for
hidden ones, which file managers scatter about.
"""

import functools
import os
from collections.abc import Iterator
from pathlib import Path

from lmeraser_ray.data.ids import clean_name
from lmeraser_ray.data.sources.entry import Picture, SourceEntry, place
from lmeraser_ray.errors import DataError

HIDDEN = frozenset({"thumbs.db", "desktop.ini"})
"""What Windows leaves in folders of pictures, in lower case; elsewhere a hidden name begins with a
dot."""


def folder_entries(root: Path, *, flatten: bool) -> Iterator[SourceEntry]:
    """The pictures below `root`. With `flatten` at any depth below a class folder, otherwise
    directly in it.

    Raises `DataError` naming the file: outside of the class folders, too deep, a link out of `root`
    or to a folder, no UTF-8 name.
    """
    if not root.is_dir():
        found = "is not a folder" if root.exists() else "does not exist"
        raise DataError(
            f"{place(root)}: {found}, expected a folder of class folders: correct data.path or "
            "data.test_path."
        )
    real = root.resolve()
    for item in _listing(root):
        label = clean_name(item.name, what="label", where=place(item.path))
        if not _is_folder(item, real):
            raise DataError(
                f"{place(item.path)}: the file lies beside the class folders, expected "
                "PATH/class/file: move it."
            )
        for picture in _pictures(item.path, inside=f"{item.name}/", real=real, flatten=flatten):
            yield SourceEntry(
                name=picture.name, label=label, subject=None, where=picture.where, read=picture.read
            )


def folder_pictures(root: Path) -> Iterator[Picture]:
    """All pictures at any depth below the folder `root`, of whatever class. Errors as for
    `folder_entries`."""
    yield from _pictures(root, inside="", real=root.resolve(), flatten=True)


def read_file(path: str) -> bytes:
    """The file's bytes. Raises `DataError` naming it."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(
            f"{place(path)}: the file cannot be read ({error.strerror}): check that it is there, "
            "and its permissions."
        ) from error


def _pictures(folder: Path | str, *, inside: str, real: Path, flatten: bool) -> Iterator[Picture]:
    """The pictures of one folder and, with `flatten`, of those below it; `inside` is its path below
    the root with a `/` behind."""
    for item in _listing(folder):
        where, relative = place(item.path), f"{inside}{item.name}"
        # Of folders too: the limit on an id's length is the limit on the depth of this recursion.
        name = clean_name(relative, what="record id", where=where)
        if not _is_folder(item, real):
            yield Picture(name=name, where=where, read=functools.partial(read_file, item.path))
        elif flatten:
            yield from _pictures(item.path, inside=f"{relative}/", real=real, flatten=flatten)
        else:
            raise DataError(
                f"{where}: a folder within a class folder, expected PATH/class/file: move its "
                "files, or set data.flatten."
            )


def _listing(folder: Path | str) -> list[os.DirEntry[str]]:
    """What is in the folder and not hidden, sorted by name."""
    try:
        with os.scandir(folder) as found:
            items = [
                item
                for item in found
                if not item.name.startswith(".") and item.name.lower() not in HIDDEN
            ]
    except OSError as error:
        raise DataError(
            f"{place(folder)}: the folder cannot be read ({error.strerror}): check its permissions."
        ) from error
    for item in items:
        try:
            item.name.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"{place(item.path)}: the name is not UTF-8, so it cannot be a record id: rename "
                "it."
            ) from None
    return sorted(items, key=lambda item: item.name)


def _is_folder(item: os.DirEntry[str], real: Path) -> bool:
    """True for a folder, False for a file, `DataError` for what is neither and for links that lead
    out, nowhere, or to a folder."""
    where = place(item.path)
    if item.is_symlink():
        try:
            target = Path(item.path).resolve(strict=True)
        except (OSError, RuntimeError):  # RuntimeError: a loop of links, in Python 3.11
            raise DataError(
                f"{where}: a broken link: restore what it points to, or remove it."
            ) from None
        if not target.is_relative_to(real):
            raise DataError(f"{where}: a link that leaves {place(real)}: copy the file itself.")
        if target.is_dir():
            raise DataError(
                f"{where}: a link to a folder, whose pictures would count twice: remove it."
            )
    if item.is_dir():
        return True
    if not item.is_file():
        raise DataError(f"{where}: neither a file nor a folder: remove it.")
    return False
