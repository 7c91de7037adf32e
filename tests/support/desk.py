"""A workspace's request database and nothing else, on either dialect, and a server of processes
that write to it."""

from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.storage.database import tables
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.store import Store
from lmeraser_ray.storage.times import utcnow
from tests.support.children import PATIENCE, context


@dataclass
class Desk:
    """Where requests are taken. url: None for SQLite."""

    root: Path
    url: str | None = None

    def __post_init__(self) -> None:
        Store(self.root / "objects").create()
        self.names = Pseudonymizer(self.root, Store(self.root / "objects").scratch)

    def open(self) -> Database:
        return Database.open(self.root, self.url)

    def requests(self, clock: Callable[[], datetime] = utcnow) -> RequestRepository:
        return RequestRepository(self.open(), self.names, clock=clock)

    def count(self, table: str) -> int:
        with self.open().read() as connection:
            return (
                connection.scalar(select(func.count()).select_from(tables.metadata.tables[table]))
                or 0
            )

    def clients(self) -> set[int]:
        """The server's processes for everybody's connections but this call's; SQLite has no
        server."""
        if self.url is None:
            return set()
        with closing(self.open()) as database, database.read() as connection:
            found = connection.exec_driver_sql(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid "
                "<> pg_backend_pid()"
            )
            return set(found.scalars())

    def bytes(self) -> bytes:
        """All that the database and the files beside it hold; of PostgreSQL, the tables' files."""
        if self.url is None:
            return b"".join(path.read_bytes() for path in sorted(self.root.glob("requests.*")))
        with self.open().write() as connection:
            connection.exec_driver_sql("CHECKPOINT")
            where = connection.exec_driver_sql("SHOW data_directory").scalar()
        found = list[bytes]()
        for path in sorted(Path(str(where), "base").rglob("*")):
            with suppress(FileNotFoundError):  # the server's own, of a moment
                if path.is_file():
                    found.append(path.read_bytes())
        return b"".join(found)


def start(act: Callable[..., None], *args: Any) -> ForkServerProcess:
    """Start a process that does one of `desk_acts`."""
    process = context().Process(target=act, args=args, daemon=True)
    process.start()
    return process


def pid_of(process: ForkServerProcess) -> int:
    """Whom to send a signal."""
    assert process.pid
    return process.pid


def ended(processes: Iterable[ForkServerProcess], seconds: float = PATIENCE) -> list[int | None]:
    """Wait for the processes. Returns their exit codes."""
    found = []
    for process in processes:
        process.join(seconds)
        found.append(process.exitcode)
    return found
