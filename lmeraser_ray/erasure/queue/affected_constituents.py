"""Lanes: which constituents an erasure trains again.

    record → its shard → the constituent that serves it (a lane).     A sampled record → the whole partition (exclusive)

A lane is the number of a shard, or 0 for all shards where one constituent serves them. An unsampled
record's going changes its own lane and nothing else, so lanes are trained and published
independently of each other. A sampled one's going moves prototypes: that is done alone.
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


def constituent_of_rows(
    store: Store, config: Config, states: tuple[BucketState, ...], index: RecordIndex
) -> Labels:
    """The lane of each record of the index, whose buckets have these states [n] int32; -1: a test
    record, which trains nothing."""
    lane = stored_shards(
        store, config.partition, config.seed, [state.assignments for state in states], index
    )
    if make_learner(config).joint:
        lane[lane >= 0] = 0
    return lane


@dataclass(frozen=True)
class PublishedState:
    """A published state as the queue sees it: the live records, their lanes, and which were
    sampled."""

    store: Store
    config: Config
    manifest: Manifest
    index: RecordIndex

    @classmethod
    def read(
        cls, store: Store, config: Config, manifest: Manifest, known: RecordIndex | None = None
    ) -> "PublishedState":
        """Read the live records. known: the index of another state."""
        return cls(
            store,
            config,
            manifest,
            RecordIndex.read(store, [state.bucket for state in manifest.buckets], known),
        )

    def places(self, names: Iterable[str]) -> dict[str, int]:
        """The positions of those of these records that live, by id."""
        return self.index.places(self.config.seed, names, self.config.data.buckets)

    @cached_property
    def lanes(self) -> Labels:
        """The lane of each live record [n] int32."""
        return constituent_of_rows(self.store, self.config, self.manifest.buckets, self.index)

    @cached_property
    def sampled(self) -> NDArray[np.bool_]:
        """Whether each live record was sampled, so that its going clusters anew [n] bool."""
        found = np.zeros(len(self.index), np.bool_)
        if isinstance(self.config.partition, AdaptiveConfig):
            found[
                sample_positions(self.index, self.config.seed, self.config.partition.sample_size)
            ] = True
        return found

    def mask(self, names: Iterable[str]) -> NDArray[np.bool_]:
        """Which live records have one of these ids [n] bool; ids of records that are gone are of no
        consequence."""
        found = np.zeros(len(self.index), np.bool_)
        found[list(self.places(names).values())] = True
        return found
