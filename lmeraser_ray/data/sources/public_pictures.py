"""Public pictures, by which `partition.kind: public` divides the private records. They have no
class and no subject, and become no records.

Invariants: names are unique and depend only on paths below the given one; pictures are streamed in
the order of their names; as for the private folder, nothing outside of the path is read, and no
file but hidden ones is left out without an error.
"""

from collections.abc import Iterator
from pathlib import Path

from lmeraser_ray.data.sources.entry import Picture, place
from lmeraser_ray.data.sources.folder import folder_pictures
from lmeraser_ray.data.sources.layout import files_within
from lmeraser_ray.data.sources.parquet import parquet_pictures
from lmeraser_ray.errors import DataError

COLUMN = "image"
"""The Parquet column of encoded pictures, bytes or {bytes, path} structs; other columns are not
read."""


def public_pictures(path: Path) -> Iterator[Picture]:
    """The pictures of a folder, at any depth, or of a Parquet file or a folder that holds some, in
    the order of their names.

    A name is the path below the folder, or the Parquet file's name and the row:
    `a.parquet:000000007`. Memory holds all paths of a folder, and 64 rows of a Parquet file. `read`
    is called at most once; the picture is not decoded here. Raises `DataError` naming the file or
    row, when the stream gets there: nothing at the path or in it, two equal names, links that lead
    out or to a folder, no `image`.
    """
    if not path.exists():
        raise DataError(
            f"{place(path)}: does not exist, expected a folder of pictures or Parquet: correct "
            "partition.path."
        )
    files = [path] if path.is_file() else files_within(path)
    found = None
    for found in _parquet(files) if files else _folder(path):
        yield found
    if found is None:
        raise DataError(f"{place(path)}: no pictures at all: correct partition.path, or fill it.")


def _parquet(files: list[Path]) -> Iterator[Picture]:
    # With the colon that follows: the pictures of `a.parquet` come behind those of
    # `a.parquet.parquet`, as their names do.
    return parquet_pictures(sorted(files, key=lambda file: f"{file.name}:"), column=COLUMN)


def _folder(path: Path) -> Iterator[Picture]:
    before = None
    for picture in sorted(folder_pictures(path), key=lambda picture: picture.name):
        if before is not None and picture.name == before.name:
            raise DataError(
                f"{picture.where}: the name {picture.name!r} is there twice in Unicode NFC: "
                "rename one of the two files."
            )
        before = picture
        yield picture
