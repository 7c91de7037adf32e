"""A local Ray for all tests of this folder: two CPUs, one logical GPU, no dashboard. A head with a
job server for those that send jobs."""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.session import Session
from tests.support import head as heads
from tests.support.gated import Gate
from tests.support.ray_queue import RANDOM, Place
from tests.support.world import World


@pytest.fixture(scope="session")
def cluster(s3: str) -> Iterator[None]:
    """Started once, with an environment in which its workers, too, may use the bucket. The driver's
    own `connect` finds it."""
    import ray

    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_BACKEND_LOG_LEVEL"] = "fatal"
    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=1,
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def head(s3: str, postgresql: str) -> Iterator[heads.Head]:
    """`ray start --head`; its jobs may use the bucket."""
    with heads.started(postgresql) as made:
        yield made


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path]:
    """A world and a workspace that each test copies."""
    world = World(tmp_path_factory.mktemp("queue") / "world")
    root = world.space()
    train(Session(root), world.config(**RANDOM))
    return world, root


@pytest.fixture
def place(trained: tuple[World, Path], tmp_path: Path) -> Place:
    world, root = trained
    shutil.copytree(root, tmp_path / "workspace")
    (tmp_path / "gate").mkdir()
    return Place(world, Session(tmp_path / "workspace"), Gate(tmp_path / "gate"))
