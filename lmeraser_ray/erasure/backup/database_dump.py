"""The rows of a request database as lines of JSON, from and for either dialect.

A backup holds rows and not the database's file: pages may contain what deleted rows have left.
Invariant: `load` of a `dump` gives the same rows.
"""

import base64
import json
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Column, Connection, Table, func, insert, select
from sqlalchemy.exc import IntegrityError

from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.database.tables import (
    BACKED_UP,
    FORMAT,
    metadata,
    publications,
    workspace,
)
from lmeraser_ray.storage.database.upgrade import EARLIEST
from lmeraser_ray.storage.foreign_json import ForeignJson
from lmeraser_ray.storage.times import from_text

BATCH = 1000


def dump(conn: Connection) -> Iterator[bytes]:
    """Yield one line for each row of each table of a backup, in the order of tables and primary
    keys."""
    for table in BACKED_UP:
        rows = select(table).order_by(*table.primary_key)
        for row in conn.execute(rows, execution_options={"yield_per": BATCH}).mappings():
            yield (
                json.dumps(
                    [table.name, {name: plain(value) for name, value in row.items()}]
                ).encode()
                + b"\n"
            )


def plain(value: object) -> object:
    """Return a cell as a JSON value, blobs as {"base64": …}."""
    return (
        {"base64": base64.b64encode(bytes(value)).decode()}
        if isinstance(value, bytes | memoryview)
        else value
    )


class BlobJson(ForeignJson):
    """A cell that is bytes."""

    base64: str


Cell = bool | int | str | BlobJson | None
ROW: TypeAdapter[tuple[str, dict[str, Cell]]] = TypeAdapter(tuple[str, dict[str, Cell]])


def cell(value: Cell) -> object:
    """Return the cell that `plain` was given. Errors: `ValueError`."""
    return base64.b64decode(value.base64, validate=True) if isinstance(value, BlobJson) else value


def rows_in(lines: Iterable[bytes]) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield the rows in lines: the table's name and the cells of all its columns. Errors:
    `VerificationError` where a line is not a row of this version or an earlier one."""
    for line in lines:
        try:
            name, read = ROW.validate_json(line, strict=True)
            row = {column: cell(value) for column, value in read.items()}
            yield name, checked_row(name, row)
        except (ValueError, OverflowError) as error:
            raise VerificationError(
                "The rows of the request database in the backup cannot be read: give another "
                "backup."
            ) from error


def checked_row(name: str, row: dict[str, object]) -> dict[str, object]:
    """Return a row with a cell for each column, the default one where the row has none. Errors:
    `ValueError` on a cell that the column cannot hold; `VerificationError` on an unknown table or
    column."""
    table = metadata.tables.get(name)
    if table is None or table not in BACKED_UP:
        raise VerificationError(
            f"The backup has a table {name[:80]!r} that this version does not know: use the "
            "version that wrote it."
        )
    unknown = row.keys() - table.c.keys()
    if unknown:
        raise VerificationError(
            f"The backup has a column {name}.{min(unknown)[:80]!r} that this version does not "
            "know: use the version that wrote it."
        )
    defaults = {c.name: getattr(c.default, "arg", None) for c in table.c}
    whole = {**defaults, **row}
    if not all(fits(column, whole[column.name]) for column in table.c):
        raise ValueError("a cell that its column cannot hold")
    return whole


def fits(column: Column[Any], value: object) -> bool:
    """Whether a column can hold a cell, on either dialect, and whoever reads it can read it.
    Errors: `ValueError`, `OverflowError` on a moment or a state that is none."""
    if value is None:
        return bool(column.nullable)
    if type(value) is not column.type.python_type:
        return False
    if isinstance(value, int):
        return abs(value) < 2**31
    if isinstance(value, str):
        if column.name == "at" or column.name.endswith("_at"):
            from_text(value)
        return "\0" not in value
    return True


def load(conn: Connection, rows: Iterable[tuple[str, dict[str, object]]]) -> int:
    """Replace the rows of all tables but `workspace` by these, which are in the order of `dump`.
    Returns their format, from which they must be upgraded. Errors: `VerificationError` where they
    contradict each other, or are of no format of this version or an earlier one."""
    found = FORMAT
    for table in reversed(metadata.sorted_tables):
        if table is not workspace:
            conn.execute(table.delete())
    for name, group in groupby(rows, key=lambda pair: pair[0]):
        table = metadata.tables[name]
        if table is not workspace:
            fill(conn, table, (row for _, row in group))
        else:
            found = format_of(row for _, row in group)
    if conn.dialect.name == "postgresql":
        sequence = func.pg_get_serial_sequence(publications.name, publications.c.id.name)
        last = select(func.coalesce(func.max(publications.c.id), 0) + 1).scalar_subquery()
        conn.execute(select(func.setval(sequence, last, False)))
    return found


def format_of(rows: Iterable[dict[str, object]]) -> int:
    """Return the format that the rows of the table `workspace` name. Errors: `VerificationError`
    where this version does not know the format."""
    formats = {row.get("format") for row in rows}
    known = [each for each in range(EARLIEST, FORMAT + 1) if each in formats]
    if len(formats) != 1 or not known:
        raise VerificationError(
            "The backup does not say which format its request database has, or it is one after "
            f"{FORMAT}: use the version that wrote it."
        )
    return known[0]


def fill(conn: Connection, table: Table, rows: Iterator[dict[str, object]]) -> None:
    """Insert the rows of one table in batches. Errors: `VerificationError` where a row is there
    twice, or belongs to one that is not there."""
    while batch := list(islice(rows, BATCH)):
        try:
            conn.execute(insert(table), batch)
        except IntegrityError as error:
            raise VerificationError(
                f"The rows of the table {table.name} in the backup contradict each other: give "
                "another backup."
            ) from error
