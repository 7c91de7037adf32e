"""How constituents answer together: the section `aggregation`."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from lmeraser_ray.config.section import Positive, Section, kind_or


class NearestConfig(Section):
    """Prediction by the nearest prototypes."""

    kind: Literal["nearest"] = "nearest"
    shards: Positive = 3
    """The probabilities of this many nearest shards are averaged; 1 is the paper's."""
    temperature: Annotated[float, Field(gt=0)] | None = 0.15
    """Weigh shard i by exp(-(d²ᵢ / d²₁ - 1) / temperature), d₁ being the distance of the nearest;
    None is the plain mean."""


class AllConfig(Section):
    """Every shard answers every query, as in SISA (Bourtoule et al., 2021)."""

    kind: Literal["all"] = "all"
    combine: Literal["mean", "vote"] = "mean"
    """mean: of the probabilities; vote: each shard has one vote, for its most probable class."""


class HashConfig(Section):
    """A keyed hash of the query's pixels chooses the one shard that answers: the routing of the
    paper's random partition."""

    kind: Literal["hash"] = "hash"


Aggregation = Annotated[
    Annotated[NearestConfig, Tag("nearest")]
    | Annotated[AllConfig, Tag("all")]
    | Annotated[HashConfig, Tag("hash")],
    Discriminator(kind_or("nearest")),
]
