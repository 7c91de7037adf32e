"""What the learners share whose constituents hold a pixel prompt: the prompt must fit into the
picture, and a query is seen under the prompt.

Place in the flow: between `picture_learner` (any learner by gradient descent) and the three
learners with prompts, `prompt_head`, `shared_head` and `label_mapping`.
"""

from typing import TypeVar

import torch
from torch import Tensor

from lmeraser_ray.config import LabelMappingConfig, PromptHeadConfig, SharedHeadConfig
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.learners.base import Pictures
from lmeraser_ray.models.learners.picture_learner import GradientLearner
from lmeraser_ray.models.learners.prompt import check_width, hashed_places, overlay

P = TypeVar("P", PromptHeadConfig, SharedHeadConfig, LabelMappingConfig)


class PromptLearner(GradientLearner[P]):
    """A learner of pictures with a prompt for each shard."""

    def check(self, backbone: Backbone) -> None:
        """Errors: `ConfigError` also where the prompt does not fit into the picture."""
        super().check(backbone)
        check_width(self.config.prompt, backbone.spec.input_size)

    def prompted(self, backbone: Backbone, prompt: Tensor, pictures: Pictures) -> Tensor:
        """Queries under a prompt, normalised: g(x, p) of equation 1. prompt: [1, 3, h, w];
        pictures: [b, 3, s, s] uint8 → [b, 3, s, s] float32."""
        x = backbone.normalize(torch.from_numpy(pictures))
        return overlay(x, prompt, hashed_places(self.config.prompt, pictures))
