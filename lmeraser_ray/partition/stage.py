"""The partition of the live training records, kept by key: clusters from the sample, then a shard for every record.

Invariants: an unsampled record's deletion finds the partition under its old key and computes nothing; each bucket's assignment is a
file of its own, so only the buckets that changed are assigned again, and all of them only when a prototype has moved.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from lmeraser_ray.config import AdaptiveConfig
from lmeraser_ray.features import read_features
from lmeraser_ray.index import RecordIndex
from lmeraser_ray.keys import canonical_json, key_of
from lmeraser_ray.partition.adaptive import Floats, Labels, Partition, fit_partition, nearest, sample_order
from lmeraser_ray.plan import Digests
from lmeraser_ray.state.store import Listing, Store, StoredObject


@dataclass(frozen=True)
class Partitioned:
    """The partition's objects and the shard of each record [n] int32 (-1: a test record)."""

    partition: StoredObject | None
    assignments: tuple[StoredObject | None, ...]
    shard_of: Labels
    reclustered: bool


@dataclass(frozen=True)
class PartitionStage:
    """Finds or computes the partition of an index whose buckets have `features`."""

    store: Store
    listing: Listing
    config: AdaptiveConfig
    seed: int
    backbone: str

    def run(self, index: RecordIndex, features: list[StoredObject]) -> Partitioned:
        """The partition and the assignment of every bucket. Without training records there is none."""
        shard_of = np.full(len(index), -1, np.int32)
        if len(index.training) == 0:
            return Partitioned(None, tuple(None for _ in features), shard_of, False)
        sample = sample_positions(index, self.seed, self.config.sample_size)
        key = partition_key(self.config, self.backbone, index.digests[sample])
        known = self.listing.get(("partitions", key))
        item = known or self._fit(key, index, features, sample)
        partition = read_partition(self.store, item)
        stored = [self._assign(index, i, features[i], partition, item, sample, shard_of) for i in range(len(features))]
        return Partitioned(item, tuple(stored), shard_of, known is None)

    def _fit(self, key: str, index: RecordIndex, features: list[StoredObject], sample: NDArray[np.int64]) -> StoredObject:
        partition = fit_partition(gather(self.store, index, features, sample), self.config)
        tensors = {"prototypes": partition.prototypes, "sampled": partition.sampled}
        return self.store.put("partitions", key, [save(tensors)])

    def _assign(
        self,
        index: RecordIndex,
        i: int,
        features: StoredObject,
        partition: Partition,
        item: StoredObject,
        sample: NDArray[np.int64],
        shard_of: Labels,
    ) -> StoredObject:
        """The assignment of one bucket, written into `shard_of` too: sampled records stay in their cluster, others go to the nearest."""
        here = index.of_bucket(i)
        key = key_of("assignments/1", bytes.fromhex(item.key), bytes.fromhex(features.key), index.test[here].tobytes())
        known = self.listing.get(("assignments", key))
        if known:
            shard_of[here] = load(self.store.read(known))["shard"]
            return known
        shard = nearest(read_features(self.store, features), partition.prototypes)
        shard[index.test[here]] = -1
        ours = (sample >= here.start) & (sample < here.stop)
        shard[sample[ours] - here.start] = partition.sampled[ours]
        shard_of[here] = shard
        return self.store.put("assignments", key, [save({"shard": shard})])


def sample_positions(index: RecordIndex, seed: int, size: int) -> NDArray[np.int64]:
    """The positions of the sampled training records, in the sample's order."""
    chosen: NDArray[np.int64] = index.training[sample_order(seed, index.names("record_id", index.training), size)]
    return chosen


def partition_key(config: AdaptiveConfig, backbone: str, sampled: Digests) -> str:
    """SHA-256 over the partition's configuration, the backbone and the sampled records' digests in order."""
    return key_of("partition/1", canonical_json(config.identity()), bytes.fromhex(backbone), sampled.tobytes())


def gather(store: Store, index: RecordIndex, features: list[StoredObject], positions: NDArray[np.int64]) -> Floats:
    """The features of some records, in the given order. Returns [m, d] float64; reads one bucket at a time."""
    found: Floats | None = None
    for i, item in enumerate(features):
        here = index.of_bucket(i)
        ours = (positions >= here.start) & (positions < here.stop)
        if ours.any():
            rows = read_features(store, item)
            found = np.empty((len(positions), rows.shape[1])) if found is None else found
            found[ours] = rows[positions[ours] - here.start]
    return found if found is not None else np.empty((0, 0))


def read_partition(store: Store, item: StoredObject) -> Partition:
    """A stored partition."""
    tensors = load(store.read(item))
    return Partition(tensors["prototypes"], tensors["sampled"])
