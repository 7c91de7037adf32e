"""The whole model: the backbone's own weights and a linear head are trained. SISA's constituents, and retraining from scratch.

Training begins at the public weights (random ones where the backbone has `weights: random`). Batch norm keeps its public statistics and
dropout is off, as in fine-tuning on little data, so that a constituent is its parameters and nothing else.
"""

import copy
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from lmeraser_ray.backbone import Backbone
from lmeraser_ray.config import WholeModelConfig
from lmeraser_ray.learners.constituent import Constituent
from lmeraser_ray.learners.head import Head
from lmeraser_ray.learners.learner import UNWATCHED, WHOLE, Pictures, Probabilities, ShardData, Stage, Watch
from lmeraser_ray.learners.sgd import augment, descend, frozen, generator_of, targets_of

RECIPE = 1
"""Raised whenever a change to the code changes the bits of a constituent."""
BODY = "body."
"""Before the names of the backbone's parameters in a constituent."""


class WholeModel:
    """The learner of SISA and of retraining from scratch."""

    needs: Literal["pictures"] = "pictures"
    joint = False
    needs_classifier = False

    def __init__(self, config: WholeModelConfig) -> None:
        self.config = config

    def identity(self) -> dict[str, object]:
        """What enters a shard's key besides its records and the backbone."""
        return {**self.config.identity(), "recipe": RECIPE}

    def train(self, shard: ShardData, backbone: Backbone, *, stage: Stage = WHOLE, watch: Watch = UNWATCHED) -> Constituent:
        """Train one stage of one shard."""
        fit = WholeModelFitter(self.config, shard, backbone, stage)
        if len(shard.classes) > 1:
            fit.run(watch)
        return fit.constituent()

    @torch.no_grad()
    def answer(self, constituent: Constituent, backbone: Backbone, pictures: Pictures, *, group: int = 0) -> Probabilities:  # noqa: ARG002
        """Class probabilities. pictures: [n, 3, s, s] uint8 → [n, c] float32, columns as `constituent.classes`."""
        model = own_copy(backbone, constituent)
        weight, bias = (torch.from_numpy(constituent.tensors[name]).to(backbone.device) for name in ("weight", "bias"))
        found = []
        for at in range(0, len(pictures), backbone.batch):
            x = backbone.normalize(torch.from_numpy(pictures[at : at + backbone.batch]))
            found.append(functional.softmax(functional.linear(model.read(x), weight, bias), dim=1))
        return torch.cat(found).cpu().numpy()


def own_copy(backbone: Backbone, start: Constituent | None) -> Backbone:
    """A copy of the backbone with weights of its own: the constituent's where there is one."""
    model = copy.copy(backbone)
    model.module = copy.deepcopy(backbone.module)
    if start is not None:
        state = {name.removeprefix(BODY): torch.from_numpy(t) for name, t in start.tensors.items() if name.startswith(BODY)}
        model.module.load_state_dict(state, strict=False)
    return model


class WholeModelFitter:
    """One shard's training, in progress."""

    def __init__(self, config: WholeModelConfig, shard: ShardData, backbone: Backbone, stage: Stage) -> None:
        self.config, self.shard, self.stage = config, shard, stage
        self.model = own_copy(backbone, stage.start)
        self.generator = generator_of(shard)
        self.targets = targets_of(shard, backbone.device)
        self.pictures = torch.from_numpy(shard.inputs).to(backbone.device)
        self.head = Head(backbone.dimension, shard.classes, stage.start, backbone.device)
        self.body = self._reached()

    def _reached(self) -> dict[str, torch.nn.Parameter]:
        """The backbone's parameters that the readout depends on: layers behind it are not run, trained or kept."""
        named = dict(self.model.module.named_parameters())
        self.model.module.requires_grad_(True)
        size = self.model.spec.input_size
        blank = self.model.normalize(torch.zeros(1, 3, size, size, dtype=torch.uint8))
        found = torch.autograd.grad(self.model.read(blank).sum(), list(named.values()), allow_unused=True)
        reached = {name: parameter for (name, parameter), grad in zip(named.items(), found, strict=True) if grad is not None}
        self.model.module.requires_grad_(False)
        for parameter in reached.values():
            parameter.requires_grad_(True)
        return reached

    def run(self, watch: Watch) -> None:
        """All epochs."""
        groups = [(list(self.body.values()), self.config.lr), (list(self.head.parameters()), self.config.head_lr)]
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
        pictures = self.model.normalize(augment(self.pictures[rows], self.config, self.generator))
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.config.dtype == "bfloat16"):
            features = self.model.read(pictures)
        return functional.cross_entropy(self.head(features), self.targets[rows])

    def constituent(self) -> Constituent:
        """The frozen result: the backbone's reached parameters under `body.`, `weight` and `bias` of the head."""
        tensors = {f"{BODY}{name}": parameter for name, parameter in self.body.items()}
        return frozen(self.shard.classes, {**tensors, "weight": self.head.weight, "bias": self.head.bias}, self.config.kind)
