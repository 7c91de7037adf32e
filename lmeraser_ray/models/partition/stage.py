"""The partition of the live training records, kept by key: prototypes, then a shard for every
record.

    adaptive   clusters of a sample of the records, or of the permanent ones among them
    public     prototypes that were made from public pictures (`public`)
    random     keyed hashes of the ids

What these give is a record's cell. Where a bound is set, a cell with more records than that is
divided, and its parts are the shards (`leaves`); else the cells are the shards. With the unit
`subject` all training records of a person have one cell, and one shard.

Place in the flow: features → partition → shards. Invariants: the deletion of an unsampled record
finds the partition under its old key and computes nothing; each bucket's assignment of its records
to cells is a file of its own, so only buckets that changed are assigned again, and all buckets only
when a prototype has moved.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from lmeraser_ray.config import ClusteringConfig, Partition, PublicConfig, RandomConfig
from lmeraser_ray.data.feature_file import read_features, require_finite
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.order import Digests
from lmeraser_ray.models.partition.adaptive import Clusters, Floats, Labels, fit_clusters, nearest
from lmeraser_ray.models.partition.leaves import Hashes, divided, leaf_among
from lmeraser_ray.models.partition.people import FeaturesAt, People, unit_column
from lmeraser_ray.models.partition.sampling import able_among, sample_of
from lmeraser_ray.storage.digests import canonical_json, key_of
from lmeraser_ray.storage.store import Listing, Store, StoredObject
from lmeraser_ray.storage.tensors import read_arrays

PEOPLE = 1 << 14
"""People whose means are in memory at a time."""


@dataclass(frozen=True)
class Partitioned:
    """The partition of n records. partition: the stored prototypes; assignments: the stored cells
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
            cells = hashed_cells(self.config, self.seed, index)
            return Partitioned(
                None, nothing, self._leaves(index, cells, number_of_cells(self.config, None)), False
            )
        found = (
            self._of_people(index, features, self.config)
            if self.config.unit == "subject"
            else self._of_records(index, features, self.config)
        )
        clusters = read_clusters(self.store, found.partition) if found.partition else None
        k = number_of_cells(self.config, clusters)
        return replace(found, shard_of=self._leaves(index, found.shard_of, k))

    @property
    def _prototypes(self) -> StoredObject:
        """The public prototypes: other partitions have their own, whatever `public` is."""
        if self.public is None:
            raise ValueError("a public partition needs its prototypes")
        return self.public

    def _leaves(self, index: RecordIndex, cells: Labels, k: int) -> Labels:
        return leaves_in(self.config, self.seed, index, cells, k)

    def _of_records(
        self, index: RecordIndex, features: list[StoredObject], config: ClusteringConfig
    ) -> Partitioned:
        if isinstance(config, PublicConfig):
            nobody = np.empty(0, np.int64)
            return self._assign_all(index, features, self._prototypes, nobody, reclustered=False)
        sample = sample_of(config, self.seed, index, config.sample_size)
        key = partition_key(config, self.backbone, index.digests_at(sample))
        known = self.listing.get(("partitions", key))
        item = known or put_clusters(
            self.store, key, fit_clusters(gather(self.store, index, features, sample), config)
        )
        return self._assign_all(index, features, item, sample, reclustered=known is None)

    def _of_people(
        self, index: RecordIndex, features: list[StoredObject], config: ClusteringConfig
    ) -> Partitioned:
        """The sample is of people, and each person goes to the prototype that is nearest to their
        mean."""
        people = People.read(index, self.seed, ~index.test)
        at = partial(gather, self.store, index, features)
        reclustered, sample = False, np.empty(0, np.int64)
        if isinstance(config, PublicConfig):
            item = self._prototypes
        else:
            able = able_among(config, index, ~index.test)
            sample = people.sample(able, config.sample_size)
            parts = (clustering_identity(config), bytes.fromhex(self.backbone))
            key = people.key("partition-people/1", parts, sample)
            known = self.listing.get(("partitions", key))
            item = known or put_clusters(
                self.store, key, fit_clusters(people.means(sample, at), config)
            )
            reclustered = known is None
        keys = [
            people.key(
                "assignments-people/1",
                (bytes.fromhex(item.key), part.test.tobytes()),
                people.of[index.of_bucket(i)][~part.test],
            )
            for i, part in enumerate(index.columns)
        ]
        stored, cells = self._assign_people(index, people, at, item, sample, keys)
        return Partitioned(item, stored, cells, reclustered)

    def _assign_people(
        self,
        index: RecordIndex,
        people: People,
        at: FeaturesAt,
        item: StoredObject,
        sample: NDArray[np.int64],
        keys: Sequence[str],
    ) -> tuple[tuple[StoredObject, ...], Labels]:
        """The assignments of all buckets by their keys, and the cell of each record: only the
        people of buckets whose assignment is not stored are assigned."""
        known = [self.listing.get(("assignments", key)) for key in keys]
        new = np.zeros(len(people), np.bool_)
        for i, there in enumerate(known):
            if not there:
                mine = people.of[index.of_bucket(i)]
                new[mine[mine >= 0]] = True
        cell_of_person = np.full(len(people), -1, np.int32)
        clusters, those = read_clusters(self.store, item), np.flatnonzero(new)
        cell_of_person[those] = cells_of_people(people, those, at, clusters, sample)
        cells, stored = np.full(len(index), -1, np.int32), []
        for i, there in enumerate(known):
            here = index.of_bucket(i)
            if there:
                cells[here] = read_shard_numbers(self.store, there)
            else:
                mine = people.of[here]
                cells[here] = np.where(mine >= 0, cell_of_person[mine], -1)
            stored.append(
                there or self.store.put("assignments", keys[i], [save({"shard": cells[here]})])
            )
        return tuple(stored), cells

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
            shard_of[here] = read_shard_numbers(self.store, known)
            return known
        found = read_features(self.store, features)
        require_finite(found, lambda rows: index.columns[i].names("record_id", rows))
        shard = nearest(found, clusters.prototypes)
        shard[index.test[here]] = -1
        ours = (sample >= here.start) & (sample < here.stop)
        shard[sample[ours] - here.start] = clusters.sampled[ours]
        shard_of[here] = shard
        return self.store.put("assignments", key, [save({"shard": shard})])


def stored_shards(
    store: Store,
    config: Partition,
    seed: int,
    assignments: Sequence[StoredObject | None],
    index: RecordIndex,
    *,
    partition: StoredObject | None,
    numbers: Collection[int],
) -> Labels:
    """The shard of each record [n] int32, where hashes decide or as the assignments of its buckets
    have it; -1: a test record. index: of all buckets of a state or of some; partition, numbers: the
    state's stored prototypes and the numbers of all its shards."""
    if isinstance(config, RandomConfig):
        found = hashed_cells(config, seed, index)
    else:
        found = np.full(len(index), -1, np.int32)
        for i, item in enumerate(assignments):
            if item:
                found[index.of_bucket(i)] = read_shard_numbers(store, item)
    if config.bound is None:
        return found
    k = number_of_cells(config, read_clusters(store, partition) if partition else None)
    return leaf_among(found, leaf_hashes(config, seed, index), numbers, k=k)


def hashed_cells(config: RandomConfig, seed: int, index: RecordIndex) -> Labels:
    """The cell of each record [n] int32 where a keyed hash chooses it; -1: a test record."""
    k = number_of_cells(config, None)
    found = index.hashed(seed, "shard", k, unit_column(config))
    found[index.test] = -1
    return found


def number_of_cells(config: Partition, clusters: Clusters | None) -> int:
    """How many cells a partition has. clusters: with their prototypes; None where hashes decide."""
    if clusters is not None:
        return len(clusters.prototypes)
    if config.shards is None:
        raise ValueError("a random partition needs its number of shards")
    return config.shards


def leaf_hashes(config: Partition, seed: int, index: RecordIndex) -> Hashes:
    """The hash of each record's unit, whose bits divide cells [n] uint32."""
    return index.leading(seed, "leaf", unit_column(config))


def leaves_in(config: Partition, seed: int, index: RecordIndex, cells: Labels, k: int) -> Labels:
    """The shard of each record [n] int32. cells: the cell of each, -1 for none; k: of how many."""
    if config.bound is None:
        return cells
    return divided(cells, leaf_hashes(config, seed, index), bound=config.bound, k=k)


def cells_of_people(
    people: People,
    those: NDArray[np.int64],
    at: FeaturesAt,
    clusters: Clusters,
    sample: NDArray[np.int64],
) -> Labels:
    """The cells of some people [m] int32, ascending: those of the sample, ascending, stay in their
    cluster, all others go to the prototype that is nearest to their mean."""
    found = np.empty(len(those), np.int32)
    for first in range(0, len(those), PEOPLE):
        some = those[first : first + PEOPLE]
        found[first : first + PEOPLE] = nearest(people.means(some, at), clusters.prototypes)
    sampled = np.isin(those, sample)
    found[sampled] = clusters.sampled[np.searchsorted(sample, those[sampled])]
    return found


def clustering_identity(config: ClusteringConfig) -> bytes:
    """What of the configuration prototypes are a function of: a bound divides what they leave."""
    identity = config.identity()
    identity.pop("bound", None)
    return canonical_json(identity)


def partition_key(config: ClusteringConfig, backbone: str, sampled: Digests) -> str:
    """SHA-256 over the partition's configuration, the backbone and the sampled records' digests in
    order."""
    return key_of(
        "partition/1", clustering_identity(config), bytes.fromhex(backbone), sampled.tobytes()
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
    if found is not None:  # of an earlier release, which stored what is not finite
        require_finite(found, lambda wrong: index.names("record_id", positions[wrong]))
    return found if found is not None else np.empty((0, 0))


def put_clusters(store: Store, key: str, clusters: Clusters) -> StoredObject:
    """Store clusters under their key."""
    return store.put(
        "partitions", key, [save({"prototypes": clusters.prototypes, "sampled": clusters.sampled})]
    )


def read_clusters(store: Store, item: StoredObject) -> Clusters:
    """Stored clusters."""
    kinds = {"prototypes": ("float64", 2), "sampled": ("int32", 1)}
    found = read_arrays(store, item, kinds)
    return Clusters(found["prototypes"], found["sampled"])


def read_shard_numbers(store: Store, item: StoredObject) -> Labels:
    """A stored assignment: the shard of each record of a bucket [m] int32."""
    return read_arrays(store, item, {"shard": ("int32", 1)})["shard"]
