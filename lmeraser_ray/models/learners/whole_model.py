"""The whole model: the backbone's own weights and a linear head are trained. SISA's constituents,
and retraining from scratch.

Training begins at the public weights (random ones where the backbone has `weights: random`). Batch
norm keeps its public statistics and dropout is off, as in fine-tuning on little data, so that a
constituent is its parameters and nothing else.
"""

import copy

import torch
from torch import Tensor
from torch.nn import functional

from lmeraser_ray.config import WholeModelConfig
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.learners.base import Pictures, ShardData, Stage
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.head import Head
from lmeraser_ray.models.learners.picture_learner import (
    GradientLearner,
    PictureFitter,
    Scorer,
    placed,
)
from lmeraser_ray.models.learners.sgd import Group, frozen

BODY = "body."
"""Before the names of the backbone's parameters in a constituent."""


def own_copy(backbone: Backbone, start: Constituent | None) -> Backbone:
    """A copy of the backbone with weights of its own: the constituent's where there is one."""
    model = copy.copy(backbone)
    model.module = copy.deepcopy(backbone.module)
    if start is not None:
        state = {
            name.removeprefix(BODY): torch.from_numpy(t)
            for name, t in start.tensors.items()
            if name.startswith(BODY)
        }
        model.module.load_state_dict(state, strict=False)
    return model


class WholeModelFitter(PictureFitter[WholeModelConfig]):
    """One shard's model, in training: `backbone` is a copy with weights of its own."""

    def __init__(
        self, config: WholeModelConfig, shard: ShardData, backbone: Backbone, stage: Stage
    ) -> None:
        super().__init__(config, shard, own_copy(backbone, stage.start), stage)
        self.head = Head(backbone.dimension, shard.classes, stage.start, backbone.device)
        self.body = self._reached()

    def _reached(self) -> dict[str, torch.nn.Parameter]:
        """The backbone's parameters that the readout depends on: layers behind it are not run,
        trained or kept."""
        named = dict(self.backbone.module.named_parameters())
        self.backbone.module.requires_grad_(True)
        size = self.backbone.spec.input_size
        blank = self.backbone.normalize(torch.zeros(1, 3, size, size, dtype=torch.uint8))
        found = torch.autograd.grad(
            self.backbone.read(blank).sum(), list(named.values()), allow_unused=True
        )
        reached = {
            name: parameter
            for (name, parameter), grad in zip(named.items(), found, strict=True)
            if grad is not None
        }
        self.backbone.module.requires_grad_(False)
        for parameter in reached.values():
            parameter.requires_grad_(True)
        return reached

    def groups(self) -> list[Group]:
        """The backbone's reached parameters, and the head."""
        return [
            (list(self.body.values()), self.config.lr),
            (list(self.head.parameters()), self.config.head_lr),
        ]

    def scores(self, pictures: Tensor, rows: Tensor) -> Tensor:
        """h(backbone(x)). pictures: [b, 3, s, s] uint8 → [b, c]."""
        x = self.backbone.normalize(pictures)
        with self.arithmetic():
            features = self.backbone.read(x)
        scores: Tensor = self.head(features)
        return scores

    def constituent(self) -> Constituent:
        """The backbone's reached parameters under `body.`, `weight` and `bias` of the head."""
        tensors = {f"{BODY}{name}": parameter for name, parameter in self.body.items()}
        return frozen(
            self.shard.classes,
            {**tensors, "weight": self.head.weight, "bias": self.head.bias},
            self.config.kind,
        )


class WholeModel(GradientLearner[WholeModelConfig]):
    """The learner of SISA and of retraining from scratch."""

    def fitter(self, shard: ShardData, backbone: Backbone, stage: Stage) -> WholeModelFitter:
        """The whole model."""
        return WholeModelFitter(self.config, shard, backbone, stage)

    def scores(self, constituent: Constituent, backbone: Backbone, group: int) -> Scorer:
        """The head's scores on the constituent's own backbone."""
        model = own_copy(backbone, constituent)
        weight, bias = placed(constituent, ("weight", "bias"), backbone.device)

        def score(pictures: Pictures) -> Tensor:
            return functional.linear(
                model.read(model.normalize(torch.from_numpy(pictures))), weight, bias
            )

        return score
