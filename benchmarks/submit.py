"""`python -m benchmarks.submit`: what many clients at once see of `submit`. Seconds; `--postgresql
URL` for the other dialect.

All client processes start together; each sends one request after the other, without a pause. This
is the hardest case for a database that commits one transaction at a time. A client's time is from
the call of `RequestRepository.submit` to its return, which is after COMMIT. At the end every
acknowledged request must be in the database, and the ledger's chain must be whole. The cost of one
COMMIT of this disk is measured too. Required of 32 clients on SQLite: none lost, at least 100
requests a second, a 99th percentile below one second.
"""

import argparse
import multiprocessing
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clients import client, opened
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.store import Store

REQUIRED_MS, REQUIRED_PER_SECOND = 1000.0, 100


def arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.submit", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument(
        "--postgresql",
        metavar="URL",
        help="a PostgreSQL database instead of SQLite in a temporary folder",
    )
    return parser.parse_args()


def sent(
    root: Path, url: str | None, clients: int, total: int
) -> tuple[list[str], np.ndarray, float]:
    """Let the clients send `total` requests. Returns the acknowledged ids, each one's milliseconds,
    and the seconds for all."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.clients"])
    counts = [total // clients + (number < total % clients) for number in range(clients)]
    pipes, processes = [], []
    for number, count in enumerate(counts):
        ours, theirs = context.Pipe()
        process = context.Process(target=client, args=(root, url, number, count, theirs))
        process.start()
        pipes.append(ours)
        processes.append(process)
    for pipe in pipes:
        pipe.recv()
    start = time.perf_counter()
    for pipe in pipes:
        pipe.send("go")
    answers = [pipe.recv() for pipe in pipes]
    seconds = time.perf_counter() - start
    for process in processes:
        process.join()
    return (
        [name for ids, _ in answers for name in ids],
        np.concatenate([took for _, took in answers]),
        seconds,
    )


def commit_ms(folder: Path, count: int = 200) -> float:
    """The median milliseconds of a COMMIT of one row on this disk, with the database's settings."""
    connection = sqlite3.connect(folder / "commit.db", isolation_level=None)
    connection.execute("PRAGMA synchronous=EXTRA")
    connection.execute("CREATE TABLE t (x)")
    took = []
    for i in range(count):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO t VALUES (?)", (i,))
        start = time.perf_counter()
        connection.execute("COMMIT")
        took.append((time.perf_counter() - start) * 1000)
    connection.close()
    return float(np.median(took))


def main() -> None:
    """Send, count, report."""
    from benchmarks import (
        machine,
    )  # which knows torch: not for the clients, who import this module too

    options = arguments()
    on = machine.describe()
    with tempfile.TemporaryDirectory(prefix="lmeraser-benchmark-") as name:
        root = Path(name)
        Store(root / "objects").create()
        opened(root, options.postgresql)
        ids, took, seconds = sent(root, options.postgresql, options.clients, options.requests)
        database = Database.open(root, options.postgresql)
        with database.read() as connection:
            stored = {row[0] for row in connection.exec_driver_sql("SELECT id FROM requests")}
            wrong = ledger.check(connection)
        result: dict[str, Any] = {
            "benchmark": "submit",
            "dialect": database.dialect,
            "requests": options.requests,
            "clients": options.clients,
            "acknowledged": len(set(ids)),
            "stored": len(stored),
            "lost": len(set(ids) - stored),
            "ledger_wrong": wrong,
            "seconds": round(seconds, 3),
            "per_second": round(options.requests / seconds),
            "ms": {f"p{q}": round(float(np.percentile(took, q)), 2) for q in (50, 90, 99)}
            | {"max": round(float(took.max()), 2)},
            "commit_ms": round(commit_ms(root), 2),
        }
        database.close()
    fast = result["ms"]["p99"] < REQUIRED_MS and result["per_second"] >= REQUIRED_PER_SECOND
    met = fast and not result["lost"] and not wrong
    required = {"p99_ms": REQUIRED_MS, "per_second": REQUIRED_PER_SECOND}
    machine.report({**result, "required": required, "met": met, "machine": on})


if __name__ == "__main__":
    main()
