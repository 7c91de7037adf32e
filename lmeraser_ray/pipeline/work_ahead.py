"""How long work would take in this process, predicted before it begins.

    features, trainings or answers ─► passes ─► bounds by the backbone, and pace.json ─► seconds

Place in the flow: the stages announce their work (`Engine.choose`), and `EngineByWork` asks here.
A prediction decides who works, and never what comes of it. The bounds are above what one core of a
Zen 3 (AVX2) takes with one thread in the slowest of several cases (`python -m benchmarks.bounds`);
where the workspace's own pace is slower, that counts. A backbone that was not measured has no
bound, and only the pace is known: as many processes as there are cores may have made it, so one
process is taken to be as much slower.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmeraser_ray.config import Config, PictureSgdConfig, RidgeConfig, SgdConfig, WholeModelConfig
from lmeraser_ray.config.learner import LearnerConfig
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.models.learners.passes import stage_passes, stage_share
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.pace import Pace
from lmeraser_ray.pipeline.plan import Build

FORWARD_US = {"tf_efficientnet_lite0": 0.7, "tiny": 0.07}
"""Microseconds for each pixel of the backbone's input: of a feature, or an answer to a picture."""
DESCENT_US = {"tf_efficientnet_lite0": 1.4, "tiny": 0.4}
"""Microseconds for each such pixel: of a prompt's record pass through the backbone and back."""
WHOLE = 1.8
"""As many times more where the whole model is trained."""
PICTURE_US = 80.0
"""Microseconds of a picture's decoding, however small it is."""
DECODE_NS = 40.0
"""Nanoseconds for each byte of an encoded picture."""
ROW_US = 30.0
"""Microseconds of a record pass on stored features, or an answer to one."""
SOLVE_MS = 4.0
"""Milliseconds of a training in closed form, however small the shard is."""
PRODUCT_PS = 80.0
"""Picoseconds for each product of ridge: (m + d) · d² of m records and d features, or (m + d) ·
min(m, d)² where the smaller matrix is solved."""


@dataclass(frozen=True)
class WorkAhead:
    """What comes next. what: in a word; index: of the live records; builds: what is trained;
    pictures: how many go forward through the backbone, nbytes: their encoded bytes; rows: how many
    answers are given to stored features."""

    what: str
    index: RecordIndex
    builds: Sequence[Build] = ()
    pictures: int = 0
    nbytes: int = 0
    rows: int = 0


def learner_of(config: Config, build: Build) -> LearnerConfig:
    """The section of the learner that trains a constituent."""
    return config.members[build.spec.member].learner


def training_passes(config: Config, index: RecordIndex, build: Build) -> int:
    """The record passes of a training from its first missing stage on."""
    learner, started = learner_of(config, build), build.spec.start is not None
    count = stage_passes(learner, stage_share(learner, started=started))
    seen, passes = np.empty(0, np.int64), 0
    for stage, rows in enumerate(build.spec.slices):
        seen = np.concatenate([seen, rows])
        if stage >= build.first:
            several = len(np.unique(index.codes[seen])) > 1
            passes += int(count(np.array(len(seen)), np.array(several)))
    return passes


def cores() -> int:
    """How many processes can work side by side here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def seconds_here(ahead: WorkAhead, config: Config, card: BackboneCard, pace: Pace) -> float | None:
    """The seconds that this process would need; None where nothing is known."""
    passes = [
        training_passes(config, ahead.index, build)
        if isinstance(learner_of(config, build), SgdConfig)
        else build.passes
        for build in ahead.builds
    ]
    known, bound = pace.seconds(sum(passes), ahead.pictures), bound_of(ahead, config, card, passes)
    if bound is not None:
        return max(bound, known or 0.0)
    return None if known is None else known * cores()


def bound_of(
    ahead: WorkAhead, config: Config, card: BackboneCard, passes: Sequence[int]
) -> float | None:
    """The seconds by the bounds; None for a backbone that has none. passes: of each training."""
    name, pixels = config.backbone.name, card.spec.input_size**2
    forward, descents = ahead.pictures * pixels, 0.0
    found = ahead.nbytes * DECODE_NS / 1e9
    found += (ahead.pictures * PICTURE_US + ahead.rows * ROW_US) / 1e6
    for build, count in zip(ahead.builds, passes, strict=True):
        learner = learner_of(config, build)
        if isinstance(learner, PictureSgdConfig):
            descents += count * pixels * (WHOLE if isinstance(learner, WholeModelConfig) else 1)
        else:
            found += count * ROW_US / 1e6
        if isinstance(learner, RidgeConfig):
            found += products(learner, build, card.dimension) * PRODUCT_PS / 1e12 + SOLVE_MS / 1e3
    for work, bounds in ((forward, FORWARD_US), (descents, DESCENT_US)):
        if work and name not in bounds:
            return None
        found += work * bounds.get(name, 0.0) / 1e6
    return found


def products(learner: RidgeConfig, build: Build, dimension: int) -> int:
    """The products of a ridge regression."""
    members, side = sum(map(len, build.spec.slices)), learner.projection or dimension
    smaller = side if learner.solve == "gram" else min(members, side)
    return (build.passes + side) * smaller**2
