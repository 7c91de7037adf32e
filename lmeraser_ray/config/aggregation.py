"""How constituents answer together: the section `aggregation`.

A blend is the weighted mean of several systems over the same records: `partition` and `learner` are
its first member's, `aggregation` has the others.
"""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from lmeraser_ray.config.learner import Learner, PromptHeadConfig
from lmeraser_ray.config.partition import AdaptiveConfig, Partition
from lmeraser_ray.config.section import Positive, Section, kind_or

Weight = Annotated[float, Field(gt=0)]
Temperature = Annotated[float, Field(gt=0)]


class NearestConfig(Section):
    """Prediction by the nearest prototypes."""

    kind: Literal["nearest"] = "nearest"
    shards: Positive = 3
    """The probabilities of this many nearest shards are averaged; 1 is the paper's."""
    temperature: Temperature | None = 0.15
    """Weigh shard i by exp(-(d²ᵢ / d²₁ - 1) / temperature), d₁ being the distance of the nearest;
    None is the plain mean."""


class AllConfig(Section):
    """Every shard answers every query, as in SISA (Bourtoule et al., 2021)."""

    kind: Literal["all"] = "all"
    combine: Literal["mean", "vote"] = "mean"
    """mean: of the probabilities; vote: each shard has one vote, for its most probable class."""


class HashConfig(Section):
    """A keyed hash of the query's pixels chooses the one shard that answers: the routing of the
    official code's random partition, on which the paper is silent."""

    kind: Literal["hash"] = "hash"


SystemAggregation = Annotated[
    Annotated[NearestConfig, Tag("nearest")]
    | Annotated[AllConfig, Tag("all")]
    | Annotated[HashConfig, Tag("hash")],
    Discriminator(kind_or("nearest")),
]
"""How the shards of one system answer."""


class MemberConfig(Section):
    """A system of a blend, with the weight of its answers."""

    partition: Partition = AdaptiveConfig()
    learner: Learner = PromptHeadConfig()
    aggregation: SystemAggregation = NearestConfig()
    weight: Weight = 1.0


class BlendConfig(Section):
    """The weighted mean of the answers of several systems, each with a partition, a learner and an
    aggregation of its own: the sections `partition` and `learner` are the first one's."""

    kind: Literal["blend"] = "blend"
    own: Literal["nearest", "all", "hash"] = "nearest"
    """How the shards of the first system answer."""
    shards: Positive = 3
    """own nearest: how many nearest shards answer."""
    temperature: Temperature | None = 0.15
    """own nearest: as of the kind nearest."""
    combine: Literal["mean", "vote"] = "mean"
    """own all: as of the kind all."""
    weight: Weight = 1.0
    """Of the first system's answers. Weights are divided by the sum of all."""
    others: tuple[MemberConfig, ...] = ()
    """The other systems: a list, each with the sections partition, learner and aggregation, and its
    weight."""

    @model_validator(mode="after")
    def _several(self) -> "BlendConfig":
        if not self.others:
            raise ValueError(
                "aggregation.others is missing: with aggregation.kind blend, list the other "
                "systems, each with partition, learner, aggregation and weight"
            )
        return self

    @property
    def first(self) -> NearestConfig | AllConfig | HashConfig:
        """How the shards of the first system answer."""
        if self.own == "nearest":
            return NearestConfig(shards=self.shards, temperature=self.temperature)
        return AllConfig(combine=self.combine) if self.own == "all" else HashConfig()


Aggregation = Annotated[
    Annotated[NearestConfig, Tag("nearest")]
    | Annotated[AllConfig, Tag("all")]
    | Annotated[HashConfig, Tag("hash")]
    | Annotated[BlendConfig, Tag("blend")],
    Discriminator(kind_or("nearest")),
]
