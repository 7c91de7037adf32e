"""The linear probe: a linear head on the stored features, by SGD; no backbone runs in training.

minimise over head h:   Σ over the shard's (feature z, label y) of cross_entropy(h(z), y)
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lmeraser_ray.config import LinearProbeConfig
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.learners.base import (
    UNWATCHED,
    WHOLE,
    Features,
    Probabilities,
    ShardData,
    Stage,
    Watch,
)
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.head import Head
from lmeraser_ray.models.learners.sgd import descend, frozen, generator_of, targets_of

RECIPE = 1
"""Raised whenever a change to the code changes the bits of a constituent."""
CPU = torch.device("cpu")


class LinearProbe:
    """A head alone, on features as they were stored."""

    needs: Literal["features"] = "features"
    joint = False
    subtracts = False
    needs_classifier = False

    def __init__(self, config: LinearProbeConfig) -> None:
        self.config = config

    def identity(self) -> dict[str, object]:
        """What enters a shard's key besides its records and the backbone."""
        return {**self.config.identity(), "recipe": RECIPE}

    def check(self, backbone: Backbone) -> None:
        """Any finite features will do."""

    def train(
        self, shard: ShardData, *, stage: Stage = WHOLE, watch: Watch = UNWATCHED
    ) -> Constituent:
        """Train one stage of one shard."""
        features, targets = (
            torch.from_numpy(np.asarray(shard.inputs, np.float32)),
            targets_of(shard, CPU),
        )
        head = Head(features.shape[1], shard.classes, stage.start, CPU)

        def loss(rows: Tensor) -> Tensor:
            return functional.cross_entropy(head(features[rows]), targets[rows])

        def snapshot() -> Constituent:
            return frozen(
                shard.classes, {"weight": head.weight, "bias": head.bias}, self.config.kind
            )

        if len(shard.classes) > 1:
            descend(
                self.config,
                [(list(head.parameters()), self.config.head_lr)],
                loss,
                records=len(features),
                generator=generator_of(shard),
                stage=stage,
                watch=watch,
                snapshot=snapshot,
            )
        return snapshot()

    @torch.no_grad()
    def answer(
        self, constituent: Constituent, features: Features, *, group: int = 0
    ) -> Probabilities:
        """Class probabilities. features: [n, d] float32 → [n, c] float32, columns as
        `constituent.classes`."""
        weight, bias = (torch.from_numpy(constituent.tensors[name]) for name in ("weight", "bias"))
        return functional.softmax(
            functional.linear(torch.from_numpy(features), weight, bias), dim=1
        ).numpy()
