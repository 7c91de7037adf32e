"""What a process imports that loads the embedded backbone, computes features and trains."""

import subprocess
import sys

WORK = """
import sys

import numpy as np
import torch

from lmeraser_ray.config import options
from lmeraser_ray.models.backbone import load_backbone
from lmeraser_ray.models.learners.base import ShardData
from lmeraser_ray.models.learners.registry import make_learners
from lmeraser_ray.models.numerics import make_deterministic

make_deterministic()
small = [("backbone.input_size", "32"), ("learner.epochs", "1"), ("learner.optimizer", sys.argv[1])]
config = options.load_config(None, small)
backbone = load_backbone(config.backbone, torch.device("cpu"))
pictures = np.zeros((2, 3, 32, 32), np.uint8)
backbone.features(pictures)
(learner,) = make_learners(config)
learner.train(ShardData("5a" * 32, pictures, ("a", "b")), backbone)
print(*(name for name in sys.argv[2:] if name in sys.modules))
"""
HEAVY = ("timm", "torchvision", "torch._dynamo", "torch._inductor", "sympy", "triton", "scipy")
"""Seconds each, or together, and nothing that features and training use."""


def imported(optimizer: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", WORK, optimizer, *HEAVY, "torch"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()


def test_features_and_training_load_neither_timm_nor_a_compiler() -> None:
    """`torch` is there, so that the names are those of modules."""
    assert imported("adamw") == ["torch"]
    assert imported("sgd") == ["torch"]
