"""Where the states of a disk are looked at."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")


@pytest.fixture
def memory() -> Iterator[Path]:
    """An empty folder, in memory where there is one: thousands of states are written there."""
    where = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="lmeraser-crashes-", dir=where) as name:
        yield Path(name)
