"""DAM-VP without a head (Huang et al., CVPR 2023): a prompt for each shard, and the backbone's own
classes stand for the labels.

Activation-based mapping: for each label, count how often each of the backbone's classes is the most
active one on the label's training records. Labels and classes are paired one to one, the pair with
the highest count first. Then the prompt alone is trained.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lmeraser_ray.config import LabelMappingConfig
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.learners.base import UNWATCHED, Pictures, ShardData, Stage, Watch
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.picture_learner import PictureFitter, Scorer, placed
from lmeraser_ray.models.learners.prompt import (
    drawn_places,
    first_prompt,
    hashed_places,
    overlay,
    prompt_mask,
)
from lmeraser_ray.models.learners.prompt_learner import PromptLearner
from lmeraser_ray.models.learners.sgd import Group, frozen


class LabelMappingFitter(PictureFitter[LabelMappingConfig]):
    """One shard's mapping, and its prompt in training."""

    def __init__(
        self, config: LabelMappingConfig, shard: ShardData, backbone: Backbone, stage: Stage
    ) -> None:
        super().__init__(config, shard, backbone, stage)
        size, device = backbone.spec.input_size, backbone.device
        self.prompt = nn.Parameter(
            first_prompt(config.prompt, size, stage.start, self.generator).to(device)
        )
        self.mask = prompt_mask(config.prompt, size).to(device)
        self.mapping = torch.from_numpy(self._map()).to(device)

    @torch.no_grad()
    def _map(self) -> NDArray[np.int64]:
        """The backbone's class for each label [c] int64, from the activations under the prompt that
        training begins with."""
        pictures = np.asarray(self.shard.inputs, np.uint8)
        found: list[Tensor] = []
        one_hot = functional.one_hot(self.targets, len(self.shard.classes)).double()
        for at in range(0, len(pictures), self.backbone.batch):
            part = pictures[at : at + self.backbone.batch]
            x = overlay(
                self.backbone.normalize(torch.from_numpy(part)),
                self.prompt,
                hashed_places(self.config.prompt, part),
            )
            probabilities = functional.softmax(self.backbone.logits(x), dim=1).double()
            winners = functional.one_hot(probabilities.argmax(1), probabilities.shape[1]).double()
            # Counts are whole; the mean probability, which is below 1, only tells equal counts
            # apart.
            scores = winners + probabilities / (len(pictures) + 1)
            found.append(one_hot[at : at + len(part)].T @ scores)
        return one_to_one(sum(found[1:], found[0]).cpu().numpy())

    def run(self, watch: Watch = UNWATCHED) -> None:
        """All epochs; without a prompt there is nothing to tune."""
        if self.config.prompt.width > 0:
            super().run(watch)

    def groups(self) -> list[Group]:
        """The prompt alone."""
        return [([self.prompt], self.config.prompt.lr)]

    def scores(self, pictures: Tensor, rows: Tensor) -> Tensor:
        """The activations of the mapped classes. pictures: [b, 3, s, s] uint8 → [b, c]."""
        places = drawn_places(self.config.prompt, pictures.shape[-1], len(rows), self.generator)
        with self.arithmetic():
            logits = self.backbone.logits(
                overlay(self.backbone.normalize(pictures), self.prompt * self.mask, places)
            )
        # A product with one-hot columns and not an index, whose backward adds with atomics on CUDA.
        chosen = functional.one_hot(self.mapping, logits.shape[1]).to(torch.float32)
        return logits.float() @ chosen.T

    def constituent(self) -> Constituent:
        """`prompt` [1, 3, h, w] and `mapping` [c] int64."""
        return frozen(
            self.shard.classes,
            {"prompt": self.prompt * self.mask, "mapping": self.mapping},
            self.config.kind,
        )


class LabelMapping(PromptLearner[LabelMappingConfig]):
    """The learner of DAM-VP."""

    needs_classifier = True

    def looks(self, classes: int) -> bool:
        """Always: a label is mapped by the activations of its pictures."""
        return True

    def fitter(self, shard: ShardData, backbone: Backbone, stage: Stage) -> LabelMappingFitter:
        """The mapping, then the prompt. The backbone has at least as many classes as there are
        labels (`requirements.check_labels`)."""
        return LabelMappingFitter(self.config, shard, backbone, stage)

    def scores(self, constituent: Constituent, backbone: Backbone, group: int) -> Scorer:
        """The activations of the mapped classes."""
        prompt, mapping = placed(constituent, ("prompt", "mapping"), backbone.device)

        def score(pictures: Pictures) -> Tensor:
            return backbone.logits(self.prompted(backbone, prompt, pictures))[:, mapping]

        return score


def one_to_one(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """The greedy one-to-one mapping: the highest score first, ties to the lowest label and class.
    scores: [c, s], c ≤ s → [c] int64."""
    left, mapping = scores.copy(), np.full(len(scores), -1, np.int64)
    for _ in range(len(scores)):
        label, source = np.unravel_index(np.argmax(left), left.shape)
        mapping[label] = source
        left[label, :], left[:, source] = -np.inf, -np.inf
    return mapping
