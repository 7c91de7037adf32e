"""The search of the request database: while an open request names something, the database has it;
anything else is a finding, unless the database says the same without any name.

Of SQLite every byte is searched, free pages included. SQLite hands out its bytes itself
(`serialize`), within a transaction as they will be after it, since opening and closing the file
here would drop the locks that this process holds on it. Of PostgreSQL the rows are searched.

An id may be what the tables, states, times or hashes say (`targets`, `record7`). The reference
tells that: the same database without names, typed reasons, and cells that are not as the program
writes them. A pattern that the reference has is looked for in rows only.
"""

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, Select, Table, bindparam, literal_column, null, select, update

from lmeraser_ray.erasure.absence.inventory import DATABASE
from lmeraser_ray.erasure.absence.patterns import PatternSet
from lmeraser_ray.erasure.absence.report import ScanReporter
from lmeraser_ray.erasure.absence.skeletons import strings_in
from lmeraser_ray.erasure.certificate.statement import read_statement
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.tables import NAMED, REASONS, metadata, requests
from lmeraser_ray.storage.paths import Location

FILE = "requests.db"
JOURNAL = "requests.db-journal"
"""The journal of a transaction under way, which has pages as they were before it."""
PLAIN = re.compile(r"[A-Z]+|[a-z_]+|[0-9a-f]{12,}|er-\d{8}-[0-9a-f]{16}|\d{4}-\d\d-\d\dT[\d:.]+Z")
"""What a ledger entry consists of: kinds, names of facts, digests, ids of requests, moments."""
Row = Mapping[str, Any]


def search_database(
    database: Database, root: Location, patterns: PatternSet, report: ScanReporter
) -> None:
    """Search the request database of the workspace in `root`, and its journal."""
    with database.read() as conn:
        explained = search_rows(conn, patterns, report)
        search_journal(root / JOURNAL, explained, Reference(conn, patterns), report)


def search_journal(
    path: Location, explained: Counter[int], reference: "Reference", report: ScanReporter
) -> None:
    """Search the journal, which may contain what open requests name, and nothing else."""
    with suppress(FileNotFoundError):
        there = Counter(match.pattern for match in reference.patterns.search.in_file(path))
        report.count(DATABASE, path.stat().st_size)
        judge(there, explained, path.name, reference, report)


def search_rows(conn: Connection, patterns: PatternSet, report: ScanReporter) -> Counter[int]:
    """Search the database as this transaction sees it. Returns what rows of requests name, by
    pattern.

    SQLite may keep a copy of a row beside it when a page is divided, so occurrences of what a row
    names are not counted against it.
    """
    nameless = requests.c.state.in_(State.where(lambda state: not state.keeps_names))
    for table, column in NAMED:
        for name in conn.scalars(
            kept(table, column).with_only_columns(table.c.name).where(nameless)
        ):
            trace = f"{table.name}.{column} of a request that is worked off"
            report.hit(DATABASE, FILE, trace, frozenset({name} - {None}))
    named = (conn.scalars(kept(table, column)) for table, column in NAMED)
    explained = occurrences(patterns, (cell for cells in named for cell in cells))
    reference = Reference(conn, patterns)
    report.count(DATABASE, 0)
    there = occurrences(patterns, counted(reference.everything(), report))
    judge(there, explained, FILE, reference, report)
    return explained


def kept(table: Table, column: str) -> Select[tuple[object]]:
    """Select the cells of a column that are not null, joined with their requests."""
    found = table.c[column]
    return (
        select(found).join(requests, requests.c.id == table.c.request_id).where(found.is_not(None))
    )


def occurrences(patterns: PatternSet, cells: Iterable[object]) -> Counter[int]:
    """Count each pattern's occurrences, whatever is next to them: in SQLite's pages nothing lies
    between two values."""
    found: Counter[int] = Counter()
    for cell in cells:
        found.update(match.pattern for match in patterns.search.in_bytes(bytes_of(cell)))
    return found


def bytes_of(cell: object) -> bytes:
    """Return a text or a blob as bytes."""
    return cell.encode() if isinstance(cell, str) else bytes(cell)  # type: ignore[call-overload]


@dataclass(frozen=True)
class Reference:
    """The database as a transaction sees it, and what it says without any name."""

    conn: Connection
    patterns: PatternSet

    def everything(self) -> Iterator[bytes]:
        """Yield SQLite's bytes; of PostgreSQL every text and every blob of every row."""
        if self.conn.dialect.name == "sqlite":
            yield self.conn.connection.driver_connection.serialize()  # type: ignore[union-attr]
        else:
            yield from (cell for _, row in self._rows() for cell in texts_in(row.values()))

    def _rows(self) -> Iterator[tuple[Table, Row]]:
        """Yield every row of every table."""
        for table in metadata.sorted_tables:
            found = self.conn.execute(select(table), execution_options={"yield_per": 1000})
            yield from ((table, dict(row)) for row in found.mappings())

    @cached_property
    def said(self) -> frozenset[int]:
        """The patterns that the database has without any name: ids, and windows of pictures."""
        if self.conn.dialect.name == "sqlite":
            data = iter([without_names(next(self.everything()), self._odd())])
        else:
            data = self._nameless_cells(self._odd())
        return frozenset(
            match.pattern
            for cell in data
            for match in self.patterns.search.in_bytes(cell)
            if self.patterns.is_text(match) or self.patterns.is_window(match)
        )

    def _nameless_cells(self, odd: "Odd") -> Iterator[bytes]:
        """Yield the cells of PostgreSQL that are no names, no reasons, and not odd."""
        hidden = {(table.name, column) for table, column in (*NAMED, *REASONS)}
        for table, row in self._rows():
            key = row[next(iter(table.primary_key)).name]
            yield from texts_in(
                cell
                for column, cell in row.items()
                if (table.name, column) not in hidden
                and key not in odd.get((table.name, column), ())
            )

    def _odd(self) -> "Odd":
        """The keys of cells that have a pattern and are not as the program writes them."""
        entries = metadata.tables["ledger"].c
        found: Odd = {("requests", "statement"): [], ("ledger", "entry"): []}
        for key, cell in self.conn.execute(select(requests.c.id, requests.c.statement)):
            if cell and occurrences(self.patterns, [cell]) and not readable(bytes(cell)):
                found["requests", "statement"].append(key)
        for key, cell in self.conn.execute(select(entries.seq, entries.entry)):
            if occurrences(self.patterns, [cell]) and not plain_entry(cell):
                found["ledger", "entry"].append(key)
        return found


Odd = dict[tuple[str, str], list[Any]]


def texts_in(cells: Iterable[object]) -> Iterator[bytes]:
    """Yield the texts and blobs among cells."""
    yield from (bytes_of(cell) for cell in cells if isinstance(cell, str | bytes | memoryview))


def counted(cells: Iterable[bytes], report: ScanReporter) -> Iterator[bytes]:
    """Yield the cells, and count their bytes."""
    for cell in cells:
        report.count(DATABASE, len(cell), files=0)
        yield cell


def without_names(image: bytes, odd: Odd) -> bytes:
    """Return the bytes of a SQLite database without names, reasons, odd cells, foreign tables and
    free pages."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
        copy.deserialize(image)
        for (name,) in copy.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table'"
        ).fetchall():
            if name not in metadata.tables and not name.startswith("sqlite_"):
                copy.execute('DROP TABLE "{}"'.format(name.replace('"', '""')))
        for table, column in (*NAMED, *REASONS):
            copy.execute(str(update(table).values({column: null()})))
        for (name, column), keys in odd.items():
            table = metadata.tables[name]
            wipe = update(table).values({column: literal_column("''")})
            one = wipe.where(next(iter(table.primary_key)) == bindparam("key"))
            copy.executemany(str(one), [{"key": each} for each in keys])
        copy.execute("VACUUM")
        return copy.serialize()


def readable(statement: bytes) -> bool:
    """Whether a cell is a statement, of which each field has its type."""
    try:
        return bool(read_statement(statement))
    except VerificationError:
        return False


def plain_entry(text: str) -> bool:
    """Whether a ledger entry consists of what the program writes: kinds, digests, ids of requests,
    moments."""
    try:
        return all(PLAIN.fullmatch(each) for each in strings_in(json.loads(text)))
    except ValueError:
        return False


def judge(
    there: Counter[int],
    named: Collection[int],
    path: str,
    reference: Reference,
    report: ScanReporter,
) -> None:
    """Report the patterns that no request names, but for what the database says without any
    name."""
    patterns = reference.patterns
    for pattern, count in there.items():
        if pattern in named or pattern in patterns.common or pattern in reference.said:
            report.explained += count
        else:
            trace = patterns.trace_of(pattern)
            report.hit(DATABASE, path, trace, patterns.owners(pattern))
