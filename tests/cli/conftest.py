"""What the tests of the command line share: the command line in this process, and a trained
workspace, one a file of tests to read and a copy of it for each test that writes."""

import shutil
from pathlib import Path

import pytest

from lmeraser_ray.cli import main as cli
from lmeraser_ray.config.options import to_yaml
from tests.support.command_line import Lm, Place, Said
from tests.support.world import World


@pytest.fixture
def lm(capfd: pytest.CaptureFixture[str]) -> Lm:
    """Run a command in this process, as `lmeraser WORDS`."""

    def run(*words: object) -> Said:
        capfd.readouterr()
        try:
            code = cli.run(None, [str(word) for word in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Said(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    base = tmp_path_factory.mktemp("cli")
    world = World(base / "world", n=24)
    config = base / "config.yaml"
    config.write_text(to_yaml(world.config()))
    assert (
        cli.run("train", ["--config", str(config), "--workspace", str(base / "trained"), "--json"])
        == 0
    )
    return Place(world, config, base / "trained")


@pytest.fixture
def place(made: Place, tmp_path: Path) -> Place:
    shutil.copytree(made.root, tmp_path / "workspace")
    return Place(made.world, made.config, tmp_path / "workspace")
