"""How many shards suit records of which nobody has said it: where the configuration sets neither
`partition.shards` nor `partition.threshold`.

    n training records, c classes → shards of at least max(32, 8c) records → 1, 2, 5, 10, 20 or 40

Place in the flow: after the records are read, before the partition. Invariant: the number is chosen
once, by the training that begins a workspace, and written into the workspace's configuration and
manifest as if somebody had given it. Every later evaluation uses that number, so the law holds for
the configuration that the workspace keeps: compare an unlearning with a training of the other
records with that number. A number that followed the live records instead would obey the law too,
but one deletion would move all shards whenever it moved the number. Six steps, and not every number
between, so that the number tells little of how many records there were.

The unit of the partition is chosen in the same way: of a random partition the person, where the
records have subjects. Clusters keep the record: the mean feature of a person whose pictures differ
says little of any of them, and costs accuracy (docs/explanation/cost.md).
"""

from typing import Any

from lmeraser_ray.config import Config, Partition, RandomConfig
from lmeraser_ray.config.partition import is_unset
from lmeraser_ray.data.index import RecordIndex

RECORDS, PER_CLASS = 32, 8
"""Training records that a shard should have on average at least, and those of each class."""
STEPS = (1, 2, 5, 10, 20, 40)
FEW = 10
"""A constituent of fewer records says little: `train` warns of such shards."""


def shard_count(records: int, classes: int) -> int:
    """The number of shards for so many training records in so many classes.

    >>> shard_count(192, 2), shard_count(1437, 10), shard_count(50_000, 10), shard_count(5, 2)
    (5, 10, 40, 1)
    """
    most = records // max(RECORDS, PER_CLASS * classes)
    return max((step for step in STEPS if step <= most), default=1)


def with_shard_count(config: Config, index: RecordIndex) -> Config:
    """The configuration with a number of shards and a unit, chosen by the records where none is
    set."""
    count = shard_count(len(index.training), len(index.training_labels))
    return config.with_partitions(
        [
            _cut(_united(part, _unit(part, index)), {"shards": 1 if _grows(part) else count})
            for part in (member.partition for member in config.members)
        ]
    )


def with_kept_cut(config: Config, identity: dict[str, Any] | None) -> Config:
    """The configuration with the cut and the unit of a workspace that is trained already, where it
    sets none itself. identity: the workspace's; None where there is none yet."""
    whole = identity or {}
    others = whole.get("aggregation", {}).get("others", [])
    kept = [whole.get("partition", {}), *(other["partition"] for other in others)]
    kept += [{}] * len(config.members)
    return config.with_partitions(
        [
            _kept_cut(member.partition, cut)
            for member, cut in zip(config.members, kept, strict=False)
        ]
    )


def _kept_cut(partition: Partition, kept: dict[str, Any]) -> Partition:
    if kept.get("kind") != partition.kind:
        return partition
    partition = _united(partition, kept.get("unit", "record"))
    return _cut(partition, {name: kept[name] for name in ("shards", "threshold") if name in kept})


def _grows(partition: Partition) -> bool:
    """Whether a bound alone decides how many shards there are: of one cell, by keyed hash."""
    return isinstance(partition, RandomConfig) and partition.bound is not None


def _unit(partition: Partition, index: RecordIndex) -> str:
    return "subject" if isinstance(partition, RandomConfig) and index.has_subjects else "record"


def _united(partition: Partition, unit: str) -> Partition:
    """The partition with a unit, where it has none."""
    return partition if partition.unit else partition.model_copy(update={"unit": unit})


def _cut(partition: Partition, fields: dict[str, Any]) -> Partition:
    """The partition with a cut, where it has none."""
    return partition.model_copy(update=fields) if is_unset(partition) else partition
