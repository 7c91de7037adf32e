"""A database that cannot be used is told by its cause."""

import secrets
from pathlib import Path

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from lmeraser_ray.errors import ConfigError, ExecutionError
from lmeraser_ray.storage.database import postgresql, sqlite
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.driver_errors import meaning


@pytest.mark.parametrize("option", ["nonsense=1", "sslmodus=require", "sslmode=require&Timeout=3"])
def test_an_unknown_option_is_named(option: str, tmp_path: Path) -> None:
    name = option.rpartition("&")[2].partition("=")[0]
    with pytest.raises(ConfigError, match=f"the option '{name}'") as found:
        Database.open(tmp_path, f"postgresql://me:secret@127.0.0.1:1/db?{option}")
    assert "secret" not in str(found.value)


@pytest.mark.parametrize("option", ["sslmode=require", "host=/tmp", "connect_timeout=4", ""])
def test_known_options_are_taken(option: str) -> None:
    assert postgresql.parse(f"postgresql://me@h/db?{option}").database == "db"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('FATAL:  database "x" does not exist', "has no such database: make it"),
        ('FATAL:  role "x" does not exist', "refused the user or the password"),
        ('FATAL:  password authentication failed for user "x"', "refused the user or the password"),
        ("fe_sendauth: no password supplied", "refused the user or the password"),
        ("FATAL:  sorry, too many clients already", "out of a resource"),
        ("connection refused", "cannot be reached"),
    ],
)
def test_why_nobody_was_let_in(said: str, told: str) -> None:
    error = OperationalError("", {}, Exception(f"connection to server at h failed: {said}"))
    assert told in str(meaning(error, "h:5432/x"))


def test_a_database_that_does_not_exist(postgresql: str, tmp_path: Path) -> None:
    name = f"none_{secrets.token_hex(4)}"
    url = make_url(postgresql).set(database=name).render_as_string(hide_password=False)
    with pytest.raises(ExecutionError, match=f"{name} has no such database: make it"):
        Database.open(tmp_path, url)


@pytest.mark.parametrize("length", [sqlite.LONGEST_PATH - 1, sqlite.LONGEST_PATH])
def test_a_path_as_long_as_sqlite_opens(length: int, tmp_path: Path) -> None:
    Database.open(deep(tmp_path, length), None).close()


def test_a_longer_path_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="SQLite opens paths of at most"):
        Database.open(deep(tmp_path, sqlite.LONGEST_PATH + 1), None)


def deep(root: Path, length: int) -> Path:
    """A folder in which the journal of a database has a path of so many bytes."""
    left = length - len(str(root.resolve() / "requests.db-journal"))
    while left > 200:
        root, left = root / ("d" * 99), left - 100
    root = root / ("e" * (left - 1))
    root.mkdir(parents=True)
    return root
