"""Backbones for tests: the tiny convnet, and random timm models that are made once."""

import functools

import numpy as np
import torch

from lmeraser_ray.config import BackboneConfig
from lmeraser_ray.models.backbone import Backbone, load_backbone

CPU = torch.device("cpu")
TINY = {
    "name": "tiny",
    "weights": "random",
    "input_size": 16,
    "batch": 2,
    "readout": {"layer": None, "pool": "mean"},
}
SMALL = {"input_size": 32, "batch": 2}


def load(*, classifier: bool = False, **fields: object) -> Backbone:
    return load_backbone(BackboneConfig.model_validate(fields), CPU, classifier=classifier)


def tiny(*, classifier: bool = False, **fields: object) -> Backbone:
    return load(classifier=classifier, **{**TINY, **fields})


def pixels(n: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 3, size, size), dtype=np.uint8)


@functools.cache
def loaded(name: str, size: int) -> Backbone:
    """A random model, made once: a Swin has 110 MB of weights to draw and to digest."""
    return load(name=name, weights="random", input_size=size, batch=1)
