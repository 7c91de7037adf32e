"""Law 6: a record's feature, and the answer to a query, are the same bits whatever shares their
batch, wherever they stand, however many threads there are."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lmeraser_ray.config import BackboneConfig, Config, ReadoutConfig
from lmeraser_ray.config.quickstart import quickstart
from lmeraser_ray.models.backbone import Backbone, load_backbone
from lmeraser_ray.models.learners.base import ShardData
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.registry import make_learner
from lmeraser_ray.pipeline.jobs import ANSWER_ROWS, Worker
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.storage.store import Store
from tests.support.learners import seen_by

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["tiny", "unfolded", "folded"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    """The tests' convnet, and the quickstart's real one, as earlier releases read it and folded."""
    if request.param != "tiny":
        changed = {"batch": 8, "fold": request.param == "folded"}
        return load_backbone(quickstart().backbone.model_copy(update=changed), CPU)
    return load_backbone(
        BackboneConfig(
            name="tiny",
            weights="random",
            input_size=16,
            batch=8,
            readout=ReadoutConfig(layer=None, pool="mean"),
        ),
        CPU,
    )


def pictures(n: int, size: int, seed: int) -> np.ndarray:
    """Random pixels [n, 3, size, size] uint8."""
    return np.random.default_rng(seed).integers(0, 256, (n, 3, size, size), dtype=np.uint8)


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 1000),
    mates=st.integers(0, 7),
    place=st.integers(0, 7),
    threads=st.sampled_from([1, 2]),
)
def test_a_feature_does_not_depend_on_its_batch(
    backbone: Backbone, seed: int, mates: int, place: int, threads: int
) -> None:
    """Alone and padded, or at any place among any others, on one thread or two."""
    size = backbone.spec.input_size
    one = pictures(1, size, seed)
    alone = backbone.features(one)[0]
    place = min(place, mates)
    batch = pictures(mates + 1, size, seed + 1)
    batch[place] = one[0]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert backbone.features(batch)[place].tobytes() == alone.tobytes()
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_another_batch_shape_is_another_identity(backbone: Backbone) -> None:
    """Between batch shapes bits may differ, so the shape is part of the identity."""
    other = Backbone(
        backbone.module, backbone.spec, backbone.readout, backbone.batch + 1, "name", CPU
    )
    same = Backbone(backbone.module, backbone.spec, backbone.readout, backbone.batch, "name", CPU)
    assert other.identity != same.identity


LEARNERS = {
    "prompt_head": {"epochs": 1},
    "shared_head": {"epochs": 1},
    "label_mapping": {"epochs": 1},
    "whole_model": {"epochs": 1},
    "linear_probe": {"epochs": 1},
    "class_means": {},
    "neighbors": {},
    "ridge": {},
    "ridge, projected": {"projection": 64},
}
Asked = tuple[Worker, Constituent, np.ndarray]


@pytest.fixture(
    scope="module",
    params=[
        name if name == "prompt_head" else pytest.param(name, marks=pytest.mark.thorough)
        for name in LEARNERS
    ],
)
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """A worker with a constituent of ten classes over real features, and queries."""
    sections = {
        "backbone": {**quickstart().backbone.model_dump(), "batch": 8, "fold": False},
        "learner": {"kind": request.param.split(",")[0], **LEARNERS[request.param]},
    }
    config = Config.model_validate(sections)
    learner = make_learner(config)
    backbone = load_backbone(config.backbone, CPU, classifier=learner.needs_classifier)
    inputs = seen_by(learner, backbone, pictures(60, backbone.spec.input_size, 1))
    labels = tuple(f"c{at % 10}" for at in range(20))
    groups = np.zeros(20, np.int32) if learner.joint else None
    shard = ShardData("5a" * 32, inputs[:20], labels, groups)
    found = learner.train(shard) if learner.needs == "features" else learner.train(shard, backbone)
    card = BackboneCard(backbone.identity, backbone.dimension, backbone.batch, backbone.spec, None)
    worker = Worker(Store(tmp_path_factory.mktemp("store")), config, (learner,), card)
    worker.__dict__["backbone"] = backbone  # loaded once
    return worker, found, inputs[20:]


@settings(max_examples=12, deadline=None)
@given(at=st.integers(0, 39), others=st.lists(st.integers(0, 39), max_size=2 * ANSWER_ROWS + 1))
@example(at=0, others=[])
@example(at=3, others=[1])
@example(at=7, others=list(range(ANSWER_ROWS)))
def test_an_answer_does_not_depend_on_what_else_is_asked(
    asked: Asked, at: int, others: list[int]
) -> None:
    """Alone, or last among any others, as many as there are."""
    worker, found, queries = asked
    alone = worker.answer(found, queries[[at]], 0).probabilities[0]
    crowd = worker.answer(found, queries[[*others, at]], 0).probabilities[-1]
    assert crowd.tobytes() == alone.tobytes()
