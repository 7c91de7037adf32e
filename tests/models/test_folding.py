"""Folding of batch norms: what is folded gives the same features, what cannot be is left alone, and
what was kept unfolded stays what it was."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lmeraser_ray.config import BackboneConfig, Config
from lmeraser_ray.config.kept import read_kept
from lmeraser_ray.config.quickstart import quickstart
from lmeraser_ray.models.backbone import Backbone, build_module, load_backbone, resolve_picture
from lmeraser_ray.models.folding import fold_norms
from lmeraser_ray.study.variants import on_another_system
from tests.support.backbones import CPU, pixels, tiny

SIZE = 40
UNFOLDED = "e653191dcb696d4d8012c425c87b795ea2ac1905cdceb6e7f4e4d929af0582ab"
"""The identity of the quickstart's backbone up to 0.7.0."""
FOLDED = "20c63a27a2874235632c61939e3cb2bc94cde361e80255919e1262cd63a66989"
"""And folded: of the same weights, so it says nothing of how a machine folds them."""


def norms_of(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]


def draw(module: nn.Module) -> nn.Module:
    """Statistics, scales and shifts as training leaves them: none is 0 or 1."""
    generator = torch.Generator().manual_seed(3)
    for norm in norms_of(module):
        for one, low, high in (
            (norm.running_mean, -0.3, 0.3),
            (norm.running_var, 0.5, 2.0),
            (norm.weight, 0.6, 1.4),
            (norm.bias, -0.3, 0.3),
        ):
            if one is not None:
                one.data.uniform_(low, high, generator=generator)
    return module.eval()


def both(name: str, layer: int | None) -> tuple[Backbone, Backbone]:
    """A random model with drawn norms as it is, and folded."""
    config = BackboneConfig.model_validate(
        {"name": name, "weights": "random", "input_size": SIZE, "readout": {"layer": layer}}
    )
    module = draw(build_module(config)[0])
    spec = resolve_picture(config, module, Config().data)
    return tuple(  # type: ignore[return-value]
        Backbone(copy.deepcopy(module), spec, config.readout, 3, name, CPU, fold=fold)
        for fold in (False, True)
    )


@pytest.mark.parametrize("layer", [None, 1])
@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("tf_efficientnet_lite0", 0), ("resnet18", 0), ("efficientnet_b0", 0), ("regnety_002", 0),
        ("mobilenetv3_small_100", 0), ("densenet121", 62), ("resnetv2_50", 17), ("repvgg_a0", 17),
    ],
)  # fmt: skip
def test_a_folded_model_has_the_same_features(name: str, left: int, layer: int | None) -> None:
    """And gradients to the picture. Norms that follow no convolution, or something else besides,
    are left: before the activation of a residual sum, behind a concatenation, on an identity."""
    plain, folded = both(name, layer)
    assert len(norms_of(folded.module)) == left
    assert len(folded.folded) == len(norms_of(plain.module)) - left > 0
    found, wanted = folded.features(pixels(3, SIZE)), plain.features(pixels(3, SIZE))
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()
    assert not np.array_equal(found, wanted)
    grads = []
    for model in (plain, folded):
        x = model.normalize(torch.from_numpy(pixels(3, SIZE))).requires_grad_()
        grads.append(torch.autograd.grad(model.read(x).square().sum(), x)[0])
    assert (grads[0] - grads[1]).abs().max() < 1e-3 * grads[0].abs().max()
    assert folded.identity != plain.identity


@pytest.mark.parametrize("name", ["tiny", "convnext_atto", "vit_tiny_patch16_224"])
def test_where_there_is_no_batch_norm_nothing_changes(name: str) -> None:
    fields = {"name": name, "weights": "random", "input_size": 32, "batch": 2}
    plain, folded = (
        load_backbone(BackboneConfig.model_validate({**fields, "fold": fold}), CPU)
        for fold in (False, True)
    )
    assert (plain.identity, plain.folded) == (folded.identity, folded.folded)
    assert plain.folded == ()
    found = [model.features(pixels(2, 32)).tobytes() for model in (plain, folded)]
    assert found[0] == found[1]


class Standardized(nn.Conv2d):
    """Its weight is not the one that it multiplies with."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return functional.conv2d(x, weight, self.bias, padding=1)


class Scaled(nn.Conv2d):
    """Its result is not what it multiplied."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


class Shifted(nn.BatchNorm2d):
    """More than a norm, and not by a child."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


class Pair(nn.Module):
    """A convolution and norms, and how they are used."""

    def __init__(
        self,
        use: Callable[..., Tensor],
        conv: type[nn.Conv2d] = nn.Conv2d,
        norm: Callable[..., nn.BatchNorm2d] = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.use = use
        self.conv, self.other = conv(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)
        self.norm, self.second = norm(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.use(self, x)


def plain(m: Pair, x: Tensor) -> Tensor:
    return m.norm(m.conv(x))


def beside(m: Pair, x: Tensor) -> Tensor:
    found = m.conv(x)
    return m.norm(found) + found


def given(m: Pair, x: Tensor) -> Tensor:
    found = m.conv(x)
    return torch.cat([m.norm(found), found])


def two_norms(m: Pair, x: Tensor) -> Tensor:
    found = m.conv(x)
    return m.norm(found) + m.second(found)


def changed(m: Pair, x: Tensor) -> Tensor:
    return m.norm(m.conv(x).relu_())


CANNOT = {
    "another reads it": Pair(beside),
    "it is given out": Pair(given),
    "changed in place between": Pair(changed),
    "the norm is first": Pair(lambda m, x: m.conv(m.norm(x))),
    "two norms": Pair(two_norms),
    "two convolutions": Pair(lambda m, x: m.norm(m.conv(x)) + m.norm(m.other(x))),
    "once without a norm": Pair(lambda m, x: m.conv(m.norm(m.conv(x)))),
    "a weight that is computed": Pair(plain, conv=Standardized),
    "a result that is scaled": Pair(plain, conv=Scaled),
    "more than a norm": Pair(plain, norm=Shifted),
    "no statistics": Pair(plain, norm=lambda n: nn.BatchNorm2d(n, track_running_stats=False)),
}
CAN = {
    "one": Pair(plain),
    "twice": Pair(lambda m, x: m.norm(m.conv(m.norm(m.conv(x))))),
    "no scale and no shift": Pair(plain, norm=lambda n: nn.BatchNorm2d(n, affine=False)),
}


def folded(module: nn.Module) -> tuple[str, ...]:
    return fold_norms(module, (module,), 8)


@pytest.mark.parametrize("case", CANNOT)
def test_what_cannot_be_folded_is_left_alone(case: str) -> None:
    module = draw(CANNOT[case])
    x = torch.randn(2, 3, 8, 8)
    wanted, state = module(x), copy.deepcopy(module.state_dict())
    assert "conv" not in folded(module)
    assert torch.equal(module(x), wanted)
    assert all(map(torch.equal, module.state_dict().values(), state.values()))


@pytest.mark.parametrize("case", CAN)
def test_what_can_be_folded_is(case: str) -> None:
    module = draw(CAN[case])
    x = torch.randn(2, 3, 8, 8)
    wanted = module(x)
    assert folded(module) == ("conv",)
    assert isinstance(module.norm, nn.Sequential)
    assert torch.allclose(module(x), wanted, atol=1e-5)


def test_the_names_of_a_shared_norm_are_all_replaced() -> None:
    module = draw(Pair(lambda m, x: m.second(m.conv(m.norm(m.conv(x))))))
    module.second = module.norm
    wanted = module(torch.ones(1, 3, 8, 8))
    assert folded(module) == ("conv",)
    assert torch.allclose(module(torch.ones(1, 3, 8, 8)), wanted, atol=1e-5)


def test_a_use_that_fails_says_nothing() -> None:
    """The others decide: a readout that ends before a layer that needs a larger picture."""
    module = draw(Pair(plain))

    def fails(x: Tensor) -> Tensor:
        raise RuntimeError(f"too small: {module.conv(x).shape}")

    assert fold_norms(module, (fails, module), 8) == ("conv",)


class Shifting(nn.Conv2d):
    """More than its parts show: what it gives is not linear in its weights."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight, None)


class Reading(Pair):
    """Looks into its norm, which is gone where it is folded."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.norm.weight.mean()


@pytest.mark.parametrize("odd", ["a bias that is left out", "a norm that is looked into"])
def test_what_would_give_other_results_is_left_as_it_was(odd: str) -> None:
    module = draw(Reading(plain) if "norm" in odd else Pair(plain))
    if "bias" in odd:
        conv = Shifting(*module.conv.weight.shape[1::-1], module.conv.kernel_size)
        conv.load_state_dict(module.conv.state_dict())
        module.conv = conv.eval().requires_grad_(False)
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    before, kept = module(x), {name: part.clone() for name, part in module.state_dict().items()}
    assert fold_norms(module, (module,), 8) == ()
    assert torch.equal(module(x), before)
    assert all(torch.equal(part, kept[name]) for name, part in module.state_dict().items())
    assert kept.keys() == module.state_dict().keys()


def test_the_weights_are_rounded_once() -> None:
    """From float64; in float32 alone, each step rounds."""
    module = draw(Pair(plain))
    conv, norm = module.conv, module.norm
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()  # type: ignore[union-attr]
    weight = (conv.weight.double() * scale.view(-1, 1, 1, 1)).float()
    bias = ((conv.bias.double() - norm.running_mean.double()) * scale + norm.bias.double()).float()  # type: ignore[union-attr]
    folded(module)
    assert torch.equal(conv.weight, weight)
    assert torch.equal(conv.bias, bias)


def test_the_identity_is_over_the_weights_before_folding() -> None:
    """And over what is folded; one that was kept unfolded is what it was."""
    config = quickstart().backbone
    unfolded = load_backbone(config.model_copy(update={"fold": False}), CPU)
    assert unfolded.identity == UNFOLDED
    one = load_backbone(config, CPU)
    assert one.identity == FOLDED
    moved = build_module(config)[0]
    moved.bn1.running_mean[0] += 1e-7  # type: ignore[union-attr, index, operator]
    other = Backbone(moved, one.spec, one.readout, one.batch, one.name, CPU, fold=True)
    assert other.folded == one.folded
    assert other.identity != one.identity


def test_new_configurations_fold_and_kept_ones_do_not() -> None:
    new = Config()
    assert new.backbone.fold is None
    assert new.with_fold().backbone.fold is True
    assert new.with_fold().with_fold(kept=False).backbone.fold is True
    kept = read_kept(new.model_dump_json(exclude={"backbone": {"fold"}}).encode()).config
    assert kept.backbone.fold is False
    assert "fold" not in kept.identity()["backbone"]  # as before the field was there
    assert new.identity() == new.with_fold().identity() != kept.identity()
    assert read_kept(new.with_fold().model_dump_json().encode()).config.backbone.fold is True


def test_what_trains_the_norms_does_not_fold() -> None:
    whole = Config.model_validate({"learner": {"kind": "whole_model"}})
    assert whole.with_fold().backbone.fold is False
    assert "fold" not in whole.identity()["backbone"]
    with pytest.raises(ValueError, match="whole_model trains the backbone's batch norms"):
        Config.model_validate({"backbone": {"fold": True}, "learner": {"kind": "whole_model"}})


def test_a_study_of_a_workspace_folds_by_what_each_system_trains() -> None:
    """The workspace keeps what was decided for its own system; one that folds nothing, although it
    could, is measured so."""
    kept = Config().with_fold().undecided()
    tree = on_another_system(kept.model_dump(mode="json"), "sisa")
    whole = Config.model_validate(tree).with_fold()
    assert whole.backbone.fold is False
    back = on_another_system(whole.undecided().model_dump(mode="json"), "ridge")
    assert Config.model_validate(back).with_fold().backbone.fold is True
    old = Config().with_fold(kept=False)
    assert old.undecided() == old


def test_the_tiny_convnet_has_nothing_to_fold() -> None:
    assert tiny().folded == ()
