"""A row of a table as a record to be: its id, its label, its subject, and a picture to be read.

    cells by column → names → SourceEntry

Place in the flow: below the sources `parquet` and `memory`, so that a table is read in one way,
wherever it lies. Invariants: an error names the row; a record's id is a function of its row and of
rows that are equal to it; the {bytes, path} structs of Hugging Face data sets are understood; a
path in one is never followed.
"""

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lmeraser_ray.config import DataConfig
from lmeraser_ray.config.slips import near
from lmeraser_ray.data.ids import clean_name
from lmeraser_ray.data.permanent import said_permanent
from lmeraser_ray.data.sources.class_names import ClassNames
from lmeraser_ray.data.sources.entry import SourceEntry
from lmeraser_ray.errors import DataError, PictureError
from lmeraser_ray.storage.digests import digest

USUAL_ID = "record_id"
"""The column of ids where the configuration names none."""


class Cell(Protocol):
    """A value of a table, which pyarrow's scalars are."""

    def as_py(self) -> Any:
        """The value as Python has it, None where there is none."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row by column. number: its place, from 0 on; where: for errors."""

    number: int
    where: str
    cells: Mapping[str, Cell]


@dataclass(slots=True)
class RowNames:
    """How the rows of a data set get their ids: a column, else the path beside the picture, else
    the row's content.

    A row's place is no id: without an earlier row, every later one would have its neighbour's. The
    content is label, subject and picture; rows that are equal in all of these are numbered.
    """

    column: str | None
    paths: bool
    _equal: Counter[bytes] = field(default_factory=Counter)

    @classmethod
    def by(cls, config: DataConfig, *, usual: bool) -> "RowNames":
        """The rule for a data set. usual: it has the column `USUAL_ID`."""
        if config.ids == "content" or config.id_column is not None:
            return cls(None if config.ids == "content" else config.id_column, paths=False)
        return cls(USUAL_ID, paths=False) if usual else cls(None, paths=True)

    def of_row(self, row: Row, picture: Any, label: str, subject: str | None) -> str:
        """The id of a row."""
        if self.column is not None:
            return named(row, self.column, "record id")
        path = picture.get("path") if self.paths and isinstance(picture, dict) else None
        if path is not None:
            return clean_name(path, what="record id", where=row.where)
        content = picture["bytes"] if isinstance(picture, dict) else picture
        found = digest("row", label.encode(), (subject or "").encode(), bytes(content or b""))
        self._equal[found[:16]] += 1
        again = self._equal[found[:16]]
        return f"sha256-{found.hex()[:32]}" + (f"-{again}" if again > 1 else "")


def row_entry(row: Row, config: DataConfig, names: RowNames, classes: ClassNames) -> SourceEntry:
    """What a row says of its record. Errors: `DataError` that names the row."""
    where, column = row.where, config.image_column
    subject = (
        None if config.subject_column is None else named(row, config.subject_column, "subject id")
    )
    label = classes.label(filled(row, config.label_column, "label"), where)
    picture = None if names.column is not None else row.cells[column].as_py()
    stays = config.permanent_column
    return SourceEntry(
        name=names.of_row(row, picture, label, subject),
        label=label,
        subject=subject,
        where=where,
        read=functools.partial(row_picture, row, column),
        permanent=said_permanent(row.cells[stays].as_py(), column=stays, where=where)
        if stays
        else None,
    )


def named(row: Row, column: str, what: str) -> str:
    """A cell that names something. what: the kind of name, for errors."""
    return clean_name(filled(row, column, what), what=what, where=row.where)


def filled(row: Row, column: str, what: str) -> object:
    """The value of a cell. Errors: `DataError` where there is none."""
    try:
        value: object = row.cells[column].as_py()
    except UnicodeDecodeError:
        raise DataError(
            f"{row.where}: the {what} in column {column!r} is not UTF-8: write it anew."
        ) from None
    if value is None:
        raise DataError(
            f"{row.where}: the {what} in column {column!r} is null: fill it in, or drop the row."
        )
    return value


def row_picture(row: Row, column: str) -> bytes:
    """The encoded picture of a row. Errors: `PictureError` where there is none."""
    value = row.cells[column].as_py()
    if isinstance(value, dict):
        content, path = value["bytes"], value.get("path")
        if content is None and path is not None:
            raise PictureError(
                f"{row.where}: the picture in column {column!r} is only a path, "
                f"{str(path)[:80]!r}, not followed: embed the bytes."
            )
        value = content
    if value is None:
        raise PictureError(
            f"{row.where}: the picture in column {column!r} is null: fill it in, or drop the row."
        )
    return bytes(value)


def needed_columns(config: DataConfig, id_column: str | None) -> list[str]:
    """The columns of names that a table must have: id, label and subject, each where it is one."""
    each = (id_column, config.label_column, config.subject_column)
    return list(dict.fromkeys(name for name in each if name is not None))


COLUMNS = "set data.id_column, label_column or image_column"
"""What to do where one of these is missing."""


def read_columns(config: DataConfig, id_column: str | None) -> list[str]:
    """The columns that reading takes: those of names, of the picture and, where one is configured,
    of who is permanent."""
    each = (*needed_columns(config, id_column), config.permanent_column, config.image_column)
    return list(dict.fromkeys(name for name in each if name is not None))


def check_columns(
    config: DataConfig, id_column: str | None, available: Sequence[str], where: str
) -> None:
    """Errors: `DataError` where a table has not each column that reading takes exactly once."""
    for column in read_columns(config, id_column):
        stays = column == config.permanent_column
        check_present(column, available, where, "set data.permanent_column" if stays else COLUMNS)


def check_present(column: str, available: Sequence[str], where: str, advice: str = COLUMNS) -> None:
    """Errors: `DataError` where a table has not exactly one column of this name."""
    found = available.count(column)
    if found > 1:
        raise DataError(f"{where}: {found} columns are called {column!r}: rename all but one.")
    if found == 0:
        meant = near(column, available)
        nearest = f"; the nearest name is {meant!r}" if meant else ""
        listed = ", ".join(available)[:500] or "none"
        raise DataError(f"{where}: no column {column!r} among {listed}{nearest}: {advice}.")
