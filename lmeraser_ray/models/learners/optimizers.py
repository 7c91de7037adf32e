"""The optimizer of one shard: torch's own functions of a step, and the state that they need.

    >>> from lmeraser_ray.config import LinearProbeConfig
    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> optimizer = ShardOptimizer(LinearProbeConfig(optimizer="sgd", momentum=0), [[weight]])
    >>> weight.sum().backward()
    >>> optimizer.step([0.25])
    >>> weight.tolist(), weight.grad
    ([0.75, 0.75], None)

The bits are those of `torch.optim.SGD` and `AdamW`, which call the same functions. Their objects
are not used: the first one that a process makes imports torch.compile's machinery, which takes as
long as to import torch (`benchmarks.start`) and is used by nothing here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from lmeraser_ray.config import SgdConfig

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""Of AdamW, as torch has them by default."""


@dataclass
class Moments:
    """What AdamW knows of a parameter: its means of gradients and of their squares, and its steps
    so far, a number that torch wants on the CPU."""

    first: Tensor
    second: Tensor
    steps: Tensor


class ShardOptimizer:
    """Moves groups of parameters along their gradients, each group at a rate of its own."""

    def __init__(self, config: SgdConfig, groups: Sequence[Sequence[Parameter]]) -> None:
        self.config, self.groups = config, [list(group) for group in groups]
        self._momentum: dict[Parameter, Tensor | None] = {}
        self._moments: dict[Parameter, Moments] = {}

    @torch.no_grad()
    def step(self, rates: Sequence[float]) -> None:
        """Move each parameter that has a gradient, and drop the gradients. rates: one a group."""
        for group, rate in zip(self.groups, rates, strict=True):
            moved = [parameter for parameter in group if parameter.grad is not None]
            gradients = [parameter.grad for parameter in moved if parameter.grad is not None]
            if self.config.optimizer == "sgd":
                self._sgd(moved, gradients, rate)
            else:
                self._adamw(moved, gradients, rate)
            for parameter in group:
                parameter.grad = None

    def _sgd(self, moved: list[Parameter], gradients: list[Tensor], rate: float) -> None:
        has_momentum = self.config.momentum != 0
        buffers = [self._momentum.get(parameter) for parameter in moved] if has_momentum else []
        sgd(
            list(moved),
            gradients,
            buffers,
            lr=rate,
            momentum=self.config.momentum,
            weight_decay=self.config.weight_decay,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
        self._momentum |= zip(moved, buffers, strict=False)

    def _adamw(self, moved: list[Parameter], gradients: list[Tensor], rate: float) -> None:
        for parameter in moved:
            if parameter not in self._moments:
                first, second = torch.zeros_like(parameter), torch.zeros_like(parameter)
                self._moments[parameter] = Moments(first, second, torch.tensor(0.0))
        known = [self._moments[parameter] for parameter in moved]
        adamw(
            list(moved),
            gradients,
            [each.first for each in known],
            [each.second for each in known],
            [],
            [each.steps for each in known],
            lr=rate,
            beta1=BETAS[0],
            beta2=BETAS[1],
            eps=EPSILON,
            weight_decay=self.config.weight_decay,
            amsgrad=False,
            maximize=False,
        )
