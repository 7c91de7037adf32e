"""Stochastic gradient descent on one shard: the loop that all trained learners share.

Invariants: the order of records, crops and flips come from the shard's own generator; the number of
steps is a function of the shard's size and the configuration; each shard has an optimizer and a
schedule of its own; nothing is selected on validation data.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lmeraser_ray.config import PictureSgdConfig, SgdConfig
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.learners.base import ShardData, Stage, Watch
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.optimizers import ShardOptimizer
from lmeraser_ray.models.learners.passes import steps_of
from lmeraser_ray.storage.digests import generator_seed

Group = tuple[Sequence[torch.nn.Parameter], float]
"""Parameters that share a learning rate."""


def generator_of(shard: ShardData) -> torch.Generator:
    """The generator that everything random in a shard's training comes from."""
    return torch.Generator().manual_seed(generator_seed(shard.key))


def targets_of(shard: ShardData, device: torch.device) -> Tensor:
    """The class number of each record [n] int64."""
    index = {name: i for i, name in enumerate(shard.classes)}
    return torch.tensor([index[label] for label in shard.labels], device=device)


def descend(
    config: SgdConfig,
    groups: Sequence[Group],
    loss: Callable[[Tensor], Tensor],
    *,
    records: int,
    generator: torch.Generator,
    stage: Stage,
    watch: Watch,
    snapshot: Callable[[], Constituent],
) -> None:
    """All steps of one stage (equation 3; on what a deletion leaves of the shard, equation 4).

    loss: the positions [b] int64 of a batch → scalar; records: n; snapshot: the constituent as it
    is now, for `watch.epoch`. `passes.steps_of` says how many steps.
    """
    optimizer = ShardOptimizer(config, [parameters for parameters, _ in groups])
    per_epoch = -(-records // config.batch)
    steps = int(steps_of(config, stage.share, np.array(records)))
    for step in range(steps):
        if step % per_epoch == 0:
            order = torch.randperm(records, generator=generator)
        rows = order[step % per_epoch * config.batch :][: config.batch]
        share = schedule(step, steps, config.warmup)
        loss(rows).backward()  # type: ignore[no-untyped-call]
        optimizer.step([rate * share for _, rate in groups])
        watch.records(len(rows))
        if (step + 1) % per_epoch == 0 or step + 1 == steps:
            watch.epoch(snapshot)


def schedule(step: int, steps: int, warmup: float) -> float:
    """The share of the rate at a step: linear over the first `warmup` of all steps, then a cosine
    to zero."""
    rising = warmup * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(steps - rising, 1)))


def augment(pictures: Tensor, config: PictureSgdConfig, generator: torch.Generator) -> Tensor:
    """Random crop (after zero padding by `config.crop` pixels) and flip of each picture. pictures:
    [b, 3, s, s] uint8 → [b, 3, s, s] uint8."""
    if config.flip:
        flipped = torch.rand(len(pictures), generator=generator) < 0.5
        pictures = torch.where(
            flipped.to(pictures.device).view(-1, 1, 1, 1), pictures.flip(3), pictures
        )
    if config.crop:
        size, pad = pictures.shape[-1], config.crop
        padded = functional.pad(pictures, (pad, pad, pad, pad))
        tops, lefts = torch.randint(
            0, 2 * pad + 1, (2, len(pictures)), generator=generator
        ).tolist()
        pictures = torch.stack(
            [p[:, t : t + size, u : u + size] for p, t, u in zip(padded, tops, lefts, strict=True)]
        )
    return pictures


def frozen(classes: tuple[str, ...], tensors: dict[str, Tensor], kind: str) -> Constituent:
    """The constituent of trained tensors, copied to the CPU. Errors: `ConfigError` where a number
    is not finite, because the training diverged."""
    arrays: dict[str, NDArray[Any]] = {
        name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()
    }
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ConfigError(
            "The training of a shard diverged (its numbers are not finite): lower "
            "learner.prompt.lr, learner.lr or head_lr."
        )
    return Constituent(classes, arrays, {"learner": kind})
