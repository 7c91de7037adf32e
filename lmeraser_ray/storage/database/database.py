"""The request database of a workspace: erasure requests, tombstones and the ledger. Processes
coordinate here and nowhere else.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as root, Database.open(Path(root), None).write() as connection:
    ...     connection.exec_driver_sql("INSERT INTO tombstones (hash) VALUES ('a')").rowcount
    1

The database is a SQLite file of the workspace, or a schema of a PostgreSQL server. Invariants, on
both: write transactions are serial; a transaction is committed whole or not at all; the workspace's
file `database` says which database it is, so that another setting is an error and never an empty
database. No error message holds a parameter (ids) or a URL (passwords).
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NoReturn, cast

from sqlalchemy import Connection, Engine, Table, insert, select
from sqlalchemy.exc import DBAPIError

from lmeraser_ray.errors import ConfigError, DataError, VerificationError
from lmeraser_ray.storage.database import postgresql, sqlite, tables
from lmeraser_ray.storage.database.database_location import DIALECTS, FILE, DatabaseLocation
from lmeraser_ray.storage.database.database_roles import grant_roles, schema_statements
from lmeraser_ray.storage.database.driver_errors import meaning
from lmeraser_ray.storage.database.ledger import SEAL, Seal
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.database.secret_versions import note, require_known
from lmeraser_ray.storage.database.upgrade import EARLIEST, upgrade
from lmeraser_ray.storage.paths import Location, local_folder
from lmeraser_ray.storage.store import Store

VARIABLE = "LMERASER_DATABASE"
Dialect = Literal["sqlite", "postgresql"]


def committing() -> None:
    """Called right before every COMMIT of a write. Tests put failures here."""


def committed() -> None:
    """Called right after every COMMIT of a write. Tests put failures here."""


def url_of(url: str | None) -> str | None:
    """The URL of the database: `url`, else that of the environment variable LMERASER_DATABASE;
    None for SQLite in the workspace."""
    return url or os.environ.get(VARIABLE) or None


def no_server(root: Location) -> NoReturn:
    """Errors: `ConfigError`, since a workspace in object storage needs a PostgreSQL server."""
    raise ConfigError(
        f"{root} is in object storage, where no SQLite file can be: its erasure requests need "
        "PostgreSQL, by LMERASER_DATABASE or --queue.database postgresql://user@host/database."
    )


def insert_new(connection: Connection, table: Table, rows: Sequence[dict[str, object]]) -> None:
    """Insert the rows whose key is not there yet."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite as dialect
    else:
        from sqlalchemy.dialects import postgresql as dialect  # type: ignore[no-redef]
    connection.execute(dialect.insert(table).on_conflict_do_nothing(), rows)


class Database:
    """The request database of one workspace. Safe for threads; not for the child of a fork."""

    def __init__(
        self, engine: Engine, where: str, file: Path | None, schema: str, seal: Seal
    ) -> None:
        """For `open`. where: for messages; file: SQLite's file, None for PostgreSQL; seal: of the
        ledger, which each connection has with it."""
        engine.update_execution_options(**{SEAL: seal})
        self._engine, self._where, self._file, self._schema = engine, where, file, schema
        self._inside = threading.local()

    @classmethod
    def open(cls, root: Location, url: str | None, *, create: bool = True) -> "Database":
        """The database of the workspace in the folder `root`.

        url: `postgresql://…`; None: what the environment's LMERASER_DATABASE says, else SQLite in
        the workspace. create: make the tables where there are none. Errors: `ConfigError` where the
        workspace's requests are in another database than this, or on a network file system;
        `DataError` where there are none and create is False; `VerificationError` where the
        workspace's database is gone, damaged, or its hashes are another secret's; `ExecutionError`
        where it cannot be reached.
        """
        pseudonymizer = Pseudonymizer(root, Store(root / "objects").scratch)
        url = url_of(url)
        location = DatabaseLocation.read(root, pseudonymizer)
        if location is None and not create:
            raise DataError(
                f"{root} has no erasure requests yet: `lmeraser submit` makes the first."
            )
        if location is not None:
            location.require(root, "postgresql" if url else "sqlite")
        if url is not None:
            database = cls._of_postgresql(url, pseudonymizer)
        elif (folder := local_folder(root)) is not None:
            database = cls._of_sqlite(folder, pseudonymizer, known=location is not None)
        else:
            no_server(root)
        try:
            pinned = location.format if location else EARLIEST
            database._prepare(pseudonymizer, known=(root / FILE).exists(), pinned=pinned)
            if location is None or location.format < tables.FORMAT or not (root / FILE).exists():
                workspace = pseudonymizer.workspace_id
                DatabaseLocation(database.dialect, workspace, database._where).write(root)
        except BaseException:
            database.close()
            raise
        return database

    @classmethod
    def _of_sqlite(cls, root: Path, names: Pseudonymizer, *, known: bool) -> "Database":
        """known: whether the workspace had a database before."""
        path = root.resolve() / "requests.db"
        sqlite.require_local(root)
        if known and not path.exists():
            raise VerificationError(
                f"{path} is missing, and with it who was erased: bring it back from a backup "
                "(`lmeraser restore`) before anything is trained or served."
            )
        sqlite.create_file(path)
        sqlite.remove_waiting(path)
        return cls(sqlite.open_engine(path), str(path), path, "", Seal(names))

    @classmethod
    def _of_postgresql(cls, url: str, names: Pseudonymizer) -> "Database":
        parsed, schema = postgresql.parse(url), postgresql.schema_of(names.workspace_id)
        engine = postgresql.open_engine(parsed, schema)
        return cls(engine, postgresql.location(parsed), None, schema, Seal(names))

    @property
    def dialect(self) -> Dialect:
        """sqlite or postgresql."""
        return cast(Dialect, self._engine.dialect.name)

    @property
    def where(self) -> str:
        """Where the database is, without credentials."""
        return self._where

    @property
    def said_in_pin(self) -> tuple[str, ...]:
        """What the workspace's file `database` says of this database."""
        return (*DIALECTS, "format", self._where)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, with no other writer beside it: committed at the end, rolled back on
        any error."""
        with (
            self._errors(),
            self._alone("write"),
            self._lock(write=True),
            self._engine.connect() as connection,
        ):
            with connection.execution_options(write=True).begin():
                if self._file is None:
                    postgresql.take_write_lock(connection, self._schema)
                yield connection
                committing()
            committed()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view. Keep it short: on SQLite no writer commits meanwhile."""
        with (
            self._errors(),
            self._alone("read"),
            self._lock(write=False),
            self._engine.connect() as connection,
        ):
            if self._file is None:
                connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            with connection.begin():
                yield connection

    def check(self) -> list[str]:
        """What is wrong with the database file itself, a sentence each; reads all of it. Always
        empty on PostgreSQL."""
        if self._file is None:
            return []
        with self.read() as connection:
            return sqlite.differences(connection)

    def grant_roles(self) -> tuple[str, ...] | None:
        """Give the server's other roles their rights in the workspace's schema
        (`database_roles.py`); done by itself when the tables are made. Returns the statements, None
        where the server does not have the roles. Errors: `ConfigError` on SQLite, which has no
        roles."""
        if self._file is not None:
            raise ConfigError(
                f"The request database {self._where} is SQLite, which has no roles: its file's "
                "mode says who may use it."
            )
        with self.write() as connection:
            return schema_statements(self._schema) if self._grant(connection) else None

    def vacuum_names(self) -> None:
        """Remove the bytes of names that were set to null, and of tombstones that were removed,
        from the database's files.

        SQLite overwrites them itself (`secure_delete`), so there is nothing left to do. PostgreSQL
        keeps dead rows, and a plain VACUUM leaves their bytes in the pages' free space, so these
        tables are written anew; writers wait meanwhile. Statistics that the server collected of
        names before version 0.5.0 are dropped. What the server's log of changes (pg_wal) and its
        replicas hold goes when the server recycles it.
        """
        if self._file is not None:
            return
        with self._errors(), self._alone("write"), self._engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.exec_driver_sql("SET statement_timeout = 0")
            postgresql.drop_statistics(connection)
            for table in (tables.targets, tables.erased, tables.tombstones):
                connection.exec_driver_sql(f"VACUUM FULL {table.name}")
            connection.exec_driver_sql(f"SET statement_timeout = '{postgresql.STATEMENT_SECONDS}s'")

    def rewrite(self) -> None:
        """Write SQLite's file anew, without what deleted or moved rows left in its pages."""
        if self._file is None:
            return
        with self._errors(), self._alone("write"), self._lock(write=True):
            connection = self._engine.raw_connection()
            try:
                connection.cursor().execute("VACUUM")
            finally:
                connection.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn the database's errors into ours."""
        try:
            yield
        except (DBAPIError, sqlite3.Error) as error:
            known = meaning(error, self._where)
            if known is None:
                raise
            raise known from error

    @contextmanager
    def _alone(self, what: str) -> Iterator[None]:
        """Refuse a transaction within one: it would wait for itself for ever."""
        outer = getattr(self._inside, "what", None)
        if outer is not None:
            raise RuntimeError(f"a transaction to {what} within one to {outer}: use its connection")
        self._inside.what = what
        try:
            yield
        finally:
            self._inside.what = None

    @contextmanager
    def _lock(self, *, write: bool) -> Iterator[None]:
        """Hold SQLite's lock; on PostgreSQL the server has its own. Where a writer died within a
        transaction, the transaction is rolled back and the whole file is checked first."""
        if self._file is None:
            yield
            return
        while True:
            with sqlite.locked_database(self._file, write=write) as sound:
                if sound:
                    yield
                    return
            sqlite.recover(self._file, self._engine)

    def _prepare(self, pseudonymizer: Pseudonymizer, *, known: bool, pinned: int) -> None:
        """Create missing tables, unless the workspace's file `database` says that they are there
        (known), check that they are this workspace's, and upgrade those of an earlier release, but
        none that had the format `pinned` before: the upgrade would adopt whatever is in them."""
        workspace = pseudonymizer.workspace_id
        if self._file is None and known:
            self._require_schema()
        elif not known:
            with self.write() as connection:
                self._create(connection, pseudonymizer)
        found = self._identity()
        if found and found[0] == workspace and EARLIEST <= found[1] < tables.FORMAT:
            if found[1] < pinned:
                raise VerificationError(
                    f"The request database {self._where} says that it has format {found[1]}, and "
                    f"it had format {pinned} before: somebody changed it. Bring it back from a "
                    "backup (`lmeraser restore`)."
                )
            with self.write() as connection:
                upgrade(connection, pseudonymizer, found[1])
                self._grant(connection)
            found = self._identity()
        if found != (workspace, tables.FORMAT):
            whose = (
                "it holds no workspace"
                if found is None
                else f"workspace {found[0]}, format {found[1]}"
            )
            raise VerificationError(
                f"The request database {self._where} is not this workspace's ({whose}; expected "
                f"{workspace}, format {tables.FORMAT}): bring back the workspace's own `secret` "
                "and database from one backup."
            )
        with self.read() as connection:
            noted = require_known(connection, pseudonymizer)
        if not noted:
            with self.write() as connection:
                note(connection, pseudonymizer)

    def _identity(self) -> tuple[str, int] | None:
        """The workspace's id and the format of the tables, None where they are empty."""
        columns = tables.workspace.c.workspace, tables.workspace.c.format
        with self.read() as connection:
            found = connection.execute(select(*columns)).one_or_none()
        return (found.workspace, found.format) if found else None

    def _require_schema(self) -> None:
        """Errors: `ConfigError` where the server does not have the workspace's tables."""
        with self.read() as connection:
            if not postgresql.has_schema(connection, self._schema):
                raise ConfigError(
                    f"The database {self._where} has no schema {self._schema}, but this "
                    "workspace's requests are in one: give the URL of the server that has it "
                    "(the workspace's file `database` says where it was)."
                )

    def _create(self, connection: Connection, names: Pseudonymizer) -> None:
        if self._file is None:
            connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{self._schema}"')
        tables.metadata.create_all(connection)
        if self._file is None:
            postgresql.drop_statistics(connection)
        if connection.execute(select(tables.workspace.c.id)).first() is None:
            connection.execute(
                insert(tables.workspace).values(
                    id=1, workspace=names.workspace_id, format=tables.FORMAT
                )
            )
            connection.execute(insert(tables.lease).values(id=1, epoch=0))
            note(connection, names)
        self._grant(connection)

    def _grant(self, connection: Connection) -> bool:
        return self._file is None and grant_roles(connection, self._schema)
