"""The embedded architecture is timm's: the same weights by name, the same bits."""

import pytest
import timm
import torch
from torch import Tensor, nn

from lmeraser_ray.config import BackboneConfig
from lmeraser_ray.models.backbone import Backbone, build_module, load_backbone
from lmeraser_ray.models.efficientnet_lite0 import ENDS, EfficientNetLite0
from tests.support.backbones import CPU, pixels

NAME = "tf_efficientnet_lite0"
SIZES = (32, 33, 50)
"""Even and odd: the padding differs."""


def both(classes: int) -> list[nn.Module]:
    """timm's model with drawn weights and statistics, and ours with the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        theirs = timm.create_model(NAME, num_classes=classes)
        for name, one in theirs.named_buffers():
            if one.is_floating_point():
                one.uniform_(0.5, 2.0) if name.endswith("var") else one.normal_()
    ours = EfficientNetLite0(classes)
    ours.load_state_dict(theirs.state_dict())
    return [model.eval().to(memory_format=torch.channels_last) for model in (theirs, ours)]


def pictures(size: int) -> Tensor:
    generator = torch.Generator().manual_seed(size)
    drawn = torch.randn(3, 3, size, size, generator=generator)
    return drawn.contiguous(memory_format=torch.channels_last)


def gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    return list(torch.autograd.grad(model(x).square().sum(), [x, *model.parameters()]))


def test_names_order_and_settings_are_those_of_timm() -> None:
    theirs, ours = both(7)
    assert [(n, t.shape) for n, t in ours.state_dict().items()] == [
        (name, tensor.shape) for name, tensor in theirs.state_dict().items()
    ]
    own = EfficientNetLite0.default_cfg
    assert {name: theirs.default_cfg[name] for name in own} == own
    assert tuple(theirs.stage_ends) == ENDS


def test_every_output_and_gradient_has_the_bits_of_timm() -> None:
    theirs, ours = both(7)
    options = {"intermediates_only": True, "stop_early": True}
    for size in SIZES:
        x = pictures(size)
        with torch.no_grad():
            assert torch.equal(ours(x), theirs(x)), size
            assert torch.equal(ours.forward_features(x), theirs.forward_features(x)), size
            for layers in ([0], [1, 3], [-2, -1]):
                found, wanted = (
                    model.forward_intermediates(x, indices=layers, **options)
                    for model in (ours, theirs)
                )
                assert len(found) == len(layers)
                assert all(map(torch.equal, found, wanted)), (size, layers)
        assert all(map(torch.equal, gradients(ours, x), gradients(theirs, x))), size


@pytest.mark.parametrize("fold", [False, True])
def test_it_is_the_same_backbone(fold: bool) -> None:
    """Loaded with the embedded weights, and as timm's model with the same ones, folded or not."""
    config = BackboneConfig(name=NAME, weights="embedded", input_size=32, batch=4, fold=fold)
    ours = load_backbone(config, CPU)
    module = timm.create_model(NAME, num_classes=0)
    module.load_state_dict(build_module(config)[0].state_dict())
    theirs = Backbone(module, ours.spec, ours.readout, ours.batch, NAME, CPU, fold=fold)
    assert (theirs.identity, theirs.folded) == (ours.identity, ours.folded)
    assert len(ours.folded) == (49 if fold else 0)
    assert ours.features(pixels(3, 32)).tobytes() == theirs.features(pixels(3, 32)).tobytes()
