"""What the learners share that see pictures through the backbone and train by gradient descent.

    shard → fitter (parameters, optimizer, one stage) → constituent → scorer → probabilities

A learner defines its fitter and how a constituent scores a query; the rest is here. Invariant: a
shard of one class has nothing to learn (its loss is zero whatever the parameters), so its
constituent is the initial one, for which no picture is decoded, and its answer is certain.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from lmeraser_ray.config import PictureSgdConfig
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.learners.base import (
    UNWATCHED,
    WHOLE,
    Pictures,
    Probabilities,
    ShardData,
    Stage,
    Watch,
)
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.sgd import Group, augment, descend, generator_of, targets_of

C = TypeVar("C", bound=PictureSgdConfig)
Scorer = Callable[[Pictures], Tensor]
"""From pictures [b, 3, s, s] uint8 to class scores [b, c]."""


class PictureFitter(ABC, Generic[C]):
    """One stage of one shard's training, in progress."""

    def __init__(self, config: C, shard: ShardData, backbone: Backbone, stage: Stage) -> None:
        self.config, self.shard, self.backbone, self.stage = config, shard, backbone, stage
        self.generator = generator_of(shard)
        self.targets = targets_of(shard, backbone.device)
        self.pictures = torch.from_numpy(shard.inputs).to(backbone.device)

    @abstractmethod
    def groups(self) -> list[Group]:
        """The parameters that are trained, with their learning rates."""

    @abstractmethod
    def scores(self, pictures: Tensor, rows: Tensor) -> Tensor:
        """Class scores of augmented pictures [b, 3, s, s] uint8, which are the shard's at `rows`
        [b] int64 → [b, c]."""

    @abstractmethod
    def constituent(self) -> Constituent:
        """The constituent as it is now."""

    def run(self, watch: Watch = UNWATCHED) -> None:
        """All epochs of the stage: Eq. 3 (and, on what is left of the shard, Eq. 4)."""
        descend(
            self.config,
            self.groups(),
            self.loss,
            records=len(self.pictures),
            generator=self.generator,
            stage=self.stage,
            watch=watch,
            snapshot=self.constituent,
        )

    def loss(self, rows: Tensor) -> Tensor:
        """Mean cross-entropy of a batch. rows: [b] int64."""
        rows = rows.to(self.targets.device)
        return functional.cross_entropy(
            self.scores(augment(self.pictures[rows], self.config, self.generator), rows),
            self.targets[rows],
        )

    def arithmetic(self) -> AbstractContextManager[None]:
        """The backbone's arithmetic in training, as configured; parameters stay float32."""
        return torch.autocast(
            self.backbone.device.type, torch.bfloat16, enabled=self.config.dtype == "bfloat16"
        )


class GradientLearner(ABC, Generic[C]):
    """A learner of pictures. Stateless: `train` is a function of the shard, the backbone and the
    configuration."""

    needs: Literal["pictures"] = "pictures"
    joint = False
    subtracts = False
    needs_classifier = False
    recipe = 1
    """Raised whenever a change to the code changes the bits of a constituent; part of every shard
    key."""

    def __init__(self, config: C) -> None:
        self.config = config

    def identity(self) -> dict[str, object]:
        """What enters a shard's key besides its records and the backbone."""
        return {**self.config.identity(), "recipe": self.recipe}

    def check(self, backbone: Backbone) -> None:
        """Errors: `ConfigError` where a random crop can leave nothing of a picture."""
        if self.config.crop >= backbone.spec.input_size:
            raise ConfigError(
                f"learner.crop is {self.config.crop}, but an input of {backbone.spec.input_size} "
                "pixels that is moved so far is blank: make it smaller."
            )

    def looks(self, classes: int) -> bool:
        """Not at pictures of one class: there is nothing to learn."""
        return classes > 1

    @abstractmethod
    def fitter(self, shard: ShardData, backbone: Backbone, stage: Stage) -> PictureFitter[C]:
        """How a stage of a shard is fitted, on a backbone that `check` accepts."""

    @abstractmethod
    def scores(self, constituent: Constituent, backbone: Backbone, group: int) -> Scorer:
        """How a constituent scores queries of shard `group`."""

    def train(
        self,
        shard: ShardData,
        backbone: Backbone,
        *,
        stage: Stage = WHOLE,
        watch: Watch = UNWATCHED,
    ) -> Constituent:
        """Train one stage of one shard."""
        fit = self.fitter(shard, backbone, stage)
        if len(shard.classes) > 1:
            fit.run(watch)
        return fit.constituent()

    @torch.no_grad()
    def answer(
        self, constituent: Constituent, backbone: Backbone, pictures: Pictures, *, group: int = 0
    ) -> Probabilities:
        """Class probabilities. pictures: [n, 3, s, s] uint8 → [n, c] float32, columns as
        `constituent.classes`."""
        scores = self.scores(constituent, backbone, group)(pictures)
        return functional.softmax(scores, dim=1).cpu().numpy()


def placed(constituent: Constituent, names: Sequence[str], device: torch.device) -> list[Tensor]:
    """Some of a constituent's tensors, on a device."""
    return [torch.from_numpy(constituent.tensors[name]).to(device) for name in names]
