"""Upgrades of a request database that an earlier release made: one transaction, at its first
opening, or when a backup of that release is restored.

    format 1 (before 0.6.0) → 2: new columns; the names of submitters become keyed hashes, and so do
                                 the states of publications; tombstones have a date; the ledger is
                                 keyed from now on
    format 2 (before 0.7.0) → 3: new columns: of what is noted at a submission, and of test records
    format 3 (before 0.8.0) → 4: the table of the service's tokens

Invariant: nothing is lost that the present release needs; a crash leaves the earlier format.

The ledger of format 1 had no key, so nothing shows who wrote it: the upgrade takes its rows as they
are. The first keyed entry holds what later checks need of requests that were under way, so that
nobody can change it from then on.
"""

import hashlib
from collections.abc import Iterator

from sqlalchemy import Column, Connection, bindparam, func, inspect, select, update
from sqlalchemy.schema import CreateColumn

from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.times import to_text, utcnow

EARLIEST = 1
KEYED_SINCE = 2
"""The first format whose ledger is keyed."""


def upgrade(connection: Connection, pseudonymizer: Pseudonymizer, earlier: int) -> None:
    """Bring tables and rows of the format `earlier` to the present one, within a transaction."""
    tables.metadata.create_all(connection)
    for column in missing_columns(connection):
        definition = CreateColumn(column).compile(dialect=connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {column.table.name} ADD COLUMN {definition}")
    upgrade_rows(connection, pseudonymizer, earlier)
    connection.execute(update(tables.workspace).values(format=tables.FORMAT))


def upgrade_rows(connection: Connection, pseudonymizer: Pseudonymizer, earlier: int) -> None:
    """Bring rows of the format `earlier` to the present one, in tables that have all columns."""
    if earlier >= KEYED_SINCE:
        return
    hash_submitters(connection, pseudonymizer)
    hash_states(connection)
    date_tombstones(connection)
    ledger.append(connection, ledger.KEYED, None, adopted(connection))


def hash_submitters(connection: Connection, pseudonymizer: Pseudonymizer) -> None:
    """Replace the names of submitters by keyed hashes."""
    submitter = tables.requests.c.submitter
    names = connection.scalars(select(submitter).distinct()).all()
    hashed = [{"was": name, "is": pseudonymizer.hash("submitter", name)} for name in names]
    if hashed:
        by_name = update(tables.requests).where(submitter == bindparam("was"))
        connection.execute(by_name.values(submitter=bindparam("is")), hashed)


def date_tombstones(connection: Connection) -> None:
    """Date the tombstones that have no date: by the closing of the last request that set one, else
    by now."""
    stones, closed = tables.tombstones, tables.requests.c.closed_at
    for table in (tables.erased, tables.targets):
        mine = (table.c.hash == stones.c.hash) & (table.c.request_id == tables.requests.c.id)
        last = select(func.max(closed)).where(mine).scalar_subquery()
        connection.execute(update(stones).where(stones.c.at.is_(None)).values(at=last))
    now = to_text(utcnow())
    connection.execute(update(stones).where(stones.c.at.is_(None)).values(at=now))


def hash_states(connection: Connection) -> None:
    """Replace the fingerprints of publications by keyed hashes."""
    seal, columns = ledger.seal_of(connection), tables.publications.c
    for row in connection.execute(select(columns.id, columns.before, columns.after)).all():
        before, after = (state and seal.state(state) for state in (row.before, row.after))
        keyed = update(tables.publications).where(columns.id == row.id)
        connection.execute(keyed.values(before=before, after=after))


def adopted(connection: Connection) -> dict[str, object]:
    """The facts of the first keyed entry.

    requests: of each request that is neither done nor given up, the digest over the hashes of its
    records, and the SHA-256 of its frozen statement; readmitted: the hashes of certified erasures
    that have no tombstone, which the ledger only counted.
    """
    columns, erased = tables.requests.c, tables.erased.c
    under_way = columns.state.not_in(["CERTIFIED", "REFUSED", "CANCELLED"])
    requests: dict[str, object] = {}
    for row in connection.execute(select(columns.id, columns.statement).where(under_way)).all():
        hashes = connection.scalars(select(erased.hash).where(erased.request_id == row.id))
        frozen = hashlib.sha256(row.statement).hexdigest() if row.statement else None
        requests[row.id] = {"erased": ledger.digest_of_hashes(hashes), "statement": frozen}
    return {"requests": requests, "readmitted": readmitted(connection)}


def readmitted(connection: Connection) -> list[str]:
    """The hashes of certified erasures that have no tombstone, where the trainings let so many ids
    in again. Where more are missing, nobody can tell which, and none is returned."""
    certified = select(tables.requests.c.id).where(tables.requests.c.state == "CERTIFIED")
    removed = tables.targets.c.outcome == "removed"
    hashes = {
        *connection.scalars(
            select(tables.targets.c.hash).where(tables.targets.c.request_id.in_(certified), removed)
        ),
        *connection.scalars(
            select(tables.erased.c.hash).where(tables.erased.c.request_id.in_(certified))
        ),
    }
    missing = hashes - set(connection.scalars(select(tables.tombstones.c.hash)))
    counts = [
        entry.facts.get("readmitted")
        for entry in ledger.entries(connection)
        if entry.kind == "TRAINED"
    ]
    allowed = sum(count for count in counts if isinstance(count, int))
    return sorted(missing) if len(missing) <= allowed else []


def missing_columns(connection: Connection) -> Iterator[Column[object]]:
    """Yield the columns that the tables of an earlier release do not have."""
    there = inspect(connection)
    for table in tables.metadata.sorted_tables:
        known = {str(column["name"]) for column in there.get_columns(table.name)}
        yield from (column for column in table.columns if column.name not in known)
