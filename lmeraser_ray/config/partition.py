"""How records are divided into shards: the section `partition`, one class a kind."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from lmeraser_ray.config.section import EXECUTION, Positive, Section, kind_or


class ClusteringConfig(Section):
    """Hierarchical clustering of a sample (Algorithm 2 of the paper) and the prototypes of its
    clusters."""

    sample_size: Annotated[int, Field(ge=1, le=20_000)] = 1000
    """Records that are clustered: those with the smallest keyed hashes of their ids."""
    linkage: Literal["average", "ward", "complete", "single"] = "ward"
    threshold: Annotated[float, Field(gt=0)] | None = None
    """Cut where clusters are further apart than this (the paper's t)."""
    shards: Positive | None = 40
    """Or cut into this many clusters at most. One of the two is set."""
    prototype: Literal["mean", "medoid"] = "mean"

    @model_validator(mode="after")
    def _one_cut(self) -> "ClusteringConfig":
        if (self.threshold is None) == (self.shards is None):
            raise ValueError(
                "set one of partition.threshold and partition.shards (the other one null)"
            )
        return self


class AdaptiveConfig(ClusteringConfig):
    """Algorithms 1 and 2 of the paper: hierarchical clustering of a sample of the records, all
    others to the nearest prototype."""

    kind: Literal["adaptive"] = "adaptive"


class PublicConfig(ClusteringConfig):
    """Prototypes from public pictures: every record goes to the nearest, no record moves one, and
    no deletion re-clusters."""

    kind: Literal["public"] = "public"
    path: Annotated[Path | None, EXECUTION] = None
    """The public pictures: a folder of them at any depth, or Parquet. What counts is their content;
    needed by `train` alone."""

    @model_validator(mode="after")
    def _path(self) -> "PublicConfig":
        if self.path is None:
            raise ValueError(
                "partition.path is missing: with partition.kind public, give a folder or Parquet "
                "file of public pictures"
            )
        return self


class RandomConfig(Section):
    """A keyed hash of the record's id chooses its shard, as in SISA and the paper's random
    partition. One shard: no partition at all."""

    kind: Literal["random"] = "random"
    shards: Positive = 20


Partition = Annotated[
    Annotated[AdaptiveConfig, Tag("adaptive")]
    | Annotated[PublicConfig, Tag("public")]
    | Annotated[RandomConfig, Tag("random")],
    Discriminator(kind_or("adaptive")),
]
