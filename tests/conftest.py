"""What tests share: a tiny world (16-pixel pictures, a random convnet) in which the whole flow
takes tenths of a second."""

import os
import secrets
import tempfile
from pathlib import Path

import pytest

from tests.support.desk import Desk
from tests.support.world import World

pytest_plugins = ["tests.support.postgres", "tests.support.quick", "tests.support.s3"]

os.environ.setdefault("RAY_AUTH_MODE", "token")
_whose = f"tests of {os.environ.get('PYTEST_XDIST_WORKER', 'one process')}"
if os.environ.get("LMERASER_TESTS") != _whose:  # processes that tests start import this too
    _settings = tempfile.TemporaryDirectory(prefix="lmeraser-settings-")
    os.environ["LMERASER_TESTS"] = _whose
    # Signing keys of tests are not those of whoever runs them; nor is Ray's token, without which
    # Ray's core ends the process.
    os.environ["XDG_CONFIG_HOME"] = _settings.name
    _token = Path(_settings.name, "ray-token")
    _token.write_text(secrets.token_hex(32))
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(_token)
    os.environ.pop("LMERASER_SECRET", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the tests' workspaces are, and what is left out."""
    parser.addoption(
        "--workspaces",
        choices=("disk", "s3"),
        default="disk",
        help="where the workspaces of the laws are",
    )
    parser.addoption(
        "--without-node", action="store_true", help="leave out what needs Node.js (`node`)"
    )


@pytest.fixture(scope="session", autouse=True)
def spaces(request: pytest.FixtureRequest) -> None:
    """Have workspaces in object storage, if that was asked for."""
    if request.config.getoption("--workspaces") == "s3":
        World.spaces = request.getfixturevalue("s3")
        os.environ["LMERASER_DATABASE"] = request.getfixturevalue("postgresql")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world of 40 records."""
    return World(tmp_path / "world")


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
