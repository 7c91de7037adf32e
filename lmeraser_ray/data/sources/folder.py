"""The source `folder`: PATH/class/file, each file a picture of the class that its folder names, or
pictures of which a file of metadata says the class.

Invariants: the record id is the path below PATH with `/`, in the order of sorted names; nothing
outside of PATH is read; a file that is not understood is an error and never left out, except for
hidden ones, which file managers scatter about.
"""

import functools
import os
from collections.abc import Iterator
from pathlib import Path

from lmeraser_ray.config import DataConfig
from lmeraser_ray.data.ids import clean_name
from lmeraser_ray.data.permanent import said_permanent
from lmeraser_ray.data.pictures import PICTURE_BYTES
from lmeraser_ray.data.sources.entry import Picture, SourceEntry, place
from lmeraser_ray.data.sources.faults import Fault
from lmeraser_ray.data.sources.layout import BESIDE, METADATA
from lmeraser_ray.data.sources.picture_metadata import Line, Lines, picture_metadata
from lmeraser_ray.errors import DataError, PictureError
from lmeraser_ray.storage.foreign_json import read_bounded

HIDDEN = frozenset({"thumbs.db", "desktop.ini"})
"""What Windows leaves in folders of pictures, in lower case; elsewhere a hidden name begins with a
dot."""


def folder_entries(
    root: Path, *, config: DataConfig, split: bool = False
) -> Iterator[SourceEntry | Fault]:
    """The pictures below `root`, by its file of metadata where it has one; else by its class
    folders, with `data.flatten` at any depth below them, otherwise directly in them. split: `root`
    is one split of a data set, whose metadata may be a folder above.

    Yields what is wrong with a single file: outside of the class folders, too deep, a link out of
    `root` or to a folder, no UTF-8 name. Raises `DataError` where nothing can be read.
    """
    if not root.is_dir():
        found = "is not a folder" if root.exists() else "does not exist"
        raise DataError(
            f"{place(root)}: {found}, expected a folder of class folders: correct data.path or "
            "data.test_path."
        )
    lines = picture_metadata(root)
    if lines is None and split:
        above, inside = picture_metadata(root.parent), f"{root.name}/"
        lines = above and {
            name.removeprefix(inside): line
            for name, line in above.items()
            if name.startswith(inside)
        }
    if lines is not None:
        return _by_metadata(root, lines, config)
    for name in ("subject_column", "id_column", "permanent_column"):
        if getattr(config, name) is not None:
            raise DataError(
                f"{place(root)}: data.{name} is a column of a file of metadata, and there is none: "
                f"add {' or '.join(METADATA)}, or leave it out."
            )
    return _by_class(root, flatten=config.flatten)


def _by_class(root: Path, *, flatten: bool) -> Iterator[SourceEntry | Fault]:
    real = root.resolve()
    for item in _listing(root):
        if isinstance(item, Fault):
            yield item
            continue
        try:
            label = clean_name(item.name, what="label", where=place(item.path))
            inside = _is_folder(item, real)
        except DataError as error:
            yield Fault(error, alone=False)
            continue
        if not inside and not BESIDE.fullmatch(item.name):
            yield _beside(item)
        if not inside:
            continue
        for picture in _pictures(item.path, inside=f"{item.name}/", real=real, flatten=flatten):
            if isinstance(picture, Fault):
                yield picture
            else:
                yield SourceEntry(picture.name, label, None, picture.where, picture.read)


def _beside(item: "os.DirEntry[str]") -> Fault:
    return Fault(
        DataError(
            f"{place(item.path)}: the file lies beside the class folders, expected "
            "PATH/class/file: move it."
        ),
        alone=False,
    )


def _by_metadata(root: Path, lines: Lines, config: DataConfig) -> Iterator[SourceEntry | Fault]:
    """The pictures that the lines name. A picture without a line, and a line without a picture,
    is a fault; without a column of labels the first folder is the class."""
    left = dict(lines)
    for picture in _pictures(root, inside="", real=root.resolve(), flatten=True):
        if isinstance(picture, Fault):
            yield picture
            continue
        if picture.name in METADATA or ("/" not in picture.name and BESIDE.fullmatch(picture.name)):
            continue
        line = left.pop(picture.name, None)
        if line is None:
            words = "no line of the metadata names it: add its line, or remove it."
            yield Fault(DataError(f"{picture.where}: {words}"), alone=False)
            continue
        try:
            yield _entry_of(picture, line, config)
        except DataError as error:
            yield Fault(error, alone=True)
    for name in left:
        words = "the metadata names it, and it is not there: remove its line."
        yield Fault(DataError(f"{place(root / name)}: {words}"), alone=False)


def _entry_of(picture: Picture, line: Line, config: DataConfig) -> SourceEntry:
    def column(name: str | None, what: str) -> str | None:
        if name is None:
            return None
        if line.get(name) in (None, ""):
            raise DataError(
                f"{picture.where}: the metadata give no {name!r}: fill it in, or set the column "
                f"of the {what}."
            )
        return clean_name(line[name], what=what, where=picture.where)

    folder, below, _ = picture.name.partition("/")
    known = config.label_column in line or not below
    label = column(config.label_column, "label") if known else folder
    stays = config.permanent_column
    if label == "-1":
        raise PictureError(
            f"{picture.where}: the label is -1, which says that the picture has none: give it "
            "one, or leave it out."
        )
    return SourceEntry(
        name=column(config.id_column, "record id") or picture.name,
        label=str(label),
        subject=column(config.subject_column, "subject id"),
        where=picture.where,
        read=picture.read,
        permanent=said_permanent(line.get(stays), column=stays, where=picture.where)
        if stays
        else None,
    )


def folder_pictures(root: Path) -> Iterator[Picture]:
    """All pictures at any depth below the folder `root`, of whatever class. Errors as for
    `folder_entries`."""
    for picture in _pictures(root, inside="", real=root.resolve(), flatten=True):
        if isinstance(picture, Fault):
            raise picture.error
        yield picture


def read_file(path: str) -> bytes:
    """The file's bytes. Raises `DataError` naming it."""
    try:
        return read_bounded(Path(path), PICTURE_BYTES)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise DataError(
            f"{place(path)}: the file cannot be read ({why}): check that it is there, and its "
            "permissions."
        ) from error


def _pictures(
    folder: Path | str, *, inside: str, real: Path, flatten: bool
) -> Iterator[Picture | Fault]:
    """The pictures of one folder and, with `flatten`, of those below it; `inside` is its path below
    the root with a `/` behind."""
    for item in _listing(folder):
        if isinstance(item, Fault):
            yield item
            continue
        where, relative = place(item.path), f"{inside}{item.name}"
        try:
            # Of folders too: the limit on an id's length is the limit on the depth of this
            # recursion.
            name = clean_name(relative, what="record id", where=where)
            deeper = _is_folder(item, real)
        except DataError as error:
            yield Fault(error, alone=False)
            continue
        if deeper and not flatten:
            words = "a folder within a class folder, expected PATH/class/file: move its files, or"
            yield Fault(DataError(f"{where}: {words} set data.flatten."), alone=False)
        elif deeper:
            yield from _pictures(item.path, inside=f"{relative}/", real=real, flatten=flatten)
        else:
            yield Picture(name=name, where=where, read=functools.partial(read_file, item.path))


def _listing(folder: Path | str) -> "list[os.DirEntry[str] | Fault]":
    """What is in the folder and not hidden, sorted by name, and the names that are no UTF-8."""
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
    return [_named(item) for item in sorted(items, key=lambda item: item.name)]


def _named(item: "os.DirEntry[str]") -> "os.DirEntry[str] | Fault":
    """The item, or a fault where its name cannot be a record id."""
    try:
        item.name.encode()
    except UnicodeEncodeError:
        error = DataError(
            f"{place(item.path)}: the name is not UTF-8, so it cannot be a record id: rename it."
        )
        return Fault(error, alone=False)
    return item


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
