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
    "url",
    [
        "postgresql://me:secret@h:abc/db",
        "postgresql://me:secret@[::1/db",
        "postgresql://me:secret@/db?host=a&port=x",
        "postgresql://me:secret@/db?host=a,b&port=1,2,3",
        f"postgresql://me:secret@{'a' * 70}.example/db",
        "postgresql://me:secret@h/db?connect_timeout=soon",
        "postgresql+asyncpg://me:secret@h/db",
    ],
)
def test_a_url_that_cannot_be(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"queue.database \(or LMERASER_DATABASE\)") as found:
        Database.open(tmp_path, url)
    assert "secret" not in str(found.value)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("sslmode=nonsense", "has a value that it, or its client, does not take"),
        ("target_session_attrs=foo", "has a value that it, or its client, does not take"),
        ("options=-c%20nonsense%3D1", "has a value that it, or its client, does not take"),
        ("target_session_attrs=read-only", "not what target_session_attrs asks for"),
        ("options=-c%20default_transaction_read_only%3Don", "takes no writes"),
        ("port=1", "there is no such socket"),
    ],
)
def test_options_that_the_server_does_not_take(
    option: str, told: str, postgresql: str, tmp_path: Path
) -> None:
    with pytest.raises(ExecutionError, match=told):
        Database.open(tmp_path, f"{postgresql}&{option}")


def test_the_port_among_the_options_is_told() -> None:
    url = postgresql.parse("postgresql://me@/db?host=/tmp&port=6432")
    assert postgresql.location(url) == "/tmp:6432/db"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('FATAL:  database "x" does not exist', "has no such database: make it"),
        ('FATAL:  role "x" does not exist', "refused the user or the password"),
        ('FATAL:  password authentication failed for user "x"', "refused the user or the password"),
        ("fe_sendauth: no password supplied", "refused the user or the password"),
        ("FATAL:  sorry, too many clients already", "out of a resource"),
        ('FATAL:  no such database: "x"', "has no such database: make it"),
        ("FATAL:  no such user: x", "refused the user or the password"),
        ("FATAL:  no more connections allowed (max_client_conn)", "out of a resource"),
        ("FATAL:  unsupported startup parameter: options", "option of queue.database"),
        ("Connection refused", "cannot be reached (nothing listens there)"),
        ("could not translate host name", "cannot be reached (no host has this name)"),
        ("server does not support SSL", "and sslmode of queue.database do not agree"),
        ("connection timeout expired", "cannot be reached (it did not answer in time)"),
        ("something else", "cannot be reached, or the connection was lost"),
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
