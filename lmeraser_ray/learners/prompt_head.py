"""Prompt and head: the paper's learner (equations 3 and 4), each shard by itself.

    minimise over prompt p and head h:   Σ over the shard's (x, y) of  cross_entropy(h(backbone(x + p)), y)

A shard of one class has nothing to learn (its loss is zero for every p and h), so its constituent is the initial one, and its answer is
certain.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lmeraser_ray.backbone import Backbone
from lmeraser_ray.config import PromptHeadConfig
from lmeraser_ray.learners.constituent import Constituent
from lmeraser_ray.learners.head import Head, ridge_head
from lmeraser_ray.learners.learner import UNWATCHED, WHOLE, Pictures, Probabilities, ShardData, Stage, Watch
from lmeraser_ray.learners.prompt import check_width, drawn_places, hashed_places, initial_prompt, overlay, prompt_mask
from lmeraser_ray.learners.sgd import augment, descend, frozen, generator_of, targets_of

RECIPE = 1
"""Raised whenever a change to the code changes the bits of a constituent; part of every shard key."""


class PromptHead:
    """The learner of LMEraser. Stateless: `train` is a function of the shard, the backbone and the configuration."""

    needs: Literal["pictures"] = "pictures"
    joint = False
    needs_classifier = False

    def __init__(self, config: PromptHeadConfig) -> None:
        self.config = config

    def identity(self) -> dict[str, object]:
        """What enters a shard's key besides its records and the backbone."""
        return {**self.config.identity(), "recipe": RECIPE}

    def train(self, shard: ShardData, backbone: Backbone, *, stage: Stage = WHOLE, watch: Watch = UNWATCHED) -> Constituent:
        """Train one stage of one shard."""
        fit = PromptHeadFitter(self.config, shard, backbone, stage)
        if len(shard.classes) > 1:
            fit.run(watch)
        return fit.constituent()

    @torch.no_grad()
    def answer(self, constituent: Constituent, backbone: Backbone, pictures: Pictures, *, group: int = 0) -> Probabilities:  # noqa: ARG002
        """Class probabilities. pictures: [n, 3, s, s] uint8 → [n, c] float32, columns as `constituent.classes`."""
        prompt, weight, bias = (torch.from_numpy(constituent.tensors[name]).to(backbone.device) for name in ("prompt", "weight", "bias"))
        found = []
        for at in range(0, len(pictures), backbone.batch):
            part = pictures[at : at + backbone.batch]
            x = overlay(backbone.normalize(torch.from_numpy(part)), prompt, hashed_places(self.config.prompt, part))
            found.append(functional.softmax(functional.linear(backbone.read(x), weight, bias), dim=1))
        return torch.cat(found).cpu().numpy()


class PromptHeadFitter:
    """One shard's training, in progress."""

    def __init__(self, config: PromptHeadConfig, shard: ShardData, backbone: Backbone, stage: Stage = WHOLE) -> None:
        size, device, start = backbone.spec.input_size, backbone.device, stage.start
        check_width(config.prompt, size)
        self.config, self.shard, self.backbone, self.stage = config, shard, backbone, stage
        self.generator = generator_of(shard)
        self.targets = targets_of(shard, device)
        self.pictures = torch.from_numpy(shard.inputs).to(device)
        self.mask = prompt_mask(config.prompt, size).to(device)
        first = torch.from_numpy(start.tensors["prompt"].copy()) if start else initial_prompt(config.prompt, size, self.generator)
        self.prompt = nn.Parameter(first.to(device))
        self.head = Head(backbone.dimension, shard.classes, start, device)
        if config.head_init == "ridge" and start is None and len(shard.classes) > 1:
            self._ridge()

    def _ridge(self) -> None:
        """Start the head at the closed-form regression of one-hot labels (±) on the shard's own un-prompted features."""
        pictures, batch = np.asarray(self.shard.inputs, np.uint8), self.backbone.batch
        features = [self.backbone.features(pictures[at : at + batch]) for at in range(0, len(pictures), batch)]
        weight, bias = ridge_head(np.concatenate(features), self.targets.cpu().numpy(), len(self.shard.classes), self.config.ridge)
        self.head.set(weight * self.config.ridge_scale, bias * self.config.ridge_scale)

    def run(self, watch: Watch = UNWATCHED) -> None:
        """All epochs: Eq. 3 (and, on what is left of the shard, Eq. 4)."""
        groups = [([self.prompt], self.config.prompt.lr), (list(self.head.parameters()), self.config.head_lr)]
        descend(
            self.config,
            groups,
            self._loss,
            records=len(self.pictures),
            generator=self.generator,
            stage=self.stage,
            watch=watch,
            snapshot=self.constituent,
        )

    def _loss(self, rows: Tensor) -> Tensor:
        """Mean cross-entropy of a batch. rows: [b] int64."""
        rows = rows.to(self.targets.device)
        pictures = augment(self.pictures[rows], self.config, self.generator)
        places = drawn_places(self.config.prompt, pictures.shape[-1], len(rows), self.generator)
        with torch.autocast(self.backbone.device.type, torch.bfloat16, enabled=self.config.dtype == "bfloat16"):
            features = self.backbone.read(overlay(self.backbone.normalize(pictures), self.prompt * self.mask, places))
        return functional.cross_entropy(self.head(features), self.targets[rows])

    def constituent(self) -> Constituent:
        """The frozen result."""
        tensors = {"prompt": self.prompt * self.mask, "weight": self.head.weight, "bias": self.head.bias}
        return frozen(self.shard.classes, tensors, self.config.kind)
