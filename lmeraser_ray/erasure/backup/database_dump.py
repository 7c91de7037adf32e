"""The rows of a request database as lines of JSON, from and for either dialect.

A backup holds rows and not the database's file: pages may contain what deleted rows have left.
Invariant: `load` of a `dump` gives the same rows.
"""

import base64
import json
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select

from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.database.tables import metadata, publications, workspace

BATCH = 1000


def dump(conn: Connection) -> Iterator[bytes]:
    """Yield one line for each row of each table, in the order of tables and primary keys."""
    for table in metadata.sorted_tables:
        for row in (
            conn.execution_options(yield_per=BATCH)
            .execute(select(table).order_by(*table.primary_key))
            .mappings()
        ):
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


def cell(value: Any) -> object:
    """Return the cell that `plain` was given."""
    return base64.b64decode(value["base64"], validate=True) if isinstance(value, dict) else value


def rows_in(lines: Iterable[bytes]) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield the rows in lines: the table's name and the cells. Errors: `VerificationError` where a
    line is not a row."""
    for line in lines:
        try:
            name, row = json.loads(line)
            yield name, {column: cell(value) for column, value in row.items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise VerificationError(
                "The rows of the request database in the backup cannot be read: give another "
                "backup."
            ) from error


def load(conn: Connection, rows: Iterable[tuple[str, dict[str, object]]]) -> None:
    """Replace the rows of all tables but `workspace` by these, which are in the order of `dump`.
    Errors: `VerificationError` on unknown tables or columns."""
    for table in reversed(metadata.sorted_tables):
        if table is not workspace:
            conn.execute(table.delete())
    for name, group in groupby(rows, key=lambda pair: pair[0]):
        table = metadata.tables.get(name)
        if table is None:
            raise VerificationError(
                f"The backup has a table {name!r} that this version does not know: use the "
                "version that wrote it."
            )
        if table is not workspace:
            fill(conn, table, (row for _, row in group))
    if conn.dialect.name == "postgresql":
        sequence = func.pg_get_serial_sequence(publications.name, publications.c.id.name)
        last = select(func.coalesce(func.max(publications.c.id), 0) + 1).scalar_subquery()
        conn.execute(select(func.setval(sequence, last, False)))


def fill(conn: Connection, table: Table, rows: Iterator[dict[str, object]]) -> None:
    """Insert the rows of one table in batches."""
    while batch := list(islice(rows, BATCH)):
        unknown = {column for row in batch for column in row} - set(table.c.keys())
        if unknown:
            raise VerificationError(
                f"The backup has a column {table.name}.{min(unknown)} that this version does not "
                "know: use the version that wrote it."
            )
        conn.execute(insert(table), batch)
