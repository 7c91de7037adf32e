"""What forgetting one record costs in every system, computed exactly and without training anything.

    adaptive         an unsampled record changes its own shard; a sampled record re-clusters
                     (`recluster`)
    public, random   a record changes its own shard, whatever the others do
    slices           what changes is trained from the first changed stage on (`chains`)
    a joint learner  has seen every record: everything is trained again

Invariant: the numbers are those of a deletion that is carried out: of `PartitionStage`,
`constituent_specs` and `plan_constituents`.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import ClusteringConfig
from lmeraser_ray.models.partition.chains import Chains, Positions
from lmeraser_ray.models.partition.expected import DeletionCosts
from lmeraser_ray.models.partition.feature_rows import FeatureRows
from lmeraser_ray.models.partition.recluster import Advance, ClusteringState, Sample, recluster_each

__all__ = ["DeletionCosts", "deletion_costs", "fixed_costs"]


def fixed_costs(old: Chains, positions: Positions, *, joint: bool = False) -> DeletionCosts:
    """The cost of deleting each of `positions` [q] int64 by itself where no deletion moves another
    record.

    old: the shards of the n training records; joint: one constituent serves all of them.
    """
    sampled = np.zeros(len(positions), np.bool_)
    if not joint:
        return as_costs(old, positions, sampled, old.without(positions))
    emptied = old.seen[old.shard[positions], -1] == 1
    return _joint(old, positions, sampled, old.shards - emptied)


def deletion_costs(
    features: FeatureRows,
    old: Chains,
    order: Positions,
    config: ClusteringConfig,
    positions: Positions,
    *,
    joint: bool = False,
    progress: Advance = lambda _: None,
) -> DeletionCosts:
    """The cost of deleting each of `positions` [q] int64 by itself from an adaptive partition.

    features: of all n training records; order: the first `config.sample_size` + 1 of those that may
    be sampled, in the sample's order (all, where there are fewer), of which the last is not sampled
    and the next that would be; old and joint as in `fixed_costs`.
    `progress` is called with how many more deletions are done. Memory: 30 bytes a deletion and,
    where a sampled record is asked about, about 21 for each pair of sampled records (`linkage`
    copies the distances), 14 · BLOCK_BYTES at most, and about 20 for each re-clustering and sampled
    record.
    """
    n, size = len(old.shard), min(config.sample_size, len(order))
    by_position = np.argsort(order[:size])
    place = np.searchsorted(order[:size], positions, sorter=by_position)
    rank = by_position[np.minimum(place, size - 1)]
    sampled = order[rank] == positions
    if len(positions) == 0 or n == 1 or not sampled.any():
        progress(len(positions))
        unmoved = fixed_costs(old, positions, joint=joint and n > 1)
        return replace(unmoved, sampled=sampled)
    sample = Sample.take(features, order, config)
    leaving, back = np.unique(rank[sampled], return_inverse=True)
    progress(len(positions) - len(leaving))
    if joint:
        shards = np.full(len(positions), sample.clusters(None).max() + 1, np.int64)
        shards[sampled] = _clusters_without(sample, leaving, progress)[back]
        return _joint(old, positions, sampled, shards)
    state = ClusteringState.fit(sample, old)
    costs = np.zeros((4, len(positions)), np.int64)
    costs[:, ~sampled] = state.chains.without(positions[~sampled])
    costs[:, sampled] = recluster_each(features, state, leaving, progress)[:, back]
    return as_costs(old, positions, sampled, costs)


def as_costs(
    old: Chains, positions: Positions, sampled: NDArray[np.bool_], costs: Positions
) -> DeletionCosts:
    """old: the shards of the training records; costs: members, passes, touched and total [4, q]
    int64, without the feature passes of a training."""
    members, passes, touched, total = costs
    read, n = old.read(members, passes), len(old.shard)
    touched = touched.astype(np.int32)
    return DeletionCosts(n, positions, sampled, members, read, passes, touched, total + n - 1)


def _joint(
    old: Chains, positions: Positions, sampled: NDArray[np.bool_], shards: Positions
) -> DeletionCosts:
    """Everything is trained again. shards: [q] int64, how many there are after each deletion."""
    n = len(old.shard)
    together = Chains.of(np.zeros(n, np.int32), None, old.classes, old.passes).without(positions)
    everything = np.full(len(positions), n - 1, np.int64)
    costs = np.stack([everything, together[1], shards, together[1]])
    return as_costs(old, positions, sampled, costs)


def _clusters_without(sample: Sample, leaving: Positions, progress: Advance) -> Positions:
    """How many clusters there are, each with a sampled record, once each of `leaving` [q] is gone
    from the sample [q] int64."""
    found = np.zeros(len(leaving), np.int64)
    for i, gone in enumerate(leaving):
        found[i] = sample.clusters(int(gone)).max() + 1
        progress(1)
    return found
