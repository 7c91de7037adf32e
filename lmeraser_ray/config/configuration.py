"""The whole configuration: what the sections are, and what no single section can check.

Place in the flow: first; every command begins with a `Config`. Invariants: frozen; `identity()`
holds exactly the fields that decide bytes; a combination of sections that can never work is
refused here, and what depends on the backbone in `models/requirements`.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, model_validator

from lmeraser_ray.config.aggregation import Aggregation, BlendConfig, NearestConfig
from lmeraser_ray.config.backbone import BackboneConfig
from lmeraser_ray.config.data import DataConfig
from lmeraser_ray.config.execution import ExecutionConfig
from lmeraser_ray.config.learner import (
    Learner,
    PromptHeadConfig,
    SharedHeadConfig,
    WholeModelConfig,
)
from lmeraser_ray.config.partition import AdaptiveConfig, Partition, RandomConfig
from lmeraser_ray.config.queue import QueueConfig
from lmeraser_ray.config.section import EXECUTION, Section
from lmeraser_ray.config.serve import ServeConfig
from lmeraser_ray.config.sweep import SweepConfig

MOST_SHARDS = 1 << 20
"""Of one system: the shards of the next one in a blend are numbered from here on."""


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
    serve: Annotated[ServeConfig, EXECUTION] = ServeConfig()
    sweep: Annotated[SweepConfig, EXECUTION] = SweepConfig()

    @model_validator(mode="after")
    def _fits(self) -> "Config":
        for member in self.members:
            refuse_misfit(member)
        if self.backbone.fold and self.trains_backbone:
            raise ValueError(
                "learner.kind whole_model trains the backbone's batch norms, which backbone.fold "
                "true leaves none of: set it to false, or to null"
            )
        if self.wants_permanent and not (self.data.permanent or self.data.permanent_column):
            raise ValueError(
                "partition.sampled or learner.start is permanent, and nothing says which records "
                "are: set data.permanent or data.permanent_column"
            )
        return self

    @property
    def wants_permanent(self) -> bool:
        """Whether a system needs permanent records."""
        return any(
            member.learner.starts_together
            or (
                isinstance(member.partition, AdaptiveConfig)
                and member.partition.sampled == "permanent"
            )
            for member in self.members
        )

    def identity(self) -> dict[str, Any]:
        """As `Section.identity`, `backbone.fold` decided."""
        return super(Config, self.with_fold()).identity()

    @property
    def trains_backbone(self) -> bool:
        """Whether a system trains the backbone's own weights."""
        return any(isinstance(member.learner, WholeModelConfig) for member in self.members)

    @property
    def members(self) -> tuple["Config", ...]:
        """The systems whose answers are blended, each as a configuration of its own; for any other
        aggregation the configuration itself."""
        blend = self.aggregation
        if not isinstance(blend, BlendConfig):
            return (self,)
        first = self.model_copy(update={"aggregation": blend.first})
        rest = (
            {name: getattr(other, name) for name in ("partition", "learner", "aggregation")}
            for other in blend.others
        )
        return (first, *(self.model_copy(update=sections) for sections in rest))

    @property
    def weights(self) -> tuple[float, ...]:
        """The weight of each member's answers."""
        blend = self.aggregation
        if not isinstance(blend, BlendConfig):
            return (1.0,)
        return (blend.weight, *(other.weight for other in blend.others))

    def with_fold(self, kept: bool | None = None) -> "Config":
        """The configuration with `backbone.fold` decided, where it is not set. kept: a workspace's
        value; None where there is none yet."""
        if self.backbone.fold is not None:
            return self
        fold = not self.trains_backbone if kept is None else kept
        backbone = self.backbone.model_copy(update={"fold": fold})
        return self.model_copy(update={"backbone": backbone})

    def undecided(self) -> "Config":
        """The configuration as another system may take it: without what `with_fold` decided, which
        is decided anew by what that system trains. A workspace that folds nothing, although it
        could, keeps that."""
        if self.backbone.fold is self.trains_backbone:
            return self
        backbone = self.backbone.model_copy(update={"fold": None})
        return self.model_copy(update={"backbone": backbone})

    def with_partitions(self, partitions: Sequence[Partition]) -> "Config":
        """The configuration with the partition of each member replaced."""
        if list(partitions) == [member.partition for member in self.members]:
            return self
        changed: dict[str, object] = {"partition": partitions[0]}
        if isinstance(self.aggregation, BlendConfig):
            pairs = zip(self.aggregation.others, partitions[1:], strict=True)
            others = tuple(one.model_copy(update={"partition": new}) for one, new in pairs)
            changed["aggregation"] = self.aggregation.model_copy(update={"others": others})
        return self.model_copy(update=changed)


def refuse_misfit(member: Config) -> None:
    """Errors: `ValueError` where the sections of one system cannot work together."""
    if isinstance(member.aggregation, NearestConfig) and isinstance(member.partition, RandomConfig):
        raise ValueError(  # noqa: TRY004 - pydantic knows this one
            "a random partition has no prototypes to be near: set aggregation.kind to all or "
            "hash (of a blend's first system: aggregation.own)"
        )
    if (member.partition.shards or 1) > MOST_SHARDS:
        raise ValueError(
            f"partition.shards is {member.partition.shards}, expected at most {MOST_SHARDS}"
        )
    if isinstance(member.learner, SharedHeadConfig) and member.learner.slices > 1:
        raise ValueError(
            "learner.slices is for shards that train by themselves: with a shared head set it to 1"
        )
