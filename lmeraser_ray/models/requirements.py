"""What a configuration asks of its backbone, this machine and its labels, checked before the work.

    configuration + loaded backbone → check_requirements → ingest → check_labels → features → …

Place in the flow: `pipeline.flow.load_inputs` calls `check_requirements` before any record is read
and before anything is written; every caller then calls `check_labels` with the records it read,
before features are computed. Each learner has a `check` of its own (`learners/base.py`). What the
configuration alone can decide is refused by its validators (`config/`).

Invariant: a check depends on the configuration, the backbone and, for labels, on the set of all
training labels. So a deletion, which only takes labels away, can never come to be refused.
"""

from collections.abc import Collection

import torch

from lmeraser_ray.config import Config, PictureSgdConfig
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.learners.registry import make_learners
from lmeraser_ray.models.numerics import choose_device


def check_requirements(config: Config, backbone: Backbone) -> None:
    """Refuse what this configuration cannot do with this backbone. Errors: `ConfigError`."""
    check_device(config)
    check_features(backbone)
    for learner in make_learners(config):
        learner.check(backbone)


def check_device(config: Config) -> None:
    """Refuse a device or an arithmetic that this process lacks, where the work is done in this
    process; the workers of a cluster may have what this machine lacks. Errors: `ConfigError`."""
    if config.execution.engine != "inline":
        return
    device = choose_device(config.execution.device)
    half = any(
        isinstance(member.learner, PictureSgdConfig) and member.learner.dtype == "bfloat16"
        for member in config.members
    )
    if half and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ConfigError(
            "learner.dtype is bfloat16, which this GPU does not support: set float32, or "
            "execution.device cpu."
        )


def check_features(backbone: Backbone) -> None:
    """Refuse a backbone whose feature of a black picture is not finite: no partition and no learner
    can use it. Errors: `ConfigError`."""
    size = backbone.spec.input_size
    with torch.no_grad():
        found = backbone.read(backbone.normalize(torch.zeros(1, 3, size, size, dtype=torch.uint8)))
    if not found.isfinite().all():
        raise ConfigError(
            "The backbone's feature of a black picture is not finite: check backbone.weights, or "
            "choose another backbone.readout."
        )


def check_labels(labels: Collection[str], backbone: Backbone) -> None:
    """Refuse more training labels than the backbone's classifier has classes, where labels are
    mapped to classes one to one (the backbone was loaded with its classifier). Errors:
    `ConfigError`."""
    if backbone.classifier is None:
        return
    if len(labels) > backbone.source_classes:
        raise ConfigError(
            f"The backbone's classifier has {backbone.source_classes} classes, the training "
            f"records have {len(labels)} labels: label mapping needs at least as many classes; "
            "use another backbone or learner.kind prompt_head."
        )
