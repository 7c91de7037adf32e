"""A trained workspace behind the application, which each test has a copy of."""

import shutil
from pathlib import Path

import pytest

from lmeraser_ray import Workspace
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from tests.support.served_workspace import ServedWorkspace, serve_workspace
from tests.support.world import World

Place = tuple[World, Path, Path]
"""A world, a workspace, and a folder of keys."""


@pytest.fixture(scope="package")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path]:
    """A world, and a workspace that each test copies."""
    folder = tmp_path_factory.mktemp("service")
    world = World(folder / "world")
    Workspace(folder / "workspace").train(world.config())
    KeyFolder(folder / "keys").init()
    return world, folder


@pytest.fixture
def place(base: tuple[World, Path], tmp_path: Path) -> Place:
    """A copy of the workspace."""
    world, folder = base
    shutil.copytree(folder / "workspace", tmp_path / "workspace")
    return world, tmp_path / "workspace", folder / "keys"


@pytest.fixture
def served(place: Place) -> ServedWorkspace:
    """The workspace, served."""
    return serve_workspace(*place)
