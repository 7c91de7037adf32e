"""How records are divided into shards: the section `partition`, one class a kind.

Where neither `shards` nor `threshold` is set, the training that begins a workspace chooses the
number of shards by how many records it read, and the workspace keeps the number
(`models/partition/shard_count.py`).
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from lmeraser_ray.config.section import EXECUTION, LATER, Positive, Section, kind_or


class PartitionConfig(Section):
    """What every partition has."""

    unit: Annotated[Literal["record", "subject"] | None, LATER] = None
    """What a shard has whole. subject: all training records of a person are in one shard, and in
    one slice, so that a person costs one shard. Where it is not set, the training that begins a
    workspace takes `subject` if its records have subjects and the kind is `random`, else `record`;
    the workspace keeps it."""
    bound: Annotated[Positive | None, LATER] = None
    """A shard with more records than this is divided by keyed hash, and so on, until no part has
    more; the parts of one shard answer as one. null: no bound."""

    def identity(self) -> dict[str, Any]:
        """As `Section.identity`; `record` is what workspaces without the field have."""
        found = super().identity()
        return {name: found[name] for name in found if (name, found[name]) != ("unit", "record")}


class ClusteringConfig(PartitionConfig):
    """Hierarchical clustering of a sample (Algorithm 2 of the paper) and the prototypes of its
    clusters."""

    sample_size: Annotated[int, Field(ge=1, le=20_000)] = 1000
    """Records that are clustered: those with the smallest keyed hashes of their ids."""
    linkage: Literal["average", "ward", "complete", "single"] = "ward"
    """What the distance of two clusters is; average: the mean over their pairs, as in the paper."""
    threshold: Annotated[float, Field(gt=0)] | None = None
    """Cut where clusters are further apart than this (the paper's t)."""
    shards: Positive | None = None
    """Or cut into this many clusters at most. Where neither is set, the training that begins a
    workspace takes a number that suits its records, and the workspace keeps it."""
    prototype: Literal["mean", "medoid"] = "mean"
    """mean: of a cluster's sampled features, as in the paper; medoid: the feature of the member
    that is nearest to that mean."""

    @model_validator(mode="after")
    def _one_cut(self) -> "ClusteringConfig":
        if self.threshold is not None and self.shards is not None:
            raise ValueError(
                "set one of partition.threshold and partition.shards (the other one null)"
            )
        return self


class AdaptiveConfig(ClusteringConfig):
    """Algorithms 1 and 2 of the paper: hierarchical clustering of a sample of the records, all
    others to the nearest prototype."""

    kind: Literal["adaptive"] = "adaptive"
    sampled: Annotated[Literal["all", "permanent"], LATER] = "all"
    """Whose records are clustered. permanent: only those that `data.permanent` or
    `data.permanent_column` names, so that nobody else's deletion or addition moves a border; of all
    records, once no permanent one is left."""


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


class RandomConfig(PartitionConfig):
    """A keyed hash of the id of the record, or of its subject, chooses its shard: at random, as in
    SISA and the paper's RndPart. One shard: no partition at all."""

    kind: Literal["random"] = "random"
    shards: Positive | None = None
    """Where it is not set, the training that begins a workspace takes a number that suits its
    records (1 where there is a bound, which divides it), and the workspace keeps it."""


def is_unset(partition: ClusteringConfig | RandomConfig) -> bool:
    """Whether the records are to decide how many shards there are."""
    threshold = partition.threshold if isinstance(partition, ClusteringConfig) else None
    return partition.shards is None and threshold is None


Partition = Annotated[
    Annotated[AdaptiveConfig, Tag("adaptive")]
    | Annotated[PublicConfig, Tag("public")]
    | Annotated[RandomConfig, Tag("random")],
    Discriminator(kind_or("adaptive")),
]
