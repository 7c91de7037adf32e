"""A local Ray for all tests of this folder: two CPUs, one logical GPU, no dashboard. A head with a
job server for those that send jobs."""

import logging
import os
from collections.abc import Iterator

import pytest

from tests.support import head as heads


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
