"""Every kind of work on the cluster (slices, a shared head, features alone, routing by pixels): the
bytes of one process."""

from pathlib import Path
from typing import Any

import pytest

from lmeraser_ray.config import Config
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.operations.evaluate import evaluate
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.pipeline.session import Session
from tests.support.law import held
from tests.support.systems import blend, system
from tests.support.world import World

pytestmark = [pytest.mark.usefixtures("cluster"), pytest.mark.long]

CASES = [
    ("random", "whole_model", "vote", 3),
    ("public", "shared_head", "nearest", 1),
    ("adaptive", "ridge", "nearest", 2),
    ("random", "random_patch", "hash", 1),
]


def on(config: Config, engine: str) -> Config:
    """The same configuration on another engine."""
    return config.model_copy(
        update={"execution": config.execution.model_copy(update={"engine": engine})}
    )


@pytest.mark.parametrize("case", CASES, ids=["-".join(map(str, case)) for case in CASES])
def test_a_system_on_ray_is_the_system_in_one_process(world: World, case: tuple[Any, ...]) -> None:
    config = system(world, *case)
    here, there = world.space(), world.space()
    found: dict[str, Any] = {}
    for root, engine in ((here, "inline"), (there, "ray")):
        train(Session(root), on(config, engine))
        done = unlearn(Session(root), ErasureTargets((world.ids[5],)))
        found[engine] = (done.passes, evaluate(Session(root)))
    assert found["inline"] == found["ray"]
    assert held(here) == held(there)


def test_a_blend_on_ray_is_the_blend_in_one_process(world: World) -> None:
    """A worker holds the learners of all systems; jobs name theirs."""
    ways = (("random", "padding", "mean", 1.0), ("one", "ridge", "mean", 2.0))
    config = blend(world, *ways, ("adaptive", "shared_head", "nearest", 0.5))
    here, there = world.space(), world.space()
    found: dict[str, Any] = {}
    for root, engine in ((here, "inline"), (there, "ray")):
        train(Session(root), on(config, engine))
        done = unlearn(Session(root), ErasureTargets((world.ids[5],)))
        found[engine] = (done.passes, evaluate(Session(root)))
    assert found["inline"] == found["ray"]
    assert held(here) == held(there)


def test_the_cluster_traces_a_curve(world: World) -> None:
    """Traces are jobs as all others are."""
    from lmeraser_ray.study.compare import CompareRequest, compare
    from lmeraser_ray.study.measure import Extent
    from lmeraser_ray.study.variants import variants
    from tests.support.comparison import SMALL, question

    asked = question(world, ["sisa"], curves=True)
    tree = {**asked.variants[0].tree, "execution": {"engine": "ray"}}
    [variant] = variants(tree, ["sisa"], SMALL, [])
    curves = [
        compare(
            Session(Path(world.space())), CompareRequest([one], [0], Extent(0, 0), curves=True)
        ).runs["sisa"][0]["curve"]
        for one in (asked.variants[0], variant)
    ]
    assert curves[0] == curves[1]
