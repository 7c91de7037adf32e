"""Prompt and head: the paper's learner (equations 3 and 4), each shard by itself.

    minimise over prompt p and head h:
        Σ over the shard's (x, y) of cross_entropy(h(backbone(x + p)), y)

The prompt and the head have learning rates of their own; the backbone is frozen. A head has the
classes of its shard's members only, where the paper's have all: what it is must follow from its
members alone. So a constituent cannot answer a class that its shard lacks.
"""

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from lmeraser_ray.config import PromptHeadConfig
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.learners.base import WHOLE, Pictures, ShardData, Stage
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.head import Head, ridge_head
from lmeraser_ray.models.learners.picture_learner import PictureFitter, Scorer, placed
from lmeraser_ray.models.learners.prompt import drawn_places, first_prompt, overlay, prompt_mask
from lmeraser_ray.models.learners.prompt_learner import PromptLearner
from lmeraser_ray.models.learners.sgd import Group, frozen


class PromptHeadFitter(PictureFitter[PromptHeadConfig]):
    """One shard's prompt and head, in training."""

    def __init__(
        self, config: PromptHeadConfig, shard: ShardData, backbone: Backbone, stage: Stage = WHOLE
    ) -> None:
        super().__init__(config, shard, backbone, stage)
        size, device, start = backbone.spec.input_size, backbone.device, stage.start
        self.prompt = nn.Parameter(
            first_prompt(config.prompt, size, start, self.generator).to(device)
        )
        self.mask = prompt_mask(config.prompt, size).to(device)
        self.head = Head(backbone.dimension, shard.classes, start, device)
        untrained = start is None or len(start.classes) == 1
        if config.head_init == "ridge" and untrained and len(shard.classes) > 1:
            self._ridge()

    def _ridge(self) -> None:
        """Start the head at the closed-form regression of one-hot labels (±) on the shard's own
        un-prompted features."""
        pictures, batch = np.asarray(self.shard.inputs, np.uint8), self.backbone.batch
        features = [
            self.backbone.features(pictures[at : at + batch])
            for at in range(0, len(pictures), batch)
        ]
        weight, bias = ridge_head(
            np.concatenate(features),
            self.targets.cpu().numpy(),
            len(self.shard.classes),
            self.config.ridge,
        )
        self.head.set(weight * self.config.ridge_scale, bias * self.config.ridge_scale)

    def groups(self) -> list[Group]:
        """The prompt, and the head."""
        return [
            ([self.prompt], self.config.prompt.lr),
            (list(self.head.parameters()), self.config.head_lr),
        ]

    def scores(self, pictures: Tensor, rows: Tensor) -> Tensor:
        """h(backbone(x + p)). pictures: [b, 3, s, s] uint8 → [b, c]."""
        places = drawn_places(self.config.prompt, pictures.shape[-1], len(rows), self.generator)
        with self.arithmetic():
            features = self.backbone.read(
                overlay(self.backbone.normalize(pictures), self.prompt * self.mask, places)
            )
        scores: Tensor = self.head(features)
        return scores

    def constituent(self) -> Constituent:
        """`prompt` [1, 3, h, w], `weight` [c, d] and `bias` [c]."""
        tensors = {
            "prompt": self.prompt * self.mask,
            "weight": self.head.weight,
            "bias": self.head.bias,
        }
        return frozen(self.shard.classes, tensors, self.config.kind)


class PromptHead(PromptLearner[PromptHeadConfig]):
    """The learner of LMEraser."""

    def identity(self) -> dict[str, object]:
        """As of every picture learner. A ridge start has with slices a recipe of its own: the
        first one was lost where the first slice has one class."""
        sliced = self.config.head_init == "ridge" and self.config.slices > 1
        return {**super().identity(), "recipe": 2 if sliced else self.recipe}

    def fitter(self, shard: ShardData, backbone: Backbone, stage: Stage) -> PromptHeadFitter:
        """A prompt and a head."""
        return PromptHeadFitter(self.config, shard, backbone, stage)

    def scores(self, constituent: Constituent, backbone: Backbone, group: int) -> Scorer:
        """The head's scores of the prompted picture."""
        prompt, weight, bias = placed(constituent, ("prompt", "weight", "bias"), backbone.device)

        def score(pictures: Pictures) -> Tensor:
            features = backbone.read(self.prompted(backbone, prompt, pictures))
            return functional.linear(features, weight, bias)

        return score
