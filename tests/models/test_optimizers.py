"""A shard's optimizer does, bit for bit, what torch's own objects do."""

import pytest
import torch
from torch.nn import Parameter

from lmeraser_ray.config import LinearProbeConfig
from lmeraser_ray.models.learners.optimizers import ShardOptimizer

RATES = ((0.1, 0.02), (0.3, 0.01), (0.0, 0.4), (0.05, 0.05), (0.2, 0.003))
"""Of two groups, step by step."""


def parameters() -> list[Parameter]:
    generator = torch.Generator().manual_seed(3)
    return [Parameter(torch.randn(*shape, generator=generator)) for shape in ((4, 3), (5,), (2, 2))]


def loss(these: list[Parameter], step: int) -> torch.Tensor:
    """The last parameter has no gradient at first, as a prompt that no picture reaches."""
    reached = these if step > 1 else these[:2]
    return sum(((each * (step + 1)).sin().sum() for each in reached), torch.zeros(()))


@pytest.mark.parametrize("decay", [0.0, 0.03])
@pytest.mark.parametrize(("kind", "momentum"), [("sgd", 0.9), ("sgd", 0.0), ("adamw", 0.9)])
def test_the_bits_are_those_of_torch(kind: str, momentum: float, decay: float) -> None:
    ours, theirs = parameters(), parameters()
    config = LinearProbeConfig.model_validate(
        {"optimizer": kind, "momentum": momentum, "weight_decay": decay}
    )
    optimizer = ShardOptimizer(config, [ours[:1], ours[1:]])
    groups = [{"params": theirs[:1]}, {"params": theirs[1:]}]
    wanted = (
        torch.optim.SGD(groups, lr=1.0, momentum=momentum, weight_decay=decay)
        if kind == "sgd"
        else torch.optim.AdamW(groups, lr=1.0, weight_decay=decay)
    )
    for step, rates in enumerate(RATES):
        for group, rate in zip(wanted.param_groups, rates, strict=True):
            group["lr"] = rate
        wanted.zero_grad()
        loss(theirs, step).backward()
        wanted.step()
        loss(ours, step).backward()
        optimizer.step(rates)
        assert all(map(torch.equal, ours, theirs)), step
    assert all(each.grad is None for each in ours)
