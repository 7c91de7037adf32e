"""What is to be predicted, as a stream of pictures that are not read yet.

    files, folders, patterns, Parquet files; objects of a program → Picture, Picture, …

Invariants: nothing is left out in silence: what cannot be listed is a picture of the stream whose
reading raises the reason, so that the others are predicted. Memory holds the names of one folder's
files, or 64 rows of a Parquet file.
"""

import glob
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from lmeraser_ray.data.sources.entry import Picture, place
from lmeraser_ray.data.sources.folder import HIDDEN, read_file
from lmeraser_ray.data.sources.held_pictures import encoded, held
from lmeraser_ray.data.sources.parquet import image_column, parquet_pictures
from lmeraser_ray.errors import DataError

PARQUET = ".parquet"


def asked(images: object, column: str | None = None) -> Iterator[Picture]:
    """Yield every picture of what holds several (`held_pictures.held`), in its order. Text and
    paths are those of files, folders (at any depth), patterns such as `pictures/**/*.png`, and
    Parquet files. column: the Parquet column, or the data frame's, of the pictures.

    Errors: `TypeError` for what holds no pictures.
    """
    for at, image in enumerate(held(images, column)):
        if isinstance(image, str | Path):
            yield from named(str(image), column)
        else:
            yield Picture(f"picture {at}", f"picture {at}", partial(encoded, image, column))


def named(text: str, column: str | None) -> Iterator[Picture]:
    """Yield the pictures of one path or pattern. A path that exists is no pattern."""
    path = Path(text)
    if path.is_dir():
        yield from below(text, column)
    elif os.path.lexists(path) or not glob.has_magic(text):
        yield from of_file(text, column)
    else:
        found = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - keeps what was written
        for one in found:
            if not (Path(one).is_dir() and "**" in text):  # `**` finds what is in it as well
                yield from named(one, column)
        if not found:
            yield failing(text, "no file matches the pattern: correct it.")


def of_file(text: str, column: str | None) -> Iterator[Picture]:
    """Yield the picture of a file, or those of a Parquet file."""
    if text.lower().endswith(PARQUET):
        yield from rows_of(Path(text), column)
    else:
        yield Picture(place(text), place(text), partial(read_file, text))


def below(folder: str, column: str | None) -> Iterator[Picture]:
    """Yield the pictures of a folder, at any depth, in the order of their names; hidden files are
    no pictures."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted(
                (entry.name, entry.is_dir(), entry.is_symlink())
                for entry in listing
                if not entry.name.startswith(".") and entry.name.lower() not in HIDDEN
            )
    except OSError as error:
        yield failing(folder, f"the folder cannot be read ({error.strerror}): check it.")
        return
    for name, is_folder, is_link in entries:
        path = os.path.join(folder, name)  # noqa: PTH118 - keeps `./` as it was written
        if not is_folder:
            yield from of_file(path, column)
        elif is_link:
            yield failing(path, "a link to a folder is not followed: name the folder itself.")
        else:
            yield from below(path, column)


def rows_of(file: Path, column: str | None) -> Iterator[Picture]:
    """Yield the pictures of a Parquet file's rows, named as `a.parquet:7`."""
    try:
        with pq.ParquetFile(file) as table:
            wanted = image_column(table.schema_arrow, column, place(file))
        for row, picture in enumerate(parquet_pictures([file], column=wanted)):
            yield replace(picture, name=f"{place(file)}:{row}")
    except DataError as error:
        yield failing(str(file), str(error).removeprefix(f"{place(file)}: "))
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        yield failing(str(file), f"no readable Parquet file ({reason}): write it anew.")


def failing(text: str, reason: str) -> Picture:
    """Return what stands in the stream for something that cannot be listed."""

    def read() -> NoReturn:
        raise DataError(f"{place(text)}: {reason}")

    return Picture(place(text), place(text), read)
