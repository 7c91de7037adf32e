"""How many record passes the training of a stage takes, known before anything is trained.

    records that the stage sees, whether they are of several classes → record passes

A record pass is one record seen once by a step of the learner, or by its statistics. Place in the
flow: `sgd.descend` takes its steps from here; `models/partition/chains.py` and `cost` count with
it. Invariant: the numbers are those that a training reports (`pipeline.jobs.Trained.passes`). Not
counted are the passes forward by which a head or a mapping begins.

>>> from lmeraser_ray.config import LinearProbeConfig
>>> stage_passes(LinearProbeConfig(epochs=10))(np.array([30, 30]), np.array([True, False]))
array([300,   0])
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import LabelMappingConfig, PromptHeadConfig, SgdConfig
from lmeraser_ray.config.learner import LearnerConfig

Counts = NDArray[np.int64]
StagePasses = Callable[[Counts, NDArray[np.bool_]], Counts]
"""From how many records stages see, and whether they are of several classes, to record passes; all
of one shape."""


def epoch_share(slices: int) -> float:
    """The share of the epochs that each of R stages has, 2 / (R + 1): with equal slices all stages
    together see as many records as one training without slices."""
    return 2 / (slices + 1)


def stage_share(learner: LearnerConfig, *, started: bool) -> float:
    """The share of the epochs that each stage of a shard has. started: whether there is a common
    start that the learner goes on from."""
    share = epoch_share(learner.slices)
    if isinstance(learner, PromptHeadConfig) and learner.starts_together and started:
        return share * learner.share
    return share


def steps_of(config: SgdConfig, share: float, records: Counts) -> Counts:
    """The steps of stages that see so many records each: max(1, round(epochs · share · ⌈n /
    batch⌉)). share: of the configured epochs."""
    per_epoch = -(-records // config.batch)
    found: Counts = np.maximum(1, np.rint(config.epochs * share * per_epoch)).astype(np.int64)
    return found


def every_record(records: Counts, several: NDArray[np.bool_]) -> Counts:  # noqa: ARG001 - one class counts too
    """The record passes of a closed form: each record once, whatever its class."""
    return records


def stage_passes(learner: LearnerConfig, share: float | None = None) -> StagePasses:
    """The record passes of the stages of a configured learner, the section `learner`. share: of the
    epochs, for each stage; None is that of slices."""
    if not isinstance(learner, SgdConfig):
        return every_record
    idle = isinstance(learner, LabelMappingConfig) and learner.prompt.width == 0

    def passes(records: Counts, several: NDArray[np.bool_]) -> Counts:
        per_epoch = np.maximum(1, -(-records // learner.batch))
        epochs, left = np.divmod(
            steps_of(learner, share or epoch_share(learner.slices), records), per_epoch
        )  # of an epoch that is not finished all batches are full: the last one is what is left out
        trained = several & (records > 0) & (not idle)
        return np.where(trained, epochs * records + left * learner.batch, 0)

    return passes
