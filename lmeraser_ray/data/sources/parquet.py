"""The source `parquet`: the rows of Parquet files, with columns for label, encoded picture and,
where there are any, id and subject.

Invariants: read in small batches of the needed columns, so that memory does not grow with the file;
an error names file and row, the rows counted from 0 as pandas and pyarrow do. The {bytes, path}
structs of Hugging Face datasets are understood; a path is never followed.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from lmeraser_ray.config import DataConfig
from lmeraser_ray.config.slips import near
from lmeraser_ray.data.ids import clean_name
from lmeraser_ray.data.permanent import said_permanent
from lmeraser_ray.data.sources.class_names import ClassNames
from lmeraser_ray.data.sources.entry import Picture, SourceEntry, place
from lmeraser_ray.data.sources.faults import Fault
from lmeraser_ray.errors import DataError, PictureError
from lmeraser_ray.storage.digests import digest

BATCH = 64
"""Rows at a time: some megabytes of photographs."""
BUFFER = 1 << 20
"""Bytes that are read ahead of a column; without it pyarrow loads the pictures of a whole row
group."""

USUAL_ID = "record_id"
"""The column of ids where the configuration names none."""
T = TypeVar("T")


def parquet_entries(
    files: Sequence[Path], *, config: DataConfig, names: "RowNames"
) -> Iterator[SourceEntry | Fault]:
    """The rows of all files in order, and what is wrong with a row that cannot be one. names: gives
    rows their ids. Raises `DataError` naming the file, where it cannot be read on."""
    for file in files:
        classes = ClassNames()

        def columns(schema: Any, where: str) -> list[str]:
            nonlocal classes
            classes = ClassNames.read(schema, config.label_column, where)
            return _checked_columns(schema, config, names.column, where)

        def made(row: _Row) -> SourceEntry | Fault:
            try:
                return _entry(row, config, names, classes)  # noqa: B023 - called before the next file
            except DataError as error:
                return Fault(error, alone=True)

        try:
            yield from _rows(file, columns, made)
        except DataError as error:
            yield Fault(error, alone=False)


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
    def of(cls, files: Sequence[Path], config: DataConfig) -> "RowNames":
        """The rule for all files of both sides. Errors: `DataError` where some have a column of ids
        and others have none."""
        if config.ids == "content" or config.id_column is not None:
            return cls(None if config.ids == "content" else config.id_column, paths=False)
        has = {file: USUAL_ID in names for file in files if (names := _column_names(file))}
        if len(set(has.values())) > 1:
            without = next(file for file, found in has.items() if not found)
            raise DataError(
                f"{place(without)}: no column {USUAL_ID!r}, which other files of the data set "
                "have: add it, or set data.id_column, or data.ids content."
            )
        return cls(USUAL_ID, paths=False) if any(has.values()) else cls(None, paths=True)

    def of_row(self, row: "_Row", picture: Any, label: str, subject: str | None) -> str:
        """The id of a row."""
        if self.column is not None:
            return _name(row.cells[self.column], self.column, "record id", row.where)
        path = picture.get("path") if self.paths and isinstance(picture, dict) else None
        if path is not None:
            return clean_name(path, what="record id", where=row.where)
        content = picture["bytes"] if isinstance(picture, dict) else picture
        found = digest("row", label.encode(), (subject or "").encode(), bytes(content or b""))
        self._equal[found[:16]] += 1
        again = self._equal[found[:16]]
        return f"sha256-{found.hex()[:32]}" + (f"-{again}" if again > 1 else "")


def _column_names(file: Path) -> list[str]:
    """The columns of a file; none where it cannot be read, which reading its rows will say."""
    try:
        return list(pq.read_schema(file).names)
    except (pa.ArrowException, OSError, ValueError):
        return []


def parquet_pictures(files: Sequence[Path], *, column: str) -> Iterator[Picture]:
    """The pictures in the column of all files, in the order given, named as `a.parquet:000000007`.
    Raises `DataError` as above."""

    def columns(schema: Any, where: str) -> list[str]:
        _check_image(
            schema, column, where, f"rename the column of the encoded pictures to {column!r}"
        )
        return [column]

    def picture(row: _Row) -> Picture:
        name = clean_name(
            f"{row.file.name}:{row.number:09d}", what="name of the picture", where=row.where
        )
        return Picture(
            name, row.where, functools.partial(_image, row.cells[column], column, row.where)
        )

    for file in files:
        yield from _rows(file, columns, picture)


@dataclass(frozen=True, slots=True)
class _Row:
    """One row, its cells by column still pyarrow's."""

    file: Path
    number: int
    where: str
    cells: dict[str, Any]


def _rows(
    file: Path, columns: Callable[[Any, str], list[str]], made: Callable[[_Row], T]
) -> Iterator[T]:
    """What `made` makes of each row; `columns` checks the schema and names the columns to read."""
    where = place(file)
    row = 0
    try:
        with pq.ParquetFile(file, buffer_size=BUFFER) as table:
            names = columns(table.schema_arrow, where)
            groups = range(
                table.num_row_groups
            )  # one by one: a reader of all of them has buffers for all of them
            for batch in (
                batch
                for at in groups
                for batch in table.iter_batches(batch_size=BATCH, row_groups=[at], columns=names)
            ):
                for index in range(batch.num_rows):
                    yield made(
                        _Row(
                            file,
                            row,
                            f"{where}, row {row}",
                            {name: batch.column(name)[index] for name in names},
                        )
                    )
                    row += 1
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # a name no UTF-8
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{where}: the file is no readable Parquet file from row {row} on ({reason}): write "
            "it anew."
        ) from error


def _entry(row: _Row, config: DataConfig, names: RowNames, classes: ClassNames) -> SourceEntry:
    cells, where, column = row.cells, row.where, config.image_column
    subject = (
        None
        if config.subject_column is None
        else _name(cells[config.subject_column], config.subject_column, "subject id", where)
    )
    value = _value(cells[config.label_column], config.label_column, "label", where)
    label = classes.label(value, where)
    picture = None if names.column is not None else cells[column].as_py()
    stays = config.permanent_column
    return SourceEntry(
        name=names.of_row(row, picture, label, subject),
        label=label,
        subject=subject,
        where=where,
        read=functools.partial(_image, cells[column], column, where),
        permanent=said_permanent(cells[stays].as_py(), column=stays, where=where)
        if stays
        else None,
    )


def _name(cell: Any, column: str, what: str, where: str) -> str:
    return clean_name(_value(cell, column, what, where), what=what, where=where)


def _value(cell: Any, column: str, what: str, where: str) -> object:
    try:
        value: object = cell.as_py()
    except UnicodeDecodeError:
        raise DataError(
            f"{where}: the {what} in column {column!r} is not UTF-8: write it anew."
        ) from None
    if value is None:
        raise DataError(
            f"{where}: the {what} in column {column!r} is null: fill it in, or drop the row."
        )
    return value


def _image(cell: Any, column: str, where: str) -> bytes:
    value = cell.as_py()
    if isinstance(value, dict):
        content, path = value["bytes"], value.get("path")
        if content is None and path is not None:
            raise PictureError(
                f"{where}: the picture in column {column!r} is only a path, {str(path)[:80]!r}, "
                "not followed: embed the bytes."
            )
        value = content
    if value is None:
        raise PictureError(
            f"{where}: the picture in column {column!r} is null: fill it in, or drop the row."
        )
    return bytes(value)


def _checked_columns(
    schema: Any, config: DataConfig, id_column: str | None, where: str
) -> list[str]:
    """The names of the needed columns, each of them there once and of a type that can be meant."""
    names = [config.label_column] if id_column is None else [id_column, config.label_column]
    if config.subject_column is not None:
        names.append(config.subject_column)
    advice = "set data.id_column, label_column or image_column"
    for column in names:
        _check_present(column, list(schema.names), where, advice)
    stays = [config.permanent_column] if config.permanent_column else []
    for column in stays:
        _check_present(column, list(schema.names), where, "set data.permanent_column")
    _check_image(schema, config.image_column, where, advice)
    for column in names:
        kind = schema.field(column).type
        if not _is_name(kind):
            raise DataError(
                f"{where}: the column {column!r} holds {kind}, expected whole numbers or text: "
                "convert it."
            )
    return list(dict.fromkeys((*names, *stays, config.image_column)))


def _check_image(schema: Any, column: str, where: str, advice: str) -> None:
    _check_present(column, list(schema.names), where, advice)
    kind = schema.field(column).type
    if not _is_image(kind):
        raise DataError(
            f"{where}: the column {column!r} holds {kind}, expected binary or a struct with "
            "bytes: convert it."
        )


def image_column(schema: Any, column: str | None, where: str) -> str:
    """The column of pictures: the one that is named, else `image`, else the only one of pictures.
    Errors: `DataError`."""
    able = [field.name for field in schema if _is_image(field.type)]
    found = [column] if column else [name for name in able if name == "image"] or able
    if len(found) != 1:
        listed = ", ".join(able or schema.names)[:500]
        count = "several columns hold" if able else "no column holds"
        raise DataError(
            f"{where}: {count} pictures ({listed}), expected one: name it with --image_column."
        )
    _check_image(schema, found[0], where, "name another one with --image_column")
    return found[0]


def _check_present(column: str, available: list[str], where: str, advice: str) -> None:
    found = available.count(column)
    if found > 1:
        raise DataError(f"{where}: {found} columns are called {column!r}: rename all but one.")
    if found == 0:
        meant = near(column, available)
        nearest = f"; the nearest name is {meant!r}" if meant else ""
        listed = ", ".join(available)[:500] or "none"
        raise DataError(f"{where}: no column {column!r} among {listed}{nearest}: {advice}.")


def _is_name(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
    )


def _is_image(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        kinds = [field.type for field in kind if field.name == "bytes"]
        return len(kinds) == 1 and not pa.types.is_struct(kinds[0]) and _is_image(kinds[0])
    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    )
