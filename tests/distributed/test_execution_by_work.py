"""The law of `execution.engine auto`: whoever it chooses, the bytes are the same; and a cluster of
our own is as quick as one process."""

import os
import subprocess
import sys
from functools import partial

import pytest

from lmeraser_ray.config import Config
from lmeraser_ray.distributed.engine import RayEngine
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.engine import Engine, InlineEngine
from lmeraser_ray.pipeline.engine_by_work import EngineByWork
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.work_ahead import WorkAhead
from lmeraser_ray.storage.store import Store
from tests.support.law import held, never_seen
from tests.support.world import World

NICENESS = """
import os
import ray
from lmeraser_ray.config import ExecutionConfig
from lmeraser_ray.distributed.cluster import connected
with connected(ExecutionConfig(cpus=1)):
    print(os.nice(0), ray.get(ray.remote(lambda: os.nice(0)).remote()))
"""
ON_RAY: dict[str, set[str]] = {
    "all in this process": set(),
    "only the training on Ray": {"training"},
    "all on Ray": {"features", "training", "answers"},
}


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    "way",
    [pytest.param(way, marks=pytest.mark.long if len(ON_RAY[way]) > 1 else ()) for way in ON_RAY],
)
def test_whoever_is_chosen_the_bytes_are_the_same(world: World, way: str) -> None:
    """Trained, and then erased from, beside one process that never saw the records. The certificate
    says what Ray leaves, whoever trained."""
    said = list[str]()

    def make(store: Store, config: Config, card: BackboneCard) -> Engine:
        def seconds(ahead: WorkAhead) -> float:
            return 100.0 if ahead.what in ON_RAY[way] else 0.0

        return EngineByWork(
            partial(InlineEngine, store, config, card),
            partial(RayEngine, store, config, card),
            seconds=seconds,
            say=said.append,
        )

    session, gone = Session(world.space(), make_engine=make), world.ids[:2]
    train(session, world.config(execution={"engine": "auto"}))
    assert ("features in this process: about 0 s of work" in said) == (way != "all on Ray")
    assert any(" on Ray: about 100 s" in line for line in said) == bool(ON_RAY[way])
    done = unlearn(session, ErasureTargets(tuple(gone)))
    assert done.rebuilt
    assert done.statement.execution.engine == "ray"
    assert any("Ray" in each for each in done.statement.transient)
    assert held(session.root) == held(never_seen(world, gone))
    assert verify(session, rebuild=True).ok


@pytest.mark.parametrize(
    ("asked", "found"), [(None, 0), pytest.param("7", 7, marks=pytest.mark.long)]
)
def test_workers_of_a_cluster_of_our_own_give_way_to_nobody(asked: str | None, found: int) -> None:
    """Ray's own niceness is 15; one that the environment names stands."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RAY_ADDRESS", "RAY_worker_niceness")
    }
    if asked is not None:
        environment["RAY_worker_niceness"] = asked
    done = subprocess.run(
        [sys.executable, "-c", NICENESS],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    here, there = done.stdout.split()
    assert int(there) == min(19, int(here) + found)
