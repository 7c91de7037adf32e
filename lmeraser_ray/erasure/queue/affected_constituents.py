"""Affected constituents: which constituents an erasure trains again.

    an unsampled record ─► its shard ─► the one constituent that was trained on it
    a sampled record    ─► the whole partition: every constituent may change
    a permanent record  ─► the common start, where there is one: every constituent changes

A constituent's number is that of its shard, or 0 for all shards where one constituent serves them
all (a joint learner); those of a blend's next system begin at `MEMBER_STRIDE`, and a record trains
one of each system. When an unsampled record leaves, only its own constituents change, so
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
from lmeraser_ray.models.learners.registry import make_learners
from lmeraser_ray.models.partition.adaptive import Labels
from lmeraser_ray.models.partition.sampling import sampled_records
from lmeraser_ray.pipeline.manifest import MEMBER_STRIDE, Manifest
from lmeraser_ray.pipeline.shards_of_state import shards_of_state
from lmeraser_ray.storage.store import Store

NO_CONSTITUENT = -1
"""The number of a record's constituent where it trains none."""


def constituents_of_rows(
    store: Store, config: Config, manifest: Manifest, index: RecordIndex
) -> Labels:
    """The number of the constituent that each record trains in each of s systems [n, s] int32;
    `NO_CONSTITUENT` for a test record. index: of some buckets of the state."""
    found = np.empty((len(index), len(config.members)), np.int32)
    systems = zip(config.members, make_learners(config), strict=True)
    for member, (system, learner) in enumerate(systems):
        numbers = shards_of_state(store, system, manifest.only(member), index)
        if learner.joint:
            numbers[numbers >= 0] = 0
        numbers[numbers >= 0] += member * MEMBER_STRIDE
        found[:, member] = numbers
    return found


@dataclass(frozen=True)
class PublishedState:
    """A published state as the queue sees it: the n live records, the constituent that each one
    trains, and whether all may change without it."""

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
    def by_system(self) -> Labels:
        """The number of the constituent that each live record trains in each of s systems [n, s]
        int32; `NO_CONSTITUENT` for a test record."""
        return constituents_of_rows(self.store, self.config, self.manifest, self.index)

    @property
    def constituents(self) -> Labels:
        """The number of the constituent that each live record trains in the first system [n]
        int32; `NO_CONSTITUENT` for a test record."""
        return self.by_system[:, 0]

    @cached_property
    def sampled(self) -> NDArray[np.bool_]:
        """Whether all constituents may change without each live record [n] bool: it was sampled for
        a partition, or is one of a common start."""
        found = np.zeros(len(self.index), np.bool_)
        for system in self.config.members:
            if isinstance(system.partition, AdaptiveConfig):
                found[sampled_records(system.partition, system.seed, self.index)] = True
            if system.learner.starts_together:
                found[self.index.permanent] = True
        return found

    def mask(self, names: Iterable[str]) -> NDArray[np.bool_]:
        """Which live records have one of these ids [n] bool. Ids of records that are gone are
        ignored."""
        found = np.zeros(len(self.index), np.bool_)
        found[list(self.places(names).values())] = True
        return found
