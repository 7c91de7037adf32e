"""The learners by gradient descent, each in a configuration in which everything random in it is
used, and a tiny backbone and shards to train them on."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lmeraser_ray.config import (
    BackboneConfig,
    LabelMappingConfig,
    LinearProbeConfig,
    PromptHeadConfig,
    ReadoutConfig,
    SgdConfig,
    SharedHeadConfig,
    WholeModelConfig,
)
from lmeraser_ray.models.backbone import Backbone, load_backbone
from lmeraser_ray.models.learners.base import UNWATCHED, WHOLE, Learner, ShardData, Stage, Watch
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.label_mapping import LabelMapping
from lmeraser_ray.models.learners.linear_probe import LinearProbe
from lmeraser_ray.models.learners.prompt_head import PromptHead
from lmeraser_ray.models.learners.shared_head import SharedHead
from lmeraser_ray.models.learners.whole_model import WholeModel
from lmeraser_ray.models.numerics import one_thread

CPU = torch.device("cpu")
SIZE = 16
KEY = "5a" * 32
PATCH = {"kind": "random_patch", "width": 5, "init": "random"}


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    """The tests' convnet with its classifier of ten classes."""
    config = BackboneConfig(
        name="tiny",
        weights="random",
        input_size=SIZE,
        batch=4,
        readout=ReadoutConfig(layer=None, pool="mean"),
    )
    return load_backbone(config, CPU, classifier=True)


@pytest.fixture(autouse=True)
def one_torch_thread() -> Iterator[None]:
    with one_thread():
        yield


@dataclass(frozen=True)
class Case:
    """A learner under test: how it is made, the fields in which everything random in it is used,
    and its learning rates."""

    learner: Callable[[SgdConfig], Learner]
    config: type[SgdConfig]
    fields: Mapping[str, object]
    rates: tuple[str, ...]

    def make(self, **changes: object) -> Learner:
        return self.learner(
            self.config.model_validate({"epochs": 4, "batch": 5, **self.fields, **changes})
        )

    def still(self) -> dict[str, object]:
        """The changes under which nothing moves."""
        prompt = {"prompt": {**self.fields["prompt"], "lr": 0}} if "prompt" in self.fields else {}  # type: ignore[dict-item]
        return {**dict.fromkeys(self.rates, 0), **prompt}


AUGMENT = {"crop": 2, "flip": True}
FRAME = {"width": 2, "init": "random"}
CASES = {
    "prompt_head": Case(PromptHead, PromptHeadConfig, {**AUGMENT, "prompt": FRAME}, ("head_lr",)),  # type: ignore[arg-type]
    "prompt_head, random patch": Case(
        PromptHead, PromptHeadConfig, {**AUGMENT, "prompt": PATCH}, ("head_lr",)
    ),  # type: ignore[arg-type]
    "shared_head": Case(SharedHead, SharedHeadConfig, {**AUGMENT, "prompt": FRAME}, ("head_lr",)),  # type: ignore[arg-type]
    "shared_head, random patch": Case(
        SharedHead, SharedHeadConfig, {**AUGMENT, "prompt": PATCH}, ("head_lr",)
    ),  # type: ignore[arg-type]
    "label_mapping": Case(LabelMapping, LabelMappingConfig, {**AUGMENT, "prompt": FRAME}, ()),  # type: ignore[arg-type]
    "label_mapping, random patch": Case(
        LabelMapping, LabelMappingConfig, {**AUGMENT, "prompt": PATCH}, ()
    ),  # type: ignore[arg-type]
    "whole_model": Case(WholeModel, WholeModelConfig, AUGMENT, ("lr", "head_lr")),  # type: ignore[arg-type]
    "linear_probe": Case(LinearProbe, LinearProbeConfig, {}, ("head_lr",)),  # type: ignore[arg-type]
}
IN_STAGES = [name for name in CASES if not name.startswith("shared_head")]


def pixels(labels: list[int], seed: int = 0) -> NDArray[np.uint8]:
    """Noisy pictures, the brighter the higher their label [n, 3, s, s]."""
    noise = np.random.default_rng(seed).normal(
        [[[[60 + 60 * k]]] for k in labels], 30, (len(labels), 3, SIZE, SIZE)
    )
    return np.clip(noise, 0, 255).astype(np.uint8)


def seen_by(
    learner: Learner, backbone: Backbone, pictures: NDArray[np.uint8]
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Pictures as the learner needs them."""
    if learner.needs == "pictures":
        return pictures
    return np.concatenate(
        [
            backbone.features(pictures[at : at + backbone.batch])
            for at in range(0, len(pictures), backbone.batch)
        ]
    )


def shard(
    learner: Learner,
    backbone: Backbone,
    n: int = 12,
    classes: int = 3,
    key: str = KEY,
    seed: int = 0,
) -> ShardData:
    """n records; two shards for a joint learner."""
    labels = [i % classes for i in range(n)]
    groups = np.arange(n, dtype=np.int32) // 2 % 2 if learner.joint else None
    return ShardData(
        key,
        seen_by(learner, backbone, pixels(labels, seed)),
        tuple(f"c{k}" for k in labels),
        groups,
    )


def train(
    learner: Learner,
    backbone: Backbone,
    data: ShardData,
    stage: Stage = WHOLE,
    watch: Watch = UNWATCHED,
) -> Constituent:
    if learner.needs == "features":
        return learner.train(data, stage=stage, watch=watch)
    return learner.train(data, backbone, stage=stage, watch=watch)


def answer(
    learner: Learner, backbone: Backbone, found: Constituent, inputs: NDArray, group: int = 0
) -> NDArray[np.float32]:
    if learner.needs == "features":
        return learner.answer(found, inputs, group=group)
    return learner.answer(found, backbone, inputs, group=group)


def loss(learner: Learner, backbone: Backbone, found: Constituent, data: ShardData) -> float:
    """The cross-entropy of the shard, summed, from the constituent's answers."""
    groups = np.zeros(len(data.labels), np.int32) if data.groups is None else data.groups
    total = 0.0
    for i, label in enumerate(data.labels):
        [row] = answer(learner, backbone, found, data.inputs[[i]], int(groups[i]))
        total -= float(np.log(row[found.classes.index(label)]))
    return total
