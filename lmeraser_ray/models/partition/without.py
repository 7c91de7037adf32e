"""The shard of each record once some have left: what an unlearning would find, computed without
storing anything.

    present records, features, partition ── without(gone) ─► a shard for each that remains

Place in the flow: beside `stage`, for who asks what a deletion costs. Invariant: the numbers are
those that `PartitionStage` gives to the remaining records. The state before an addition is that of
the records without those that came.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import AdaptiveConfig, ClusteringConfig, Partition, RandomConfig
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.order import Positions
from lmeraser_ray.models.partition.adaptive import Clusters, Floats, Labels, fit_clusters, nearest
from lmeraser_ray.models.partition.people import People
from lmeraser_ray.models.partition.sampling import able_among, sample_positions, sampled_records
from lmeraser_ray.models.partition.stage import (
    cells_of_people,
    gather,
    hashed_cells,
    leaves_in,
    number_of_cells,
    read_clusters,
)
from lmeraser_ray.storage.store import Store, StoredObject


@dataclass(frozen=True)
class Remaining:
    """The partition of n records as it would be without some of them.

    features: one object a bucket; shard_of: [n] int32, the present shards, -1 for a test record;
    partition: the stored prototypes of the present state, None where hashes decide. Memory: the
    features of all records, once a prototype or a person may move.
    """

    store: Store
    index: RecordIndex
    features: Sequence[StoredObject]
    config: Partition
    seed: int
    shard_of: Labels
    partition: StoredObject | None

    def without(self, gone: NDArray[np.bool_]) -> Labels:
        """The shard of each record [n] int32; -1 for a test record and for one that is gone. gone:
        [n] bool."""
        trains = ~self.index.test & ~gone
        if not trains.any():
            return np.full(len(self.index), -1, np.int32)
        if isinstance(self.config, RandomConfig):
            cells = hashed_cells(self.config, self.seed, self.index)
            k = number_of_cells(self.config, None)
        elif self.config.unit == "subject":
            cells, k = self._of_people(self.config, gone, trains)
        else:
            cells, k = self._of_records(self.config, gone, trains)
        cells[~trains] = -1
        return leaves_in(self.config, self.seed, self.index, cells, k)

    def moves(self, gone: NDArray[np.bool_]) -> bool:
        """Whether prototypes move: a sampled record is gone, or one of a sampled person."""
        return bool((self._sampled & gone).any())

    @cached_property
    def _sampled(self) -> NDArray[np.bool_]:
        if isinstance(self.config, AdaptiveConfig):
            return sampled_records(self.config, self.seed, self.index)
        return np.zeros(len(self.index), np.bool_)

    @cached_property
    def _features(self) -> Floats:
        return gather(self.store, self.index, self.features, np.arange(len(self.index)))

    def _at(self, positions: Positions) -> Floats:
        return self._features[positions]

    @cached_property
    def _present(self) -> Clusters:
        if self.partition is None:
            raise ValueError("a partition by features needs its prototypes")
        return read_clusters(self.store, self.partition)

    @cached_property
    def _people(self) -> People:
        """Of all training records."""
        return People.read(self.index, self.seed, ~self.index.test)

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        """All training records in the sample's order."""
        return sample_positions(self.index, self.seed, len(self.index), ~self.index.test)

    def _of_records(
        self, config: ClusteringConfig, gone: NDArray[np.bool_], trains: NDArray[np.bool_]
    ) -> tuple[Labels, int]:
        if not self.moves(gone):
            k = len(self._present.prototypes)
            return np.where(self.shard_of >= 0, self.shard_of % k, np.int32(-1)), k
        able = able_among(config, self.index, trains)
        sample = self._order[able[self._order]][: config.sample_size]
        clusters = fit_clusters(self._at(sample), config)
        cells = nearest(self._features, clusters.prototypes)
        cells[sample] = clusters.sampled
        return cells, len(clusters.prototypes)

    def _of_people(
        self, config: ClusteringConfig, gone: NDArray[np.bool_], trains: NDArray[np.bool_]
    ) -> tuple[Labels, int]:
        people, clusters = self._people.among(trains), self._present
        able = able_among(config, self.index, trains)
        sample = people.sample(able, len(clusters.sampled) and config.sample_size)
        if self.moves(gone):
            clusters = fit_clusters(people.means(sample, self._at), config)
        found = cells_of_people(people, np.arange(len(people)), self._at, clusters, sample)
        return np.where(trains, found[people.of], np.int32(-1)), len(clusters.prototypes)
