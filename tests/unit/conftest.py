"""What the unit tests share besides `tests/conftest.py`: a real PostgreSQL."""

from tests.conftest_postgres import postgresql

__all__ = ["postgresql"]
