"""What the deletion of each record by itself costs in one state, by the quickest exact way that its
partition allows.

Place in the flow: beside `work`, which answers for any set of records; `cost` and the studies ask
here. Nothing is trained; features are read only where prototypes may move.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lmeraser_ray.config import AdaptiveConfig, Config
from lmeraser_ray.data.feature_file import Features, read_features
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.models.learners.registry import make_learner
from lmeraser_ray.models.partition.adaptive import Labels
from lmeraser_ray.models.partition.chains import Chains, Positions
from lmeraser_ray.models.partition.common_start import CommonStart
from lmeraser_ray.models.partition.deletion import DeletionCosts, deletion_costs, fixed_costs
from lmeraser_ray.models.partition.feature_rows import joined
from lmeraser_ray.models.partition.one_by_one import moves_others, one_by_one
from lmeraser_ray.models.partition.people import slices_of
from lmeraser_ray.models.partition.sampling import sample_of
from lmeraser_ray.models.partition.stage import gather
from lmeraser_ray.operations.work import fewest_of, passes_of_system, remaining_of, training_systems
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.pipeline.shards_of_state import shards_of_state
from lmeraser_ray.storage.store import Store, StoredObject


def costs_by_system(
    store: Store,
    config: Config,
    manifest: Manifest,
    index: RecordIndex,
    chosen: Positions,
    progress: Progress,
) -> tuple[DeletionCosts, ...]:
    """Return the cost of deleting each of `chosen` [q] int64, positions among the training records,
    in each system that trains."""
    return tuple(
        costs_of(store, system, manifest.only(member), index, chosen, progress).beside(
            int(index.test.sum())
        )
        for member, system in training_systems(config)
    )


def costs_of(
    store: Store,
    config: Config,
    manifest: Manifest,
    index: RecordIndex,
    chosen: Positions,
    progress: Progress,
) -> DeletionCosts:
    """Return the cost of deleting each of `chosen` [q] int64, positions among the training
    records, in a state of one system."""
    joint, sliced = make_learner(config).joint, slices_of(config, index)
    slices = None if sliced is None else sliced[~index.test]
    rest = remaining_of(store, config, manifest, index)
    shard, classes = rest.shard_of[~index.test], index.codes[~index.test]
    passes, fewest = passes_of_system(config, index), fewest_of(config, manifest)
    old = Chains.of(shard, slices, classes, passes, fewest)
    start = CommonStart.of(config, index)
    if moves_others(config, index):
        with progress.bar("cost", len(chosen), "rec") as advance:
            return one_by_one(rest, old, chosen, joint=joint, start=start, progress=advance)
    if not isinstance(config.partition, AdaptiveConfig):
        found = fixed_costs(old, chosen, joint=joint)
        return start.among(~index.test).costs(found, old) if start else found
    partition, features = config.partition, StoredRows(store, index, rest.features)
    order = np.searchsorted(
        index.training, sample_of(partition, config.seed, index, partition.sample_size + 1)
    )
    with progress.bar("cost", len(chosen), "rec") as advance:
        found = deletion_costs(
            features, old, order, partition, chosen, joint=joint, progress=advance
        )
    if start is None:
        return found
    nothing = old.moved(np.full_like(old.shard, -1))
    return start.among(~index.test).costs(
        found, old, lambda some: deletion_costs(features, nothing, order, partition, some)
    )


@dataclass(frozen=True)
class StoredRows:
    """The features of an index's training records, read a bucket at a time. items: the features
    object of each bucket."""

    store: Store
    index: RecordIndex
    items: Sequence[StoredObject]

    def at(self, positions: Positions) -> Features:
        """Return the features of some training records, in the given order [m, d] float32."""
        return gather(self.store, self.index, self.items, self.index.training[positions]).astype(
            np.float32
        )

    def blocks(self, height: int) -> Iterator[Features]:
        """Yield all features, `height` rows at a time."""
        buckets = zip(self.items, self.index.columns, strict=True)
        return joined(
            (read_features(self.store, item)[~columns.test] for item, columns in buckets), height
        )


def shards_in(store: Store, config: Config, manifest: Manifest, index: RecordIndex) -> Labels:
    """Return the shard of each training record [n] int32, in the first system of a blend."""
    return shards_of_state(store, config, manifest.only(0), index)[~index.test]
