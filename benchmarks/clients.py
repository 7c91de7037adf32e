"""Client processes that submit erasure requests: what `benchmarks.submit` starts. Light, since
there are many of them."""

import time
from multiprocessing.connection import Connection
from pathlib import Path

import psycopg  # noqa: F401 - so that no client has to
import sqlalchemy.dialects.postgresql.psycopg
import sqlalchemy.dialects.sqlite.pysqlite  # noqa: F401

from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.store import Store


def opened(root: Path, url: str | None) -> RequestRepository:
    """The requests of the workspace, as a client opens them."""
    return RequestRepository(
        Database.open(root, url), Pseudonymizer(root, Store(root / "objects").scratch)
    )


def client(root: Path, url: str | None, number: int, count: int, pipe: Connection) -> None:
    """Open the database, say so, wait for the word, then send `count` requests. Answers their ids
    and milliseconds."""
    requests = opened(root, url)
    requests.counts()
    pipe.send("ready")
    pipe.recv()
    ids: list[str] = []
    took: list[float] = []
    for i in range(count):
        start = time.perf_counter()
        request = requests.submit(
            [f"person-{number}/picture-{i}"],
            [],
            key=f"{number}-{i}",
            submitter=f"client-{number}",
            quota=100_000,
        )
        took.append((time.perf_counter() - start) * 1000)
        ids.append(request.id)
    pipe.send((ids, took))
