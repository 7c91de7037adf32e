"""The request database, searched: what open requests still have to name is at home there, and
nothing else of what was erased is.

Of SQLite every byte is searched, free pages included: an occurrence too many is one that no row
explains. SQLite gives its bytes out itself (`serialize`): to open and close its file here would
drop the locks that this process holds on it. Of PostgreSQL the rows are searched.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress

from sqlalchemy import Connection, Select, Table, select

from lmeraser_ray.erasure.absence.inventory import DATABASE
from lmeraser_ray.erasure.absence.patterns import PatternSet
from lmeraser_ray.erasure.absence.report import Findings
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.tables import NAMED, metadata, requests
from lmeraser_ray.storage.paths import Location

FILE = "requests.db"
JOURNAL = "requests.db-journal"
"""The journal of a transaction under way, which has pages as they were before it."""


def search_database(
    database: Database, root: Location, wanted: PatternSet, findings: Findings
) -> None:
    """Search the request database of the workspace in `root`."""
    nameless = requests.c.state.in_(State.where(lambda state: not state.keeps_names))
    with database.read() as conn:
        for table, column in NAMED:
            if conn.execute(kept(table, column).where(nameless).limit(1)).first() is not None:
                findings.hit(
                    DATABASE, FILE, f"{table.name}.{column} of a request that is worked off"
                )
        at_home = occurrences(
            wanted,
            (cell for table, column in NAMED for (cell,) in conn.execute(kept(table, column))),
        )
        if database.dialect == "sqlite":
            image = conn.connection.driver_connection.serialize()  # type: ignore[union-attr]
            there = occurrences(wanted, [image])
            findings.count(DATABASE, len(image))
        else:
            there = occurrences(wanted, cells_of(conn, findings))
    report(there - at_home, FILE, wanted, findings)
    findings.explained += (there & at_home).total()
    search_journal(root / JOURNAL, at_home, wanted, findings)


def search_journal(
    path: Location, at_home: Counter[int], wanted: PatternSet, findings: Findings
) -> None:
    """The journal may have what the database has at home, and nothing else of what was erased."""
    with suppress(FileNotFoundError):
        there = Counter(match.pattern for match in wanted.search.in_file(path))
        findings.count(DATABASE, path.stat().st_size)
        report(
            Counter({pattern: count for pattern, count in there.items() if pattern not in at_home}),
            path.name,
            wanted,
            findings,
        )
        findings.explained += sum(count for pattern, count in there.items() if pattern in at_home)


def kept(table: Table, column: str) -> Select[tuple[object]]:
    """The cells of a column that are not null, with the request that each is of."""
    found = table.c[column]
    return (
        select(found).join(requests, requests.c.id == table.c.request_id).where(found.is_not(None))
    )


def occurrences(wanted: PatternSet, cells: Iterable[object]) -> Counter[int]:
    """How often each pattern occurs, whatever is next to it: in SQLite's pages nothing lies between
    two values."""
    found: Counter[int] = Counter()
    for cell in cells:
        data = cell.encode() if isinstance(cell, str) else bytes(cell)  # type: ignore[call-overload]
        found.update(match.pattern for match in wanted.search.in_bytes(data))
    return found


def cells_of(conn: Connection, findings: Findings) -> Iterator[object]:
    """Every text and every blob of every row of a PostgreSQL database."""
    findings.count(DATABASE, 0)
    for table in metadata.sorted_tables:
        for row in conn.execution_options(yield_per=1000).execute(select(table)):
            for cell in row:
                if isinstance(cell, str | bytes | memoryview):
                    findings.count(DATABASE, len(cell), files=0)
                    yield cell


def report(surplus: Counter[int], path: str, wanted: PatternSet, findings: Findings) -> None:
    """Note what is there too often."""
    for pattern in surplus:
        findings.hit(DATABASE, path, wanted.trace_of(pattern))
