"""One head for all shards: a prompt for each, trained together with the one head (the ablation of
Fig. 8 of the paper).

    minimise over prompts p_1 … p_k and head h:
        Σ over all (x, y, shard i) of cross_entropy(h(backbone(x + p_i)), y)

The head has seen every record, and each prompt was tuned to that head: so there is one constituent
for all shards, and every deletion trains it again.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lmeraser_ray.config import SharedHeadConfig
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.learners.base import Pictures, ShardData, Stage
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.head import Head
from lmeraser_ray.models.learners.picture_learner import PictureFitter, Scorer, placed
from lmeraser_ray.models.learners.prompt import drawn_places, initial_prompt, overlay, prompt_mask
from lmeraser_ray.models.learners.prompt_learner import PromptLearner
from lmeraser_ray.models.learners.sgd import Group, frozen


class SharedHeadFitter(PictureFitter[SharedHeadConfig]):
    """All prompts and the head, in training. `shard.groups` are the shards' places, 0 … k - 1."""

    def __init__(
        self, config: SharedHeadConfig, shard: ShardData, backbone: Backbone, stage: Stage
    ) -> None:
        super().__init__(config, shard, backbone, stage)
        size, device = backbone.spec.input_size, backbone.device
        if shard.groups is None:
            raise ValueError("a joint learner needs the shard of each record")
        self.group_of = torch.from_numpy(shard.groups).long().to(device)
        self.mask = prompt_mask(config.prompt, size).to(device)
        first = [
            initial_prompt(config.prompt, size, self.generator)
            for _ in range(int(shard.groups.max()) + 1)
        ]
        self.prompts = nn.Parameter(torch.cat(first).to(device))
        self.head = Head(backbone.dimension, shard.classes, None, device)

    def groups(self) -> list[Group]:
        """All prompts, and the head."""
        return [
            ([self.prompts], self.config.prompt.lr),
            (list(self.head.parameters()), self.config.head_lr),
        ]

    def scores(self, pictures: Tensor, rows: Tensor) -> Tensor:
        """h(backbone(x + pᵢ)), each picture under its shard's prompt. pictures: [b, 3, s, s] uint8;
        rows: [b] → [b, c]."""
        places = drawn_places(self.config.prompt, pictures.shape[-1], len(rows), self.generator)
        # A product with one-hot rows and not an index, whose backward adds with atomics on CUDA.
        chosen = functional.one_hot(self.group_of[rows], len(self.prompts)).to(
            self.prompts.dtype
        ) @ self.prompts.flatten(1)
        prompts = chosen.view(len(rows), *self.prompts.shape[1:]) * self.mask
        with self.arithmetic():
            features = self.backbone.read(
                overlay(self.backbone.normalize(pictures), prompts, places)
            )
        scores: Tensor = self.head(features)
        return scores

    def constituent(self) -> Constituent:
        """`prompt` [k, 3, h, w], one for each shard, `weight` [c, d] and `bias` [c]."""
        tensors = {
            "prompt": self.prompts * self.mask,
            "weight": self.head.weight,
            "bias": self.head.bias,
        }
        return frozen(self.shard.classes, tensors, self.config.kind)


class SharedHead(PromptLearner[SharedHeadConfig]):
    """The joint learner: its one constituent holds all prompts and the head."""

    joint = True

    def fitter(self, shard: ShardData, backbone: Backbone, stage: Stage) -> SharedHeadFitter:
        """All prompts and one head."""
        return SharedHeadFitter(self.config, shard, backbone, stage)

    def scores(self, constituent: Constituent, backbone: Backbone, group: int) -> Scorer:
        """The head's scores of the picture under the prompt of shard `group`."""
        prompts, weight, bias = placed(constituent, ("prompt", "weight", "bias"), backbone.device)

        def score(pictures: Pictures) -> Tensor:
            features = backbone.read(self.prompted(backbone, prompts[[group]], pictures))
            return functional.linear(features, weight, bias)

        return score
