"""The request database in a schema of a PostgreSQL server, for workspaces that several machines
share.

One schema a workspace. Write transactions take an advisory lock of the schema first, so that they
are serial as SQLite's are. Time limits end the transaction of a client that was stopped, so that it
cannot hold the lock for ever.
"""

import hashlib
from typing import TYPE_CHECKING

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from lmeraser_ray.errors import ConfigError
from lmeraser_ray.storage.database.tables import NAMED

if TYPE_CHECKING:
    import psycopg

PASSWORDS = frozenset(("password", "sslpassword"))
"""Options of a URL that are secret."""
STATEMENT_SECONDS, LOCK_SECONDS, IDLE_SECONDS, CONNECT_SECONDS = 60, 30, 10, 10


def parse(url: str) -> URL:
    """The URL for SQLAlchemy. Errors: `ConfigError` that does not repeat it, since it may hold a
    password."""
    try:
        found = make_url(url)
    except (ArgumentError, ValueError):
        found = None
    if found is None or found.drivername not in ("postgresql", "postgresql+psycopg"):
        raise ConfigError(
            "queue.database (or LMERASER_DATABASE) is no URL of the form "
            "postgresql://user:password@host:port/database."
        )
    require_options(found)
    return found.set(drivername="postgresql+psycopg")


def require_options(url: URL) -> None:
    """Errors: `ConfigError` that names an option of the URL that PostgreSQL's client does not know
    or cannot read, but no value, which may be secret."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import make_conninfo

    for name, value in url.query.items():
        try:
            make_conninfo("", **{name: value if isinstance(value, str) else ",".join(value)})
        except ProgrammingError as error:
            raise ConfigError(
                f"queue.database (or LMERASER_DATABASE) has the option {name!r}, which "
                "PostgreSQL's client does not know: correct it, as in "
                "postgresql://user@host/database?sslmode=require."
            ) from error


def refuse_password(url: str | None) -> None:
    """Errors: `ConfigError` where a URL that was typed, or stands in a file, holds a password."""
    found = parse(url) if url else None
    if found and (found.password is not None or PASSWORDS & found.query.keys()):
        raise ConfigError(
            "queue.database holds a password, which every user of this machine sees among the "
            "arguments of a process, and which stays in files: leave it out there and give it in "
            "~/.pgpass or PGPASSWORD, or give the whole URL in LMERASER_DATABASE."
        )


def location(url: URL) -> str:
    """Where the database is, without credentials."""
    host = url.host or url.query.get("host") or "local"
    host = host if isinstance(host, str) else host[0]
    return f"{host}:{url.port or 5432}/{url.database or ''}"


def open_engine(url: URL, schema: str) -> Engine:
    """The engine of one schema of the database at `url`."""
    limits = {"connect_timeout": CONNECT_SECONDS}
    engine = create_engine(
        url, hide_parameters=True, pool_pre_ping=True, max_overflow=-1, connect_args=limits
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: "psycopg.Connection", _: object) -> None:
        limits = {
            "statement_timeout": STATEMENT_SECONDS,
            "lock_timeout": LOCK_SECONDS,
            "idle_in_transaction_session_timeout": IDLE_SECONDS,
        }
        connection.autocommit = True
        connection.execute(f'SET search_path TO "{schema}"')
        for name, seconds in limits.items():
            connection.execute(f"SET {name} = '{seconds}s'")
        connection.autocommit = False

    return engine


def drop_statistics(connection: Connection) -> None:
    """Keep names out of the server's statistics: ANALYZE, which the server runs by itself, would
    copy common values of a column to `pg_statistic`, where they stay after the rows are wiped.

    Setting a column's type to the one that it has drops what was collected before; no row is
    written. Once a column collects nothing, nothing is done.
    """
    asked = (
        "SELECT attstattarget FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s"
    )
    for table, name in NAMED:
        if connection.exec_driver_sql(asked, (table.name, name)).scalar() == 0:
            continue
        kind = table.c[name].type.compile(connection.dialect)
        alter = f"ALTER TABLE {table.name} ALTER COLUMN {name}"
        connection.exec_driver_sql(f"{alter} TYPE {kind}")
        connection.exec_driver_sql(f"{alter} SET STATISTICS 0")


def take_write_lock(connection: Connection, schema: str) -> None:
    """Wait until no other transaction writes to the schema; the lock goes with the transaction."""
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({lock_key(schema)})")


def lock_key(name: str) -> int:
    """The number of a lock that has a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


def schema_of(workspace: str) -> str:
    """Where a server keeps the tables of the workspace of this id."""
    return f"lmeraser_{workspace}"


def has_schema(connection: Connection, schema: str) -> bool:
    """Whether the workspace's tables are there."""
    return (
        connection.exec_driver_sql("SELECT to_regclass(%s)", (f'"{schema}".workspace',)).scalar()
        is not None
    )
