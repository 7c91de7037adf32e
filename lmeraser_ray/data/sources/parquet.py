"""The source `parquet`: one file, or the *.parquet files of a folder, with columns for id, label,
encoded picture and subject.

Invariants: read in small batches of the needed columns, so that memory does not grow with the file;
an error names file and row, the rows counted from 0 as pandas and pyarrow do. The {bytes, path}
structs of Hugging Face datasets are understood; a path is never followed.
"""

import difflib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from lmeraser_ray.config import DataConfig
from lmeraser_ray.data.ids import clean_name
from lmeraser_ray.data.sources.entry import Picture, SourceEntry, place
from lmeraser_ray.errors import DataError

BATCH = 64
"""Rows at a time: some megabytes of photographs."""
BUFFER = 1 << 20
"""Bytes that are read ahead of a column; without it pyarrow loads the pictures of a whole row
group."""

T = TypeVar("T")


def parquet_files(path: Path) -> list[Path]:
    """The file itself, or the folder's *.parquet files in the order of their names. Raises
    `DataError` where there are none."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(
            f"{place(path)}: does not exist, expected a Parquet file or a folder of them: correct "
            "data.path or data.test_path."
        )
    files = files_within(path)
    if not files:
        raise DataError(
            f"{place(path)}: the folder holds no *.parquet file: correct data.path, or rename the "
            "files."
        )
    return files


def files_within(folder: Path) -> list[Path]:
    """The folder's *.parquet files, hidden ones left out, in the order of their names."""
    return sorted(
        file
        for file in folder.glob("*.parquet")
        if file.is_file() and not file.name.startswith(".")
    )


def parquet_entries(path: Path, *, config: DataConfig) -> Iterator[SourceEntry]:
    """The rows of all files in order. Raises `DataError` naming the file and the row."""
    for file in parquet_files(path):
        yield from _rows(
            file,
            lambda schema, where: _checked_columns(schema, config, where),
            lambda row: _entry(row, config),
        )


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
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{where}: the file is no readable Parquet file from row {row} on ({reason}): write "
            "it anew."
        ) from error


def _entry(row: _Row, config: DataConfig) -> SourceEntry:
    cells, where = row.cells, row.where
    subject = (
        None
        if config.subject_column is None
        else _name(cells[config.subject_column], config.subject_column, "subject id", where)
    )
    return SourceEntry(
        name=_name(cells[config.id_column], config.id_column, "record id", where),
        label=_name(cells[config.label_column], config.label_column, "label", where),
        subject=subject,
        where=where,
        read=functools.partial(_image, cells[config.image_column], config.image_column, where),
    )


def _name(cell: Any, column: str, what: str, where: str) -> str:
    try:
        value = cell.as_py()
    except UnicodeDecodeError:
        raise DataError(
            f"{where}: the {what} in column {column!r} is not UTF-8: write it anew."
        ) from None
    if value is None:
        raise DataError(
            f"{where}: the {what} in column {column!r} is null: fill it in, or drop the row."
        )
    return clean_name(value, what=what, where=where)


def _image(cell: Any, column: str, where: str) -> bytes:
    value = cell.as_py()
    if isinstance(value, dict):
        content, path = value["bytes"], value.get("path")
        if content is None and path is not None:
            raise DataError(
                f"{where}: the picture in column {column!r} is only a path, {str(path)[:80]!r}, "
                "not followed: embed the bytes."
            )
        value = content
    if value is None:
        raise DataError(
            f"{where}: the picture in column {column!r} is null: fill it in, or drop the row."
        )
    return bytes(value)


def _checked_columns(schema: Any, config: DataConfig, where: str) -> list[str]:
    """The names of the needed columns, each of them there once and of a type that can be meant."""
    names = [config.id_column, config.label_column]
    if config.subject_column is not None:
        names.append(config.subject_column)
    advice = "set data.id_column, label_column or image_column"
    for column in names:
        _check_present(column, list(schema.names), where, advice)
    _check_image(schema, config.image_column, where, advice)
    for column in names:
        kind = schema.field(column).type
        if not _is_name(kind):
            raise DataError(
                f"{where}: the column {column!r} holds {kind}, expected whole numbers or text: "
                "convert it."
            )
    return list(dict.fromkeys((*names, config.image_column)))


def _check_image(schema: Any, column: str, where: str, advice: str) -> None:
    _check_present(column, list(schema.names), where, advice)
    kind = schema.field(column).type
    if not _is_image(kind):
        raise DataError(
            f"{where}: the column {column!r} holds {kind}, expected binary or a struct with "
            "bytes: convert it."
        )


def _check_present(column: str, available: list[str], where: str, advice: str) -> None:
    found = available.count(column)
    if found > 1:
        raise DataError(f"{where}: {found} columns are called {column!r}: rename all but one.")
    if found == 0:
        near = difflib.get_close_matches(column, available, n=1, cutoff=0.0)
        nearest = f"; the nearest name is {near[0]!r}" if near else ""
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
