"""The configuration: a system is a choice of partition, learner and aggregation over data and a
backbone.

*Identity* decides what bytes come out and enters the keys. *Execution* (where the data lies,
workers, devices, GPU fractions) must not change a bit; such a field is marked `EXECUTION`, and
`tests/distributed/test_execution.py` holds the list. The backbone's name and checkpoint are where
its weights come from: its identity is the digest of the weights themselves (`backbone.py`).
"""

from typing import Annotated

from pydantic import Field, model_validator

from lmeraser_ray.config.aggregation import Aggregation, AllConfig, HashConfig, NearestConfig
from lmeraser_ray.config.backbone import BackboneConfig, ReadoutConfig
from lmeraser_ray.config.data import DataConfig
from lmeraser_ray.config.execution import ExecutionConfig
from lmeraser_ray.config.learner import (
    ClassMeansConfig,
    ClosedFormConfig,
    LabelMappingConfig,
    Learner,
    LearnerConfig,
    LinearProbeConfig,
    NeighborsConfig,
    PictureSgdConfig,
    PromptConfig,
    PromptHeadConfig,
    RidgeConfig,
    SgdConfig,
    SharedHeadConfig,
    WholeModelConfig,
)
from lmeraser_ray.config.partition import (
    AdaptiveConfig,
    ClusteringConfig,
    Partition,
    PublicConfig,
    RandomConfig,
)
from lmeraser_ray.config.queue import QueueConfig
from lmeraser_ray.config.section import EXECUTION, Fraction, Positive, Section
from lmeraser_ray.config.sweep import SweepConfig

__all__ = [
    "EXECUTION",
    "AdaptiveConfig",
    "Aggregation",
    "AllConfig",
    "BackboneConfig",
    "ClassMeansConfig",
    "ClosedFormConfig",
    "ClusteringConfig",
    "Config",
    "DataConfig",
    "ExecutionConfig",
    "Fraction",
    "HashConfig",
    "LabelMappingConfig",
    "Learner",
    "LearnerConfig",
    "LinearProbeConfig",
    "NearestConfig",
    "NeighborsConfig",
    "Partition",
    "PictureSgdConfig",
    "Positive",
    "PromptConfig",
    "PromptHeadConfig",
    "PublicConfig",
    "QueueConfig",
    "RandomConfig",
    "ReadoutConfig",
    "RidgeConfig",
    "Section",
    "SgdConfig",
    "SharedHeadConfig",
    "SweepConfig",
    "WholeModelConfig",
]


class Config(Section):
    """Everything that a run needs to know."""

    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0  # what canonical JSON can hold
    """Keys the split, the buckets, the sample and, through the shard keys, all training."""
    data: DataConfig = DataConfig()
    backbone: BackboneConfig = BackboneConfig()
    partition: Partition = AdaptiveConfig()
    learner: Learner = PromptHeadConfig()
    aggregation: Aggregation = NearestConfig()
    execution: Annotated[ExecutionConfig, EXECUTION] = ExecutionConfig()
    queue: Annotated[QueueConfig, EXECUTION] = QueueConfig()
    sweep: Annotated[SweepConfig, EXECUTION] = SweepConfig()

    @model_validator(mode="after")
    def _fits(self) -> "Config":
        if isinstance(self.aggregation, NearestConfig) and isinstance(self.partition, RandomConfig):
            raise ValueError(  # noqa: TRY004 - pydantic knows this one
                "a random partition has no prototypes to be near: set aggregation.kind to all or "
                "hash"
            )
        if isinstance(self.learner, SharedHeadConfig) and self.learner.slices > 1:
            raise ValueError(
                "learner.slices is for shards that train by themselves: with a shared head set "
                "it to 1"
            )
        return self
