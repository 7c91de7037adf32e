"""The whole configuration: what the sections are, and what no single section can check.

Place in the flow: first; every command begins with a `Config`. Invariants: frozen; `identity()`
holds exactly the fields that decide bytes; a combination of sections that can never work is
refused here, and what depends on the backbone in `models/requirements`.
"""

from typing import Annotated

from pydantic import Field, model_validator

from lmeraser_ray.config.aggregation import Aggregation, NearestConfig
from lmeraser_ray.config.backbone import BackboneConfig
from lmeraser_ray.config.data import DataConfig
from lmeraser_ray.config.execution import ExecutionConfig
from lmeraser_ray.config.learner import Learner, PromptHeadConfig, SharedHeadConfig
from lmeraser_ray.config.partition import AdaptiveConfig, Partition, RandomConfig
from lmeraser_ray.config.queue import QueueConfig
from lmeraser_ray.config.section import EXECUTION, Section
from lmeraser_ray.config.sweep import SweepConfig


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
