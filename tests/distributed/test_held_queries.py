"""Queries that the cluster holds: each is prepared by one task, whoever answers it, and the answers
are those of one process."""

import pytest

from lmeraser_ray.config import Config
from lmeraser_ray.distributed.engine import RayEngine
from lmeraser_ray.operations.evaluate import evaluate
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.jobs import Job
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.queries import AnswerRows, HeldQueries, PrepareQueries
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.store import Store
from tests.support.world import World

pytestmark = pytest.mark.usefixtures("cluster")


class CountingDecodings(RayEngine):
    """Counts what its tasks decode: as held queries, and by themselves."""

    held = alone = answers = 0

    def hold(self, job: PrepareQueries) -> HeldQueries:
        CountingDecodings.held += job.weight
        return super().hold(job)

    def submit(self, job: Job[object]) -> int:
        if isinstance(job, AnswerRows):
            CountingDecodings.answers += job.weight
            CountingDecodings.alone += len(job.queries.to)
        return super().submit(job)


def test_on_ray_a_query_is_decoded_once(world: World) -> None:
    """Of 40 queries, each with two answers, none is decoded by who answers it."""
    root = world.space()
    train(Session(root), world.config())

    def make(store: Store, config: Config, card: BackboneCard) -> RayEngine:
        return CountingDecodings(store, config, card)

    there = evaluate(Session(root, make_engine=make))
    assert (CountingDecodings.held, CountingDecodings.alone, CountingDecodings.answers) == (
        40,
        0,
        80,
    )
    assert there == evaluate(Session(root))
