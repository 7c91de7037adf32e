"""One head for all shards: a prompt for each, trained together with the one head (the ablation of Fig. 8 of the paper).

    minimise over prompts p_1 … p_k and head h:   Σ over all (x, y, shard i) of  cross_entropy(h(backbone(x + p_i)), y)

The head has seen every record, and each prompt was tuned to that head: so there is one constituent for all shards, and every deletion
trains it again.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lmeraser_ray.backbone import Backbone
from lmeraser_ray.config import SharedHeadConfig
from lmeraser_ray.learners.constituent import Constituent
from lmeraser_ray.learners.head import Head
from lmeraser_ray.learners.learner import UNWATCHED, WHOLE, Pictures, Probabilities, ShardData, Stage, Watch
from lmeraser_ray.learners.prompt import check_width, drawn_places, hashed_places, initial_prompt, overlay, prompt_mask
from lmeraser_ray.learners.sgd import augment, descend, frozen, generator_of, targets_of

RECIPE = 1
"""Raised whenever a change to the code changes the bits of a constituent."""


class SharedHead:
    """The joint learner: its one constituent holds all prompts and the head."""

    needs: Literal["pictures"] = "pictures"
    joint = True
    needs_classifier = False

    def __init__(self, config: SharedHeadConfig) -> None:
        self.config = config

    def identity(self) -> dict[str, object]:
        """What enters the key besides the records, their shards and the backbone."""
        return {**self.config.identity(), "recipe": RECIPE}

    def train(self, shard: ShardData, backbone: Backbone, *, stage: Stage = WHOLE, watch: Watch = UNWATCHED) -> Constituent:
        """Train all prompts and the head. `shard.groups` are the shards' numbers, 0 … k - 1."""
        fit = SharedHeadFitter(self.config, shard, backbone, stage)
        if len(shard.classes) > 1:
            fit.run(watch)
        return fit.constituent()

    @torch.no_grad()
    def answer(self, constituent: Constituent, backbone: Backbone, pictures: Pictures, *, group: int = 0) -> Probabilities:
        """Class probabilities under the prompt of shard `group`. pictures: [n, 3, s, s] uint8 → [n, c] float32."""
        prompts, weight, bias = (torch.from_numpy(constituent.tensors[name]).to(backbone.device) for name in ("prompt", "weight", "bias"))
        found = []
        for at in range(0, len(pictures), backbone.batch):
            part = pictures[at : at + backbone.batch]
            x = overlay(backbone.normalize(torch.from_numpy(part)), prompts[[group]], hashed_places(self.config.prompt, part))
            found.append(functional.softmax(functional.linear(backbone.read(x), weight, bias), dim=1))
        return torch.cat(found).cpu().numpy()


class SharedHeadFitter:
    """The joint training, in progress."""

    def __init__(self, config: SharedHeadConfig, shard: ShardData, backbone: Backbone, stage: Stage) -> None:
        size, device = backbone.spec.input_size, backbone.device
        check_width(config.prompt, size)
        if shard.groups is None:
            raise ValueError("a joint learner needs the shard of each record")
        self.config, self.shard, self.backbone, self.stage = config, shard, backbone, stage
        self.generator = generator_of(shard)
        self.targets = targets_of(shard, device)
        self.pictures = torch.from_numpy(shard.inputs).to(device)
        self.groups = torch.from_numpy(shard.groups).long().to(device)
        self.mask = prompt_mask(config.prompt, size).to(device)
        first = [initial_prompt(config.prompt, size, self.generator) for _ in range(int(shard.groups.max()) + 1)]
        self.prompts = nn.Parameter(torch.cat(first).to(device))
        self.head = Head(backbone.dimension, shard.classes, None, device)

    def run(self, watch: Watch) -> None:
        """All epochs."""
        groups = [([self.prompts], self.config.prompt.lr), (list(self.head.parameters()), self.config.head_lr)]
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
        """Mean cross-entropy of a batch, each picture under its shard's prompt. rows: [b] int64."""
        rows = rows.to(self.targets.device)
        pictures = augment(self.pictures[rows], self.config, self.generator)
        places = drawn_places(self.config.prompt, pictures.shape[-1], len(rows), self.generator)
        # A product with one-hot rows and not an index, whose backward adds with atomics on CUDA.
        chosen = functional.one_hot(self.groups[rows], len(self.prompts)).to(self.prompts.dtype) @ self.prompts.flatten(1)
        prompts = chosen.view(len(rows), *self.prompts.shape[1:]) * self.mask
        with torch.autocast(self.backbone.device.type, torch.bfloat16, enabled=self.config.dtype == "bfloat16"):
            features = self.backbone.read(overlay(self.backbone.normalize(pictures), prompts, places))
        return functional.cross_entropy(self.head(features), self.targets[rows])

    def constituent(self) -> Constituent:
        """The frozen result: `prompt` [k, 3, h, w], one for each shard."""
        tensors = {"prompt": self.prompts * self.mask, "weight": self.head.weight, "bias": self.head.bias}
        return frozen(self.shard.classes, tensors, self.config.kind)
