"""Affected constituents: which constituents an erasure trains again.

    an unsampled record ─► its shard ─► the one constituent that was trained on it
    a sampled record    ─► the whole partition: every constituent may change

A constituent's number is that of its shard, or 0 for all shards where one constituent serves them
all (a joint learner). When an unsampled record leaves, only its own constituent changes, so
constituents are trained and published independently of each other. When a sampled record leaves,
prototypes move and shards get new numbers: such an erasure runs alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import AdaptiveConfig, Config
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.models.learners.registry import make_learner
from lmeraser_ray.models.partition.adaptive import Labels
from lmeraser_ray.models.partition.stage import sample_positions, stored_shards
from lmeraser_ray.pipeline.manifest import BucketState, Manifest
from lmeraser_ray.storage.store import Store

NO_CONSTITUENT = -1
"""The number of a record's constituent where it trains none."""


def constituent_of_rows(
    store: Store, config: Config, states: tuple[BucketState, ...], index: RecordIndex
) -> Labels:
    """The number of the constituent that each record trains [n] int32; `NO_CONSTITUENT` for a test
    record. states: of the buckets of the index, in its order."""
    numbers = stored_shards(
        store, config.partition, config.seed, [state.assignments for state in states], index
    )
    if make_learner(config).joint:
        numbers[numbers >= 0] = 0
    return numbers


@dataclass(frozen=True)
class PublishedState:
    """A published state as the queue sees it: the n live records, the constituent that each one
    trains, and whether it was sampled."""

    store: Store
    config: Config
    manifest: Manifest
    index: RecordIndex

    @classmethod
    def read(
        cls, store: Store, config: Config, manifest: Manifest, known: RecordIndex | None = None
    ) -> "PublishedState":
        """Read the live records. known: the index of another state; buckets that it has are not
        read again."""
        return cls(
            store,
            config,
            manifest,
            RecordIndex.read(store, [state.bucket for state in manifest.buckets], known),
        )

    def places(self, names: Iterable[str]) -> dict[str, int]:
        """The positions, by id, of those of these records that are live."""
        return self.index.places(self.config.seed, names, self.config.data.buckets)

    @cached_property
    def constituents(self) -> Labels:
        """The number of the constituent that each live record trains [n] int32; `NO_CONSTITUENT`
        for a test record."""
        return constituent_of_rows(self.store, self.config, self.manifest.buckets, self.index)

    @cached_property
    def sampled(self) -> NDArray[np.bool_]:
        """Whether each live record was sampled for the partition [n] bool: without a sampled record
        the partition is computed again."""
        found = np.zeros(len(self.index), np.bool_)
        if isinstance(self.config.partition, AdaptiveConfig):
            found[
                sample_positions(self.index, self.config.seed, self.config.partition.sample_size)
            ] = True
        return found

    def mask(self, names: Iterable[str]) -> NDArray[np.bool_]:
        """Which live records have one of these ids [n] bool. Ids of records that are gone are
        ignored."""
        found = np.zeros(len(self.index), np.bool_)
        found[list(self.places(names).values())] = True
        return found
