"""Law 6: a record's feature is the same bits whatever shares its batch, wherever it stands, however
many threads there are."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmeraser_ray.config import BackboneConfig, ReadoutConfig
from lmeraser_ray.config.quickstart import quickstart
from lmeraser_ray.models.backbone import Backbone, load_backbone

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
