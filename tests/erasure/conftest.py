"""What several test files of this folder share: a workspace with its backups, a workspace made
without training, and copies of a trained one."""

import shutil
from pathlib import Path

import pytest

from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.operations.backup import backup
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.pipeline.session import Session
from tests.support.held_queue import RANDOM
from tests.support.history import FIRST, SECOND, THIRD, History
from tests.support.scan_space import IDS, Space, record_of
from tests.support.world import World


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    folder = tmp_path_factory.mktemp("history")
    world, root = World(folder / "world"), folder / "workspace"
    session = Session(root)
    train(session, world.config())
    kept = []
    for moment in range(3):
        if moment:
            unlearn(session, ErasureTargets(subjects=((FIRST, SECOND)[moment - 1],)))
        waiting = ""
        if moment == 2:
            with session.database() as database:
                waiting = RequestRepository(database, session.names()).submit([], [THIRD]).id
        made = backup(session, to=folder / f"{moment}.tar", erasures=folder / f"{moment}.json")
        shutil.copytree(root, folder / f"tree-{moment}")
        kept.append(
            (
                folder / f"tree-{moment}",
                folder / f"{moment}.tar",
                folder / f"{moment}.json",
                made.fingerprint or "",
            )
        )
    trees, tars, erasures, fingerprints = zip(*kept, strict=True)
    return History(world, trees, tars, erasures, fingerprints, waiting)


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return Space(tmp_path / "workspace", [record_of(name) for name in IDS])


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained workspace, to be copied."""
    world = World(tmp_path_factory.mktemp("quarantine"))
    root = world.space()
    train(Session(root), world.config(**RANDOM))
    return root


@pytest.fixture
def session(template: Path, tmp_path: Path) -> Session:
    """A copy of it."""
    return Session(shutil.copytree(template, tmp_path / "workspace"))
