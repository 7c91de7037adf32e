"""What the unit tests share besides `tests/conftest.py`: a real PostgreSQL, and a request database
on either dialect."""

from pathlib import Path

import pytest

from tests.desk import Desk


@pytest.fixture(params=["sqlite", "postgresql"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Desk:
    """An empty request database, on each dialect."""
    return Desk(
        tmp_path / "desk",
        request.getfixturevalue("postgresql") if request.param == "postgresql" else None,
    )


@pytest.fixture
def lite(tmp_path: Path) -> Desk:
    """An empty request database on SQLite."""
    return Desk(tmp_path / "desk")
