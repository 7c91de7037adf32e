"""Numbers that are not finite are told where they are made: in weights, in normalisation, in the
feature of a record or of a picture."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.operations.predict import predict
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import ErasureTargets, unlearn
from lmeraser_ray.pipeline.session import Session
from tests.support.backbones import pixels, tiny
from tests.support.world import World, picture

FAST = {"learner": {"kind": "class_means"}}
PARTITIONS = {
    "adaptive": {"partition": {"kind": "adaptive", "shards": 2, "sample_size": 4}, **FAST},
    "random": {
        "partition": {"kind": "random", "shards": 2}, "aggregation": {"kind": "hash"}, **FAST
    },
}  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world", n=10)


def saved(path: Path, name: str, value: float, dtype: torch.dtype = torch.float32) -> str:
    """A checkpoint of the tiny backbone with one number replaced."""
    state = {key: one.clone() for key, one in tiny().module.state_dict().items()}
    changed = state[name].double()
    changed[(0,) * changed.ndim] = value
    torch.save({**state, name: changed.to(dtype)}, path)
    return str(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["stem.weight", "body.bias"])
def test_weights_that_are_not_finite(tmp_path: Path, name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"damaged: {name}"):
        tiny(weights=saved(tmp_path / "w.pth", name, value))


@pytest.mark.parametrize(("dtype", "value"), [(torch.float16, 1e5), (torch.float64, 1e300)])
def test_weights_beyond_a_precision(tmp_path: Path, dtype: torch.dtype, value: float) -> None:
    """Of 16 bits when they were written, or of 32 bits when they are loaded."""
    with pytest.raises(ConfigError, match="not finite"):
        tiny(weights=saved(tmp_path / "w.pth", "stem.weight", value, dtype))


@pytest.mark.parametrize(
    "fields",
    [
        {"std": (1e-300, 0.5, 0.5)},
        {"mean": (0, 9e15, 0), "std": (1, 1e-30, 1)},
        {"std": (1e-42, 1.0, 1.0)},
    ],
)
def test_normalisation_that_overflows(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"backbone\.mean .* and std"):
        tiny(**fields)


def test_a_model_whose_own_std_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    from lmeraser_ray.models.backbone import TinyConvnet

    monkeypatch.setitem(TinyConvnet.default_cfg, "std", (0.5, 0.0, 0.5))
    with pytest.raises(ConfigError, match=r"backbone\.mean .* and std"):
        tiny()


@pytest.fixture
def overflowing(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Pictures whose features are made to overflow: what a backbone does with a few of them."""
    such: list[np.ndarray] = []
    features = Backbone.features

    def some(self: Backbone, seen: np.ndarray) -> np.ndarray:
        found = features(self, seen).copy()
        for row, one in enumerate(seen):
            if any(np.array_equal(one, each) for each in such):
                found[row, 3] = np.inf
        return found

    monkeypatch.setattr(Backbone, "features", some)
    return such


def pixels_of(world: World, at: int) -> np.ndarray:
    from lmeraser_ray.data.reader import prepare

    return prepare(world.images[at], tiny().spec, 1 << 20)


@pytest.mark.parametrize("kind", ["adaptive", "random"])
@pytest.mark.parametrize("at", [0, 3, 7])
def test_a_record_is_named_sampled_or_not(
    world: World, overflowing: list[np.ndarray], at: int, kind: str
) -> None:
    """Also where no partition looks at the features."""
    overflowing.append(pixels_of(world, at))
    session = Session(world.space())
    with pytest.raises(DataError, match=f"not finite for 1 of .*{world.ids[at]}"):
        train(session, world.config(**PARTITIONS[kind]))


def test_features_that_an_earlier_release_stored(
    world: World, overflowing: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are computed anew and named, not taken over into another state."""
    from lmeraser_ray.models.partition import stage
    from lmeraser_ray.pipeline import features

    at = 3
    overflowing.append(pixels_of(world, at))
    session = Session(world.space())
    with monkeypatch.context() as earlier:
        earlier.setattr(features, "require_finite", lambda *_: None)
        earlier.setattr(stage, "require_finite", lambda *_: None)
        sections = {**PARTITIONS["random"], "learner": {}, "data": {"buckets": 1}}
        train(session, world.config(**sections))
    with pytest.raises(DataError, match=f"not finite for .*{world.ids[at]}"):
        unlearn(session, ErasureTargets((world.ids[at + 1],)))


def test_a_picture_to_predict_is_named(
    world: World, overflowing: list[np.ndarray], tmp_path: Path
) -> None:
    session = Session(world.space())
    train(session, world.config(**PARTITIONS["adaptive"]))
    overflowing.append(pixels_of(world, 5))
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    files[0].write_bytes(picture(901))
    files[1].write_bytes(world.images[5])
    with pytest.raises(DataError, match=r"not finite for 1 of 2 pictures looked at \('.*b\.png'\)"):
        predict(session, files)


def test_where_no_picture_has_a_feature_the_weights_are_named() -> None:
    from lmeraser_ray.data.feature_file import require_finite

    found = np.full((9, 4), np.nan, np.float32)
    with pytest.raises(DataError, match=r"9 of 9 .* and 4 more\): so the weights are damaged"):
        require_finite(found, lambda rows: [f"r{row}" for row in rows])
    require_finite(tiny().features(pixels(2, 16)), lambda _: [])
