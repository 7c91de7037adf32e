"""The quickstart: handwritten digits, an ImageNet backbone read at its fourth stage, 70 shards.
`--config quickstart` names it, `configs/quickstart.yaml` says the same.

Its values suit these digits; the defaults (`configuration`) are for data that nobody has seen."""

from typing import Any

from lmeraser_ray.config import Config

NAME = "quickstart"
"""What `--config` calls it."""
QUICKSTART: dict[str, Any] = {
    "data": {"source": "digits"},
    "backbone": {
        "name": "tf_efficientnet_lite0",
        "weights": "embedded",
        "input_size": 64,
        "readout": {"layer": 3, "pool": "flatten"},
    },
    "partition": {
        "kind": "adaptive",
        "linkage": "ward",
        "shards": 70,
        "sample_size": 150,
        "prototype": "medoid",
    },
    "learner": {
        "kind": "prompt_head",
        "prompt": {"width": 4, "lr": 0.05},
        "optimizer": "adamw",
        "head_lr": 0.001,
        "epochs": 10,
        "batch": 16,
    },
    "aggregation": {"kind": "nearest", "shards": 5, "temperature": 0.2},
}
"""What differs from the defaults, and what a reader wants to see."""


def quickstart() -> Config:
    """The quickstart as a configuration."""
    return Config.model_validate(QUICKSTART)
