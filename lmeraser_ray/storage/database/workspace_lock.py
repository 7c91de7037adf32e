"""The workspace's lock: one command at a time writes. When the process that holds the lock ends,
in whatever way, the lock is free.

On a disk it is a lock of the file `lock`. Object storage has no locks, so there it belongs to a
session of the PostgreSQL server that holds the requests. That lock goes with its connection, so its
holder can lose it unnoticed and checks it (`guard`) before it publishes or removes anything.
"""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Row
from sqlalchemy.exc import DBAPIError

from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.storage.database import postgresql
from lmeraser_ray.storage.database.driver_errors import meaning
from lmeraser_ray.storage.file_lock import try_locked
from lmeraser_ray.storage.store import Guard, unguarded

LASTING = (
    "idle_session_timeout = 0",
    "tcp_keepalives_idle = 10",
    "tcp_keepalives_interval = 5",
    "tcp_keepalives_count = 3",
)
"""The server keeps the session while its client lives, and notices within half a minute that a
machine is gone."""
HOLDER = """
    SELECT application_name, pid = pg_backend_pid() AS ours
    FROM pg_stat_activity JOIN pg_locks USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND (classid::bigint << 32) | objid::bigint = %s
"""


@contextmanager
def lock_of_file(path: Path) -> Iterator[Guard]:
    """Hold the lock of a file. Errors: `ExecutionError` at once where another process does."""
    with try_locked(path) as (handle, ours):
        if not ours:
            said = os.pread(handle, 32, 0)
            raise taken(f"process {int(said) if said.isdigit() else 'unknown'}", str(path.parent))
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield unguarded


@contextmanager
def lock_of_server(url: str, where: str) -> Iterator[Guard]:
    """Hold a lock of the PostgreSQL server at `url` for the workspace at `where`, a URL too.

    Errors: `ExecutionError` at once where another process does, or where the server cannot be
    reached; `ConfigError` on no such URL.
    """
    parsed, key = postgresql.parse(url), postgresql.lock_key(where)
    engine = postgresql.open_engine(parsed, "public")
    place = postgresql.location(parsed)

    def ask(text: str, *values: object) -> Row[Any] | None:
        with server_errors(place):
            result = connection.exec_driver_sql(text, values or None)
            return result.first() if result.returns_rows else None

    def require() -> None:
        with suppress(ExecutionError):
            holder = None if connection.invalidated else ask(HOLDER, key)
            if holder and holder.ours:
                return
        raise ExecutionError(
            f"The lock of {where} went with its connection: another command may write now. Run "
            "the same command again."
        )

    with server_errors(place):
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    try:
        for setting in (
            f"application_name = 'lmeraser process {os.getpid()} on {platform.node()[:30]}'",
            *LASTING,
        ):
            ask(f"SET {setting}")
        ask("SELECT pg_try_advisory_lock(%s)", key)
        holder = ask(HOLDER, key)
        if holder is None or not holder.ours:
            raise taken(
                str(holder.application_name if holder else "unknown").removeprefix("lmeraser "),
                where,
            )
        try:
            yield require
        finally:  # the server may hear of the connection's end long after the next command began
            with suppress(ExecutionError, DBAPIError):
                if not connection.invalidated:
                    ask("SELECT pg_advisory_unlock(%s)", key)
    finally:
        connection.close()
        engine.dispose()


@contextmanager
def server_errors(place: str) -> Iterator[None]:
    """Turn the driver's errors into ours."""
    try:
        yield
    except DBAPIError as error:
        raise meaning(error, place) or error from error


def taken(holder: str, where: str) -> ExecutionError:
    """The error that another command holds the lock."""
    return ExecutionError(
        f"Another command ({holder}) is writing to {where}: wait for it and try again."
    )
