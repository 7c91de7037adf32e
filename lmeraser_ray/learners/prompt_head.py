"""Prompt and head: the paper's learner (equations 3 and 4), each shard by itself.

    minimise over prompt p and head h:   Σ over the shard's (x, y) of  cross_entropy(h(backbone(x + p)), y)

Invariants: everything random comes from one generator that is seeded by the shard's key; optimizer, schedule and head belong to the
shard; a fixed number of epochs and no look at any other record. A shard of one class has nothing to learn (its loss is zero for every p and
h), so its constituent is the initial one, and its answer is certain.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lmeraser_ray.backbone import Backbone
from lmeraser_ray.config import PromptHeadConfig
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.keys import generator_seed
from lmeraser_ray.learners.constituent import Constituent
from lmeraser_ray.learners.prompt import frame_mask, initial_prompt

RECIPE = 1
"""Raised whenever a change to this file changes the bits of a constituent; part of every shard key."""

Progress = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class ShardData:
    """A shard's records in canonical order (by digest). pictures: [n, 3, s, s] uint8; labels: n names."""

    key: str
    pictures: NDArray[np.uint8]
    labels: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that occur, sorted."""
        return tuple(sorted(set(self.labels)))


class PromptHead:
    """The learner of LMEraser. Stateless: `train` is a function of the shard, the backbone and the configuration."""

    def __init__(self, config: PromptHeadConfig) -> None:
        self.config = config

    def identity(self) -> dict[str, object]:
        """What enters a shard's key besides its records and the backbone."""
        return {**self.config.identity(), "recipe": RECIPE}

    def train(self, shard: ShardData, backbone: Backbone, progress: Progress = lambda _: None) -> Constituent:
        """Train one shard. `progress` is called with the number of records after each batch."""
        fit = PromptHeadFitter(self.config, shard, backbone)
        if len(shard.classes) > 1:
            fit.run(progress)
        return fit.constituent()

    @torch.no_grad()
    def answer(self, constituent: Constituent, backbone: Backbone, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Class probabilities. pictures: [n, 3, s, s] uint8 → [n, c] float32, columns as `constituent.classes`."""
        if len(constituent.classes) == 1:
            return np.ones((len(pictures), 1), np.float32)
        prompt, weight, bias = (torch.from_numpy(constituent.tensors[name]).to(backbone.device) for name in ("prompt", "weight", "bias"))
        found = []
        for at in range(0, len(pictures), backbone.batch):
            x = backbone.normalize(torch.from_numpy(pictures[at : at + backbone.batch])) + prompt
            found.append(functional.softmax(functional.linear(backbone.read(x), weight, bias), dim=1))
        return torch.cat(found).cpu().numpy()


class PromptHeadFitter:
    """One shard's training, in progress."""

    def __init__(self, config: PromptHeadConfig, shard: ShardData, backbone: Backbone) -> None:
        size = backbone.spec.input_size
        if 2 * config.prompt_width > size:
            raise ConfigError(
                f"learner.prompt_width {config.prompt_width} is more than half of the input's {size} pixels: make it smaller."
            )
        self.config, self.shard, self.backbone = config, shard, backbone
        self.generator = torch.Generator().manual_seed(generator_seed(shard.key))
        device = backbone.device
        index = {name: i for i, name in enumerate(shard.classes)}
        self.targets = torch.tensor([index[label] for label in shard.labels], device=device)
        self.pictures = torch.from_numpy(shard.pictures).to(device)
        self.mask = frame_mask(size, config.prompt_width).to(device)
        self.prompt = nn.Parameter(initial_prompt(size, config.prompt_width, config.prompt_init, self.generator).to(device))
        with torch.random.fork_rng(devices=[]):  # nn.Linear draws its weights, which are not used, from the global generator
            self.head = nn.Linear(backbone.dimension, len(shard.classes), device=device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        if config.head_init == "ridge" and len(shard.classes) > 1:
            self._ridge()

    def _ridge(self) -> None:
        """Start the head at the closed-form regression of one-hot labels (±) on the shard's own un-prompted features."""
        n = len(self.pictures)
        features = [self.backbone.features(self.shard.pictures[at : at + self.backbone.batch]) for at in range(0, n, self.backbone.batch)]
        weight, bias = ridge_head(np.concatenate(features), self.targets.cpu().numpy(), len(self.shard.classes), self.config.ridge)
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(weight * self.config.ridge_scale))
            self.head.bias.copy_(torch.from_numpy(bias * self.config.ridge_scale))

    def run(self, progress: Progress) -> None:
        """All epochs: Eq. 3 (and, on what is left of the shard, Eq. 4)."""
        config, n = self.config, len(self.pictures)
        optimizer = make_optimizer(config, self.prompt, self.head)
        rates = [group["lr"] for group in optimizer.param_groups]
        per_epoch = -(-n // config.batch)
        for step in range(config.epochs * per_epoch):
            if step % per_epoch == 0:
                order = torch.randperm(n, generator=self.generator)
            rows = order[step % per_epoch * config.batch :][: config.batch]
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * schedule(step, config.epochs * per_epoch, config.warmup)
            loss = self._loss(rows.to(self.targets.device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            progress(len(rows))

    def _loss(self, rows: Tensor) -> Tensor:
        """Mean cross-entropy of a batch. rows: [b] int64."""
        pictures = augment(self.pictures[rows], self.config, self.generator)
        with torch.autocast(self.backbone.device.type, torch.bfloat16, enabled=self.config.dtype == "bfloat16"):
            features = self.backbone.read(self.backbone.normalize(pictures) + self.prompt * self.mask)
        return functional.cross_entropy(self.head(features), self.targets[rows])

    def constituent(self) -> Constituent:
        """The frozen result."""
        tensors = {"prompt": self.prompt * self.mask, "weight": self.head.weight, "bias": self.head.bias}
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise ConfigError("The training of a shard diverged (its numbers are not finite): lower learner.prompt_lr or learner.head_lr.")
        return Constituent(self.shard.classes, arrays, {"learner": self.config.kind})


def ridge_head(
    features: NDArray[np.float32], targets: NDArray[np.int64], classes: int, penalty: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Ridge regression of centred one-hot targets. features: [n, d], targets: [n] → weight [c, d], bias [c], both float32.

    Solved in the dual, (X Xᵀ + λ I) A = Y with X centred, since a shard has fewer records than features; λ = `penalty` times the mean
    squared norm of a centred feature. One thread, float64: the bits are the machine's, not the scheduler's.
    """
    x = torch.from_numpy(features).double()
    y = functional.one_hot(torch.from_numpy(targets), classes).double()
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = x - mean_x, y - mean_y
    gram = x @ x.T
    strength = penalty * float(gram.diagonal().mean()) + 1e-12
    weight = (x.T @ torch.linalg.solve(gram + strength * torch.eye(len(x), dtype=x.dtype), y)).T
    return weight.float().numpy(), (mean_y - weight @ mean_x).float().numpy()


def make_optimizer(config: PromptHeadConfig, prompt: nn.Parameter, head: nn.Linear) -> torch.optim.Optimizer:
    """The shard's own optimizer: two groups, each with its rate."""
    groups = [{"params": [prompt], "lr": config.prompt_lr}, {"params": list(head.parameters()), "lr": config.head_lr}]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=config.momentum, weight_decay=config.weight_decay)
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def schedule(step: int, steps: int, warmup: float) -> float:
    """The share of the rate at a step: linear over the first `warmup` of all steps, then a cosine to zero."""
    rising = warmup * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(steps - rising, 1)))


def augment(pictures: Tensor, config: PromptHeadConfig, generator: torch.Generator) -> Tensor:
    """Random crop and flip of each picture by the shard's generator. pictures: [b, 3, s, s] uint8 → the same shape."""
    if config.flip:
        flipped = torch.rand(len(pictures), generator=generator) < 0.5
        pictures = torch.where(flipped.to(pictures.device).view(-1, 1, 1, 1), pictures.flip(3), pictures)
    if config.crop:
        size, pad = pictures.shape[-1], config.crop
        padded = functional.pad(pictures, (pad, pad, pad, pad))
        tops, lefts = torch.randint(0, 2 * pad + 1, (2, len(pictures)), generator=generator).tolist()
        pictures = torch.stack([p[:, t : t + size, u : u + size] for p, t, u in zip(padded, tops, lefts, strict=True)])
    return pictures
