"""Where and how features are read off a backbone."""

import numpy as np
import pytest
import torch

from lmeraser_ray.config import ReadoutConfig
from lmeraser_ray.config.options import load_config
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.readout import pool_map, pool_tokens, pooled_features
from tests.support.backbones import load, loaded, pixels, tiny


class TestReadouts:
    @pytest.mark.parametrize(
        ("name", "size", "layer", "dimensions"),
        [
            (
                "vit_tiny_patch16_224",
                224,
                None,
                {"mean": 192, "mean2x2": 768, "flatten": 196 * 192, "token": 192},
            ),
            ("vit_tiny_patch16_224", 224, 5, {"mean": 192, "mean2x2": 768, "token": 192}),
            (
                "swin_tiny_patch4_window7_224",
                224,
                None,
                {"mean": 768, "mean2x2": 3072, "flatten": 49 * 768},
            ),
            ("swin_tiny_patch4_window7_224", 224, 1, {"mean": 192, "mean2x2": 768}),
            ("resnet18", 64, 2, {"mean": 128, "mean2x2": 512, "flatten": 128 * 64}),
            ("resnet18", 64, -1, {"mean": 512}),
            ("resnet18", 33, None, {"mean": 512, "mean2x2": 2048}),
            ("mobilevit_xxs", 64, None, {"mean": 320}),
            ("efficientvit_b0", 64, None, {"mean": 1280}),
            ("fastvit_t8", 64, None, {"mean": 768}),
        ],
    )
    def test_shapes(
        self, name: str, size: int, layer: int | None, dimensions: dict[str, int]
    ) -> None:
        """At batch 1, with random weights: convnets, transformers of tokens and of windows, odd
        maps; and the gradient comes through."""
        module = loaded(name, size).module
        x = torch.randn(1, 3, size, size, requires_grad=True)
        for pool, dimension in dimensions.items():
            [found] = pooled_features(module, x, ReadoutConfig(layer=layer, pool=pool))  # type: ignore[arg-type]
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
            [found] = pooled_features(module, x, ReadoutConfig(layer=None, pool="mean2x2"))
        assert raw.shape == (1, 7, 7, 768)
        assert found.view(1, 768, 4)[0, :, 0] == pytest.approx(
            raw[0, :4, :4].mean((0, 1)), abs=1e-5
        )
        assert found.view(1, 768, 4)[0, :, 3] == pytest.approx(
            raw[0, 3:, 3:].mean((0, 1)), abs=1e-5
        )

    def test_a_token_where_there_is_none(self) -> None:
        for layer in (None, 2):
            with pytest.raises(ConfigError, match="token"):
                load(
                    name="resnet18",
                    weights="random",
                    input_size=32,
                    readout={"layer": layer, "pool": "token"},
                )

    def test_a_layer_that_there_is_not(self) -> None:
        with pytest.raises(ConfigError, match="layer 99"):
            load(
                name="resnet18",
                weights="random",
                input_size=32,
                readout={"layer": 99, "pool": "mean"},
            )
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
        corners += [
            (slice(side - half, None), slice(0, half)),
            (slice(side - half, None), slice(side - half, None)),
        ]
        for at, (rows, columns) in enumerate(corners):
            assert found[:, at].tolist() == pytest.approx(
                x[0, :, rows, columns].mean((1, 2)).tolist()
            )

    def test_tokens(self) -> None:
        """One class token and 2 × 2 patches of 3 channels."""
        x = torch.arange(15.0).view(1, 5, 3)
        assert pool_tokens(x, 1, ReadoutConfig(layer=None, pool="token")).tolist() == [[0, 1, 2]]
        assert pool_tokens(x, 1, ReadoutConfig(layer=None, pool="mean")).tolist() == [
            x[0, 1:].mean(0).tolist()
        ]
        assert pool_tokens(x, 1, ReadoutConfig(layer=None, pool="flatten")).tolist() == [
            [3, 6, 9, 12, 4, 7, 10, 13, 5, 8, 11, 14]
        ]
        with pytest.raises(ConfigError, match="no class token"):
            pool_tokens(x[:, 1:], 0, ReadoutConfig(layer=None, pool="token"))

    def test_normalised_readouts(self) -> None:
        for how, wanted in (
            ("l2", lambda f: np.linalg.norm(f, axis=1)),
            ("layer", lambda f: f.std(1)),
        ):
            found = tiny(readout={"layer": None, "pool": "mean", "normalize": how}).features(
                pixels(2, 16)
            )
            assert wanted(found) == pytest.approx(np.ones(2), abs=1e-2)


class TestSeveralLayers:
    """The features of several layers side by side."""

    @pytest.mark.parametrize("normalize", ["none", "layer", "l2"])
    @pytest.mark.parametrize(
        ("name", "size", "pool", "layers"),
        [
            ("resnet18", 64, "mean", (1, 3)),
            ("resnet18", 64, "mean2x2", (-2, -1)),
            ("vit_tiny_patch16_224", 224, "token", (3, 7, 11)),
        ],
    )
    def test_each_layer_is_pooled_and_normalised_by_itself(
        self, name: str, size: int, pool: str, layers: tuple[int, ...], normalize: str
    ) -> None:
        def features(layer: object) -> np.ndarray:
            readout = {"layer": layer, "pool": pool, "normalize": normalize}
            model = load(name=name, weights="random", input_size=size, batch=2, readout=readout)
            return model.features(pixels(2, size))

        parts = [features(layer) for layer in layers]
        found = features(list(layers))
        assert found.shape[1] == sum(part.shape[1] for part in parts)
        assert np.concatenate(parts, axis=1) == pytest.approx(found, abs=1e-5)

    def test_a_feature_does_not_depend_on_its_batch_mates(self) -> None:
        readout = {"layer": [1, 2, 3], "pool": "mean", "normalize": "layer"}
        model = load(name="resnet18", weights="random", input_size=32, batch=4, readout=readout)
        pictures = pixels(4, 32)
        whole = model.features(pictures)
        for order in ([0], [3, 0], [2, 1, 0, 3]):
            found = model.features(pictures[order])
            assert found.tobytes() == whole[order].tobytes()

    def test_the_layers_are_in_the_identity(self) -> None:
        readouts = [{"layer": layer, "pool": "mean"} for layer in (3, [3], [2, 3], [1, 3])]
        found = [
            load(name="resnet18", weights="random", input_size=32, readout=readout).identity
            for readout in readouts
        ]
        assert len(set(found)) == len(readouts)

    @pytest.mark.parametrize("layers", [[2, 1], [1, 1], [-1, 3]])
    def test_layers_that_do_not_ascend(self, layers: list[int]) -> None:
        with pytest.raises(ConfigError, match="expected ascending layers"):
            load_config(None, [("backbone.readout.layer", str(layers))])

    @pytest.mark.parametrize("text", ["[]", "first", "[1, x]", "1.5"])
    def test_what_is_no_layer_names_the_field(self, text: str) -> None:
        with pytest.raises(ConfigError, match=r"^backbone\.readout\.layer"):
            load_config(None, [("backbone.readout.layer", text)])
