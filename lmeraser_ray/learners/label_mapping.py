"""DAM-VP without a head (Huang et al., CVPR 2023): a prompt for each shard, and the backbone's own classes stand for the labels.

Activation-based mapping: how often each of the backbone's classes is the most active one on a label's training records decides, one to
one, which class stands for which label; the pair that was seen most often first. Then the prompt alone is tuned.
"""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lmeraser_ray.backbone import Backbone
from lmeraser_ray.config import LabelMappingConfig
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.learners.constituent import Constituent
from lmeraser_ray.learners.learner import UNWATCHED, WHOLE, Pictures, Probabilities, ShardData, Stage, Watch
from lmeraser_ray.learners.prompt import check_width, drawn_places, hashed_places, initial_prompt, overlay, prompt_mask
from lmeraser_ray.learners.sgd import augment, descend, frozen, generator_of, targets_of

RECIPE = 1
"""Raised whenever a change to the code changes the bits of a constituent."""


class LabelMapping:
    """The learner of DAM-VP."""

    needs: Literal["pictures"] = "pictures"
    joint = False
    needs_classifier = True

    def __init__(self, config: LabelMappingConfig) -> None:
        self.config = config

    def identity(self) -> dict[str, object]:
        """What enters a shard's key besides its records, the backbone and its classifier."""
        return {**self.config.identity(), "recipe": RECIPE}

    def train(self, shard: ShardData, backbone: Backbone, *, stage: Stage = WHOLE, watch: Watch = UNWATCHED) -> Constituent:
        """Map the labels, then tune the prompt. Errors: `ConfigError` where the backbone has fewer classes than the shard."""
        fit = LabelMappingFitter(self.config, shard, backbone, stage)
        if len(shard.classes) > 1:
            fit.run(watch)
        return fit.constituent()

    @torch.no_grad()
    def answer(self, constituent: Constituent, backbone: Backbone, pictures: Pictures, *, group: int = 0) -> Probabilities:  # noqa: ARG002
        """Class probabilities: the softmax over the mapped activations. pictures: [n, 3, s, s] uint8 → [n, c] float32."""
        prompt, mapping = (torch.from_numpy(constituent.tensors[name]).to(backbone.device) for name in ("prompt", "mapping"))
        found = []
        for at in range(0, len(pictures), backbone.batch):
            part = pictures[at : at + backbone.batch]
            x = overlay(backbone.normalize(torch.from_numpy(part)), prompt, hashed_places(self.config.prompt, part))
            found.append(functional.softmax(backbone.logits(x)[:, mapping], dim=1))
        return torch.cat(found).cpu().numpy()


class LabelMappingFitter:
    """One shard's training, in progress."""

    def __init__(self, config: LabelMappingConfig, shard: ShardData, backbone: Backbone, stage: Stage) -> None:
        size, device, start = backbone.spec.input_size, backbone.device, stage.start
        check_width(config.prompt, size)
        self.config, self.shard, self.backbone, self.stage = config, shard, backbone, stage
        self.generator = generator_of(shard)
        self.targets = targets_of(shard, device)
        self.pictures = torch.from_numpy(shard.inputs).to(device)
        self.mask = prompt_mask(config.prompt, size).to(device)
        first = torch.from_numpy(start.tensors["prompt"].copy()) if start else initial_prompt(config.prompt, size, self.generator)
        self.prompt = nn.Parameter(first.to(device))
        self.mapping = torch.from_numpy(self._map()).to(device)

    @torch.no_grad()
    def _map(self) -> NDArray[np.int64]:
        """The backbone's class for each label [c] int64, from the activations under the prompt that training begins with."""
        pictures, total = np.asarray(self.shard.inputs, np.uint8), None
        one_hot = functional.one_hot(self.targets, len(self.shard.classes)).double()
        for at in range(0, len(pictures), self.backbone.batch):
            part = pictures[at : at + self.backbone.batch]
            x = overlay(self.backbone.normalize(torch.from_numpy(part)), self.prompt, hashed_places(self.config.prompt, part))
            probabilities = functional.softmax(self.backbone.logits(x), dim=1).double()
            winners = functional.one_hot(probabilities.argmax(1), probabilities.shape[1]).double()
            # Counts are whole; the mean probability, which is below 1, only tells equal counts apart.
            scores = one_hot[at : at + len(part)].T @ (winners + probabilities / (len(pictures) + 1))
            total = scores if total is None else total + scores
        if total is None or total.shape[1] < total.shape[0]:
            sources = 0 if total is None else total.shape[1]
            raise ConfigError(
                f"The backbone's classifier has {sources} classes, a shard has {len(self.shard.classes)} labels: "
                "label mapping needs at least as many; use another backbone or learner.kind prompt_head."
            )
        return one_to_one(total.cpu().numpy())

    def run(self, watch: Watch) -> None:
        """All epochs, the prompt alone."""
        descend(
            self.config,
            [([self.prompt], self.config.prompt.lr)],
            self._loss,
            records=len(self.pictures),
            generator=self.generator,
            stage=self.stage,
            watch=watch,
            snapshot=self.constituent,
        )

    def _loss(self, rows: Tensor) -> Tensor:
        """Mean cross-entropy of a batch over the mapped classes. rows: [b] int64."""
        rows = rows.to(self.targets.device)
        pictures = augment(self.pictures[rows], self.config, self.generator)
        places = drawn_places(self.config.prompt, pictures.shape[-1], len(rows), self.generator)
        with torch.autocast(self.backbone.device.type, torch.bfloat16, enabled=self.config.dtype == "bfloat16"):
            logits = self.backbone.logits(overlay(self.backbone.normalize(pictures), self.prompt * self.mask, places))
        # A product with one-hot columns and not an index, whose backward adds with atomics on CUDA.
        chosen = functional.one_hot(self.mapping, logits.shape[1]).to(torch.float32)
        return functional.cross_entropy(logits.float() @ chosen.T, self.targets[rows])

    def constituent(self) -> Constituent:
        """The frozen result: `prompt` and `mapping` [c] int64."""
        return frozen(self.shard.classes, {"prompt": self.prompt * self.mask, "mapping": self.mapping}, self.config.kind)


def one_to_one(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """The greedy one-to-one mapping: the highest score first, ties to the lowest label and class. scores: [c, s], c ≤ s → [c] int64."""
    left, mapping = scores.copy(), np.full(len(scores), -1, np.int64)
    for _ in range(len(scores)):
        label, source = np.unravel_index(np.argmax(left), left.shape)
        mapping[label] = source
        left[label, :], left[:, source] = -np.inf, -np.inf
    return mapping
