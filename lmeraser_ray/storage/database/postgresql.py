"""The request database in a schema of a PostgreSQL server, for workspaces that several machines
share.

One schema a workspace. Write transactions take an advisory lock of the schema first, so that they
are serial as SQLite's are. Time limits end the transaction of a client that was stopped, so that it
cannot hold the lock for ever. All of this is of sessions: a pooler that has none is refused.
"""

import hashlib
import select
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from lmeraser_ray.errors import ConfigError
from lmeraser_ray.storage.database.tables import NAMED

if TYPE_CHECKING:
    import psycopg

PASSWORDS = frozenset(("password", "sslpassword"))
"""Options of a URL that are secret."""
ASK, POOLED = "SELECT pg_backend_pid()", "the server's process that a pooler keeps"
LOOKS, LOOK_SECONDS = 3, 3
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
    found = found.set(drivername="postgresql+psycopg")
    require_options(found)
    return found


def require_options(url: URL) -> None:
    """Errors: `ConfigError` that names an option of the URL that PostgreSQL's client does not know
    or cannot read, but no value, which may be secret."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import make_conninfo, timeout_from_conninfo

    for name, value in url.query.items():
        try:
            make_conninfo("", **{name: value if isinstance(value, str) else ",".join(value)})
        except ProgrammingError as error:
            raise ConfigError(
                f"queue.database (or LMERASER_DATABASE) has the option {name!r}, which "
                "PostgreSQL's client does not know: correct it, as in "
                "postgresql://user@host/database?sslmode=require."
            ) from error
    try:
        _, given = url.get_dialect()().create_connect_args(url)
        str(given.get("host", "")).encode("idna")
        timeout_from_conninfo(dict(given))
    except ProgrammingError as error:
        raise ConfigError(
            "queue.database (or LMERASER_DATABASE) has a connect_timeout that is no number of "
            "seconds: correct it."
        ) from error
    except (ArgumentError, UnicodeError) as error:
        raise ConfigError(
            "queue.database (or LMERASER_DATABASE) has hosts or ports that cannot be: give one of "
            "each, or as many ports as hosts, as in postgresql://user@host:5432/database."
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
    port = url.port or url.query.get("port") or 5432
    return f"{host}:{port}/{url.database or ''}"


def open_engine(url: URL, schema: str) -> Engine:
    """The engine of one schema of the database at `url`."""
    limits = {} if "connect_timeout" in url.query else {"connect_timeout": CONNECT_SECONDS}
    engine = create_engine(
        url, hide_parameters=True, pool_pre_ping=True, max_overflow=-1, connect_args=limits
    )

    def another() -> Any:
        args, options = engine.dialect.create_connect_args(url)
        return engine.dialect.connect(*args, **options, **limits)

    @event.listens_for(engine, "connect", insert=True)  # before SQLAlchemy's own transactions
    def set_up(connection: "psycopg.Connection", record: ConnectionPoolEntry) -> None:
        connection.autocommit = True
        try:
            record.info[POOLED] = require_session(connection, another, location(url))
        except BaseException:
            connection.close()
            raise
        settings = {
            "statement_timeout": STATEMENT_SECONDS,
            "lock_timeout": LOCK_SECONDS,
            "idle_in_transaction_session_timeout": IDLE_SECONDS,
        }
        connection.execute(f'SET search_path TO "{schema}"')
        for name, seconds in settings.items():
            connection.execute(f"SET {name} = '{seconds}s'")
        connection.autocommit = False

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        session = connection.info.get(POOLED)
        if session and connection.exec_driver_sql(ASK).scalar() != session:
            raise pooled(location(url))

    return engine


def require_session(
    connection: "psycopg.Connection", another: "Callable[[], psycopg.Connection]", where: str
) -> int | None:
    """The server's process that a pooler between keeps for this connection; None without one. A
    pooler is known by the process's number: it names another than the server itself.

    another: opens a second connection, which a pooler of transactions gives the same process, since
    nothing is under way. Errors: `ConfigError` then.
    """
    row = connection.execute(ASK).fetchone()
    session = int(row[0]) if row else 0
    if session == connection.info.backend_pid:
        return None
    for _ in range(LOOKS):
        with closing(another()) as other:
            other.pgconn.send_query(ASK.encode())
            answer = select.poll()
            answer.register(other.pgconn.socket, select.POLLIN)
            if not answer.poll(1000 * LOOK_SECONDS):
                break  # it waits for a process of its own
            result = other.pgconn.get_result()
            if result and result.get_value(0, 0) == str(session).encode():
                raise pooled(where)
    return session


def pooled(where: str) -> ConfigError:
    """The error that a pooler has no sessions."""
    return ConfigError(
        f"Between this machine and the PostgreSQL server {where} is a pooler that gives each "
        "transaction another session (as pgbouncer does with pool_mode = transaction), and "
        "requests and locks need one that stays: give the server's own address in queue.database "
        "(or LMERASER_DATABASE), or set pool_mode = session."
    )


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
