"""The search of the request database: open requests may still name what they erase; any other
occurrence is a finding.

Of SQLite every byte is searched, free pages included, and occurrences are counted: one more than
the rows of open requests have is a finding. SQLite hands out its bytes itself (`serialize`), since
opening and closing the file here would drop the locks that this process holds on it. Of PostgreSQL
the rows are searched.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress

from sqlalchemy import Connection, Select, Table, select

from lmeraser_ray.erasure.absence.inventory import DATABASE
from lmeraser_ray.erasure.absence.patterns import PatternSet
from lmeraser_ray.erasure.absence.report import ScanReporter
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.tables import NAMED, metadata, requests
from lmeraser_ray.storage.paths import Location

FILE = "requests.db"
JOURNAL = "requests.db-journal"
"""The journal of a transaction under way, which has pages as they were before it."""


def search_database(
    database: Database, root: Location, patterns: PatternSet, report: ScanReporter
) -> None:
    """Search the request database of the workspace in `root`."""
    nameless = requests.c.state.in_(State.where(lambda state: not state.keeps_names))
    with database.read() as conn:
        for table, column in NAMED:
            if conn.execute(kept(table, column).where(nameless).limit(1)).first() is not None:
                report.hit(DATABASE, FILE, f"{table.name}.{column} of a request that is worked off")
        explained = occurrences(
            patterns,
            (cell for table, column in NAMED for (cell,) in conn.execute(kept(table, column))),
        )
        if database.dialect == "sqlite":
            image = conn.connection.driver_connection.serialize()  # type: ignore[union-attr]
            there = occurrences(patterns, [image])
            report.count(DATABASE, len(image))
        else:
            there = occurrences(patterns, cells_of(conn, report))
    note_surplus(there - explained, FILE, patterns, report)
    report.explained += (there & explained).total()
    search_journal(root / JOURNAL, explained, patterns, report)


def search_journal(
    path: Location, explained: Counter[int], patterns: PatternSet, report: ScanReporter
) -> None:
    """Search the journal, which may contain what open requests name, and nothing else."""
    with suppress(FileNotFoundError):
        there = Counter(match.pattern for match in patterns.search.in_file(path))
        report.count(DATABASE, path.stat().st_size)
        note_surplus(
            Counter(
                {pattern: count for pattern, count in there.items() if pattern not in explained}
            ),
            path.name,
            patterns,
            report,
        )
        report.explained += sum(count for pattern, count in there.items() if pattern in explained)


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
        data = cell.encode() if isinstance(cell, str) else bytes(cell)  # type: ignore[call-overload]
        found.update(match.pattern for match in patterns.search.in_bytes(data))
    return found


def cells_of(conn: Connection, report: ScanReporter) -> Iterator[object]:
    """Yield every text and every blob of every row of a PostgreSQL database."""
    report.count(DATABASE, 0)
    for table in metadata.sorted_tables:
        for row in conn.execution_options(yield_per=1000).execute(select(table)):
            for cell in row:
                if isinstance(cell, str | bytes | memoryview):
                    report.count(DATABASE, len(cell), files=0)
                    yield cell


def note_surplus(
    surplus: Counter[int], path: str, patterns: PatternSet, report: ScanReporter
) -> None:
    """Report the patterns that occur more often than open requests explain."""
    for pattern in surplus:
        report.hit(DATABASE, path, patterns.trace_of(pattern))
