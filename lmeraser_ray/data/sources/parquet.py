"""The source `parquet`: the rows of Parquet files, with columns for label, encoded picture and,
where there are any, id and subject.

Invariants: read in small batches of the needed columns, so that memory does not grow with the file;
an error names file and row, the rows counted from 0 as pandas and pyarrow do.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from lmeraser_ray.config import DataConfig
from lmeraser_ray.data.ids import clean_name
from lmeraser_ray.data.sources.class_names import ClassNames
from lmeraser_ray.data.sources.entry import Picture, SourceEntry, place
from lmeraser_ray.data.sources.faults import Fault
from lmeraser_ray.data.sources.rows import (
    COLUMNS,
    USUAL_ID,
    Row,
    RowNames,
    check_columns,
    check_present,
    needed_columns,
    read_columns,
    row_entry,
    row_picture,
)
from lmeraser_ray.errors import DataError

BATCH = 64
"""Rows at a time: some megabytes of photographs."""
BUFFER = 1 << 20
"""Bytes that are read ahead of a column; without it pyarrow loads the pictures of a whole row
group."""

T = TypeVar("T")


def parquet_entries(
    files: Sequence[Path], *, config: DataConfig, names: RowNames
) -> Iterator[SourceEntry | Fault]:
    """The rows of all files in order, and what is wrong with a row that cannot be one. names: gives
    rows their ids. Raises `DataError` naming the file, where it cannot be read on."""
    for file in files:
        classes = ClassNames()

        def columns(schema: Any, where: str) -> list[str]:
            nonlocal classes
            classes = ClassNames.read(schema, config.label_column, where)
            return _checked_columns(schema, config, names.column, where)

        def made(row: Row) -> SourceEntry | Fault:
            try:
                return row_entry(row, config, names, classes)  # noqa: B023 - called before the next file
            except DataError as error:
                return Fault(error, alone=True)

        try:
            yield from _rows(file, columns, made)
        except DataError as error:
            yield Fault(error, alone=False)


def row_names(files: Sequence[Path], config: DataConfig) -> RowNames:
    """The rule of ids for all files of both sides. Errors: `DataError` where some have a column of
    ids and others have none."""
    if config.ids == "content" or config.id_column is not None:
        return RowNames.by(config, usual=False)
    has = {file: USUAL_ID in names for file in files if (names := _column_names(file))}
    if len(set(has.values())) > 1:
        without = next(file for file, found in has.items() if not found)
        raise DataError(
            f"{place(without)}: no column {USUAL_ID!r}, which other files of the data set "
            "have: add it, or set data.id_column, or data.ids content."
        )
    return RowNames.by(config, usual=any(has.values()))


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

    def picture(file: Path, row: Row) -> Picture:
        name = clean_name(
            f"{file.name}:{row.number:09d}", what="name of the picture", where=row.where
        )
        return Picture(name, row.where, functools.partial(row_picture, row, column))

    for file in files:
        yield from _rows(file, columns, functools.partial(picture, file))


def _rows(
    file: Path, columns: Callable[[Any, str], list[str]], made: Callable[[Row], T]
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
                        Row(
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


def _checked_columns(
    schema: Any, config: DataConfig, id_column: str | None, where: str
) -> list[str]:
    """The names of the needed columns, each of them there once and of a type that can be meant."""
    check_columns(config, id_column, list(schema.names), where)
    _check_image(schema, config.image_column, where, COLUMNS)
    for column in needed_columns(config, id_column):
        kind = schema.field(column).type
        if not _is_name(kind):
            raise DataError(
                f"{where}: the column {column!r} holds {kind}, expected whole numbers or text: "
                "convert it."
            )
    return read_columns(config, id_column)


def _check_image(schema: Any, column: str, where: str, advice: str) -> None:
    check_present(column, list(schema.names), where, advice)
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
