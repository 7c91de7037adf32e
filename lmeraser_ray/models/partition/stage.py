"""The partition of the live training records, kept by key: prototypes, then a shard for every
record.

    adaptive   clusters of a sample of the records
    public     prototypes that were made from public pictures (`public`)
    random     keyed hashes of the ids

Place in the flow: features → partition → shards. Invariants: the deletion of an unsampled record
finds the partition under its old key and computes nothing; each bucket's assignment is a file of
its own, so only buckets that changed are assigned again, and all buckets only when a prototype has
moved.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from lmeraser_ray.config import AdaptiveConfig, ClusteringConfig, Partition, RandomConfig
from lmeraser_ray.data.feature_file import read_features
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.order import Digests
from lmeraser_ray.models.partition.adaptive import (
    Clusters,
    Floats,
    Labels,
    fit_clusters,
    nearest,
    sample_order,
)
from lmeraser_ray.storage.digests import canonical_json, key_of, seeded_key
from lmeraser_ray.storage.store import Listing, Store, StoredObject


@dataclass(frozen=True)
class Partitioned:
    """The partition of n records. partition: the stored prototypes; assignments: the stored shards
    of each bucket (both None where hashes decide); shard_of: [n] int32, -1 for a test record;
    reclustered: whether the clusters were computed and not found."""

    partition: StoredObject | None
    assignments: tuple[StoredObject | None, ...]
    shard_of: Labels
    reclustered: bool


@dataclass(frozen=True)
class PartitionStage:
    """Finds or computes the partition of an index whose buckets have `features`. public: the stored
    public prototypes."""

    store: Store
    listing: Listing
    config: Partition
    seed: int
    backbone: str
    public: StoredObject | None = None

    def run(self, index: RecordIndex, features: list[StoredObject]) -> Partitioned:
        """The partition of all records of the index, and the stored assignment of every bucket;
        nothing is stored where there are no training records. features: one object a bucket."""
        nothing = tuple(None for _ in features)
        if index.test.all():
            return Partitioned(None, nothing, np.full(len(index), -1, np.int32), False)
        if isinstance(self.config, RandomConfig):
            return Partitioned(
                None,
                nothing,
                stored_shards(self.store, self.config, self.seed, nothing, index),
                False,
            )
        if isinstance(self.config, AdaptiveConfig):
            return self._adaptive(index, features, self.config)
        if self.public is None:
            raise ValueError("a public partition needs its prototypes")
        return self._assign_all(
            index, features, self.public, np.empty(0, np.int64), reclustered=False
        )

    def _adaptive(
        self, index: RecordIndex, features: list[StoredObject], config: AdaptiveConfig
    ) -> Partitioned:
        sample = sample_positions(index, self.seed, config.sample_size)
        key = partition_key(config, self.backbone, index.digests_at(sample))
        known = self.listing.get(("partitions", key))
        item = known or put_clusters(
            self.store, key, fit_clusters(gather(self.store, index, features, sample), config)
        )
        return self._assign_all(index, features, item, sample, reclustered=known is None)

    def _assign_all(
        self,
        index: RecordIndex,
        features: list[StoredObject],
        item: StoredObject,
        sample: NDArray[np.int64],
        *,
        reclustered: bool,
    ) -> Partitioned:
        """The assignment of every bucket: sampled records stay in their cluster, all others go to
        the nearest prototype."""
        clusters = read_clusters(self.store, item)
        shard_of = np.full(len(index), -1, np.int32)
        stored = [
            self._assign(index, i, features[i], clusters, item, sample, shard_of)
            for i in range(len(features))
        ]
        return Partitioned(item, tuple(stored), shard_of, reclustered)

    def _assign(
        self,
        index: RecordIndex,
        i: int,
        features: StoredObject,
        clusters: Clusters,
        item: StoredObject,
        sample: NDArray[np.int64],
        shard_of: Labels,
    ) -> StoredObject:
        """The assignment of one bucket, written into `shard_of` too."""
        here = index.of_bucket(i)
        key = key_of(
            "assignments/1",
            bytes.fromhex(item.key),
            bytes.fromhex(features.key),
            index.columns[i].test.tobytes(),
        )
        known = self.listing.get(("assignments", key))
        if known:
            shard_of[here] = load(self.store.read(known))["shard"]
            return known
        shard = nearest(read_features(self.store, features), clusters.prototypes)
        shard[index.test[here]] = -1
        ours = (sample >= here.start) & (sample < here.stop)
        shard[sample[ours] - here.start] = clusters.sampled[ours]
        shard_of[here] = shard
        return self.store.put("assignments", key, [save({"shard": shard})])


def sample_positions(index: RecordIndex, seed: int, size: int) -> NDArray[np.int64]:
    """The positions of the sampled training records, in the sample's order."""
    key, first = seeded_key(seed, "sample"), np.empty(0, np.uint32)
    for part in index.columns:
        first = np.concatenate([first, part.leading(key)[~part.test]])
        first = np.partition(first, size - 1)[:size] if size < len(first) else first
    last = first.max(
        initial=0
    )  # only of those that may be among the first are the whole hashes compared
    rows = (np.flatnonzero((part.leading(key) <= last) & ~part.test) for part in index.columns)
    near = np.concatenate(
        [
            np.empty(0, np.int64),
            *(start + some for start, some in zip(index.starts, rows, strict=False)),
        ]
    )
    chosen: NDArray[np.int64] = near[sample_order(seed, index.names("record_id", near), size)]
    return chosen


def stored_shards(
    store: Store,
    config: Partition,
    seed: int,
    assignments: Sequence[StoredObject | None],
    index: RecordIndex,
) -> Labels:
    """The shard of each record [n] int32, where hashes decide or as the assignments of its buckets
    have it; -1: a test record."""
    if isinstance(config, RandomConfig):
        found = index.hashed(seed, "shard", config.shards)
        found[index.test] = -1
        return found
    found = np.full(len(index), -1, np.int32)
    for i, item in enumerate(assignments):
        if item:
            found[index.of_bucket(i)] = load(store.read(item))["shard"]
    return found


def partition_key(config: ClusteringConfig, backbone: str, sampled: Digests) -> str:
    """SHA-256 over the partition's configuration, the backbone and the sampled records' digests in
    order."""
    return key_of(
        "partition/1", canonical_json(config.identity()), bytes.fromhex(backbone), sampled.tobytes()
    )


def gather(
    store: Store, index: RecordIndex, features: Sequence[StoredObject], positions: NDArray[np.int64]
) -> Floats:
    """The features of some records, in the given order. Returns [m, d] float64; reads one bucket at
    a time."""
    found: Floats | None = None
    for i, which, rows in index.split(positions):
        whole = read_features(store, features[i])
        found = np.empty((len(positions), whole.shape[1])) if found is None else found
        found[which] = whole[rows]
    return found if found is not None else np.empty((0, 0))


def put_clusters(store: Store, key: str, clusters: Clusters) -> StoredObject:
    """Store clusters under their key."""
    return store.put(
        "partitions", key, [save({"prototypes": clusters.prototypes, "sampled": clusters.sampled})]
    )


def read_clusters(store: Store, item: StoredObject) -> Clusters:
    """Stored clusters."""
    tensors = load(store.read(item))
    return Clusters(tensors["prototypes"], tensors["sampled"])
