"""The source `parquet`: one file, or the *.parquet files of a folder, with columns for id, label, encoded picture and subject.

Invariants: read in small batches of the needed columns, so that memory does not grow with the file; an error names file and row, the rows
counted from 0 as pandas and pyarrow do. The {bytes, path} structs of Hugging Face datasets are understood; a path is never followed.
"""

import difflib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lmeraser_ray.config import DataConfig
from lmeraser_ray.data.names import clean_name
from lmeraser_ray.data.sources.entry import Entry, place
from lmeraser_ray.errors import DataError

BATCH = 64
"""Rows at a time: some megabytes of photographs."""
BUFFER = 1 << 20
"""Bytes that are read ahead of a column; without it pyarrow loads the pictures of a whole row group."""


def parquet_files(path: Path) -> list[Path]:
    """The file itself, or the folder's *.parquet files in the order of their names. Raises `DataError` where there are none."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{place(path)}: does not exist, expected a Parquet file or a folder of them: correct data.path or data.test_path.")
    files = sorted(file for file in path.glob("*.parquet") if file.is_file() and not file.name.startswith("."))
    if not files:
        raise DataError(f"{place(path)}: the folder holds no *.parquet file: correct data.path, or rename the files.")
    return files


def parquet_entries(path: Path, *, config: DataConfig) -> Iterator[Entry]:
    """The rows of all files in order. Raises `DataError` naming the file and the row."""
    for file in parquet_files(path):
        yield from _file_entries(file, config)


def _file_entries(file: Path, config: DataConfig) -> Iterator[Entry]:
    where = place(file)
    row = 0
    try:
        with pq.ParquetFile(file, buffer_size=BUFFER) as table:
            columns = _checked_columns(table.schema_arrow, config, where)
            for batch in table.iter_batches(batch_size=BATCH, columns=columns):
                for index in range(batch.num_rows):
                    cells = {column: batch.column(column)[index] for column in columns}
                    yield _entry(cells, config, f"{where}, row {row}")
                    row += 1
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{where}: the file is no readable Parquet file from row {row} on ({reason}): write it anew.") from error


def _entry(cells: dict[str, Any], config: DataConfig, where: str) -> Entry:
    subject = None if config.subject_column is None else _name(cells[config.subject_column], config.subject_column, "subject id", where)
    return Entry(
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
        raise DataError(f"{where}: the {what} in column {column!r} is not UTF-8: write it anew.") from None
    if value is None:
        raise DataError(f"{where}: the {what} in column {column!r} is null: fill it in, or drop the row.")
    return clean_name(value, what=what, where=where)


def _image(cell: Any, column: str, where: str) -> bytes:
    value = cell.as_py()
    if isinstance(value, dict):
        content, path = value["bytes"], value.get("path")
        if content is None and path is not None:
            raise DataError(f"{where}: the picture in column {column!r} is only a path, {str(path)[:80]!r}, not followed: embed the bytes.")
        value = content
    if value is None:
        raise DataError(f"{where}: the picture in column {column!r} is null: fill it in, or drop the row.")
    return bytes(value)


def _checked_columns(schema: Any, config: DataConfig, where: str) -> list[str]:
    """The names of the needed columns, each of them there once and of a type that can be meant."""
    names = [config.id_column, config.label_column]
    if config.subject_column is not None:
        names.append(config.subject_column)
    for column in (*names, config.image_column):
        _check_present(column, list(schema.names), where)
    for column in names:
        kind = schema.field(column).type
        if not _is_name(kind):
            raise DataError(f"{where}: the column {column!r} holds {kind}, expected whole numbers or text: convert it.")
    kind = schema.field(config.image_column).type
    if not _is_image(kind):
        raise DataError(f"{where}: the column {config.image_column!r} holds {kind}, expected binary or a struct with bytes: convert it.")
    return list(dict.fromkeys((*names, config.image_column)))


def _check_present(column: str, available: list[str], where: str) -> None:
    found = available.count(column)
    if found > 1:
        raise DataError(f"{where}: {found} columns are called {column!r}: rename all but one.")
    if found == 0:
        near = difflib.get_close_matches(column, available, n=1, cutoff=0.0)
        advice = f"; the nearest name is {near[0]!r}" if near else ""
        listed = ", ".join(available)[:500] or "none"
        raise DataError(f"{where}: no column {column!r} among {listed}{advice}: set data.id_column, label_column or image_column.")


def _is_name(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_image(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        kinds = [field.type for field in kind if field.name == "bytes"]
        return len(kinds) == 1 and not pa.types.is_struct(kinds[0]) and _is_image(kinds[0])
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))
