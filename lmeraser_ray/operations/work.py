"""The work of a deletion or an addition of any records, computed and not carried out: how many
record passes it trains again, and what it reads and writes.

    a state, records that leave ─► their shards without them ─► chains that change ─► work
    a state, records that came  ─► the way back: from the state without them

A record pass is one record seen once: by a step of the learner, by its statistics, or, un-prompted,
by the backbone for its feature. A training takes a feature pass for each record, test records too,
and its learner's passes for those that train; a deletion the learner's passes of what is trained
again; an addition a feature pass for each new record besides.

Place in the flow: beside the planner; `cost`, the studies and `recommend` ask here. Invariants: the
passes are those that the evaluated flow reports (`Trained.passes`, `Evaluated.features_computed`).
Rows are counted; bytes are those of the mean row and, system by system, of the mean constituent and
the mean statistics. What systems of a blend share by chance, since their partitions differ, counts
in each.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import Config, Learner, Partition
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.models.learners.passes import StagePasses, stage_passes
from lmeraser_ray.models.learners.registry import make_learner
from lmeraser_ray.models.partition.adaptive import Labels
from lmeraser_ray.models.partition.chains import Chains, changes, dense
from lmeraser_ray.models.partition.common_start import CommonStart
from lmeraser_ray.models.partition.expected import DeletionCosts, together
from lmeraser_ray.models.partition.people import slices_of
from lmeraser_ray.models.partition.without import Remaining
from lmeraser_ray.pipeline.flow import recipe_of
from lmeraser_ray.pipeline.manifest import MEMBER_STRIDE, Manifest
from lmeraser_ray.pipeline.shards_of_state import shards_of_state
from lmeraser_ray.storage.store import Store, StoredObject

Positions = NDArray[np.int64]
Numbers = NDArray[np.signedinteger[Any]]
NUMBER_BYTES = 4
"""Of a feature's float32, and of an assignment's int32."""


@dataclass(frozen=True)
class ChangeWork:
    """What one deletion, or one addition, costs.

    records: how many leave or come; passes: record passes of the learner; features: feature passes;
    total: the work of a training of all that is there afterwards, in passes of both kinds; members:
    the records of the shards that are trained again; shards: how many these are; rows and bytes: of
    records, pictures, features and constituents.
    """

    records: int
    passes: int
    features: int
    total: int
    members: int
    shards: int
    rows_read: int
    rows_written: int
    bytes_read: int
    bytes_written: int

    @property
    def share(self) -> float:
        """The work as a share of that of a training of all that is there afterwards; 0 where
        nothing is."""
        return (self.passes + self.features) / max(self.total, 1)


COLUMNS = tuple(field.name for field in fields(ChangeWork))
TRAFFIC = COLUMNS[-4:]


def table_of(works: Iterable[ChangeWork]) -> NDArray[np.int64]:
    """The fields of some works as a table [fields, q] int64, in the order of `COLUMNS`."""
    found = np.array([astuple(work) for work in works], np.int64).reshape(-1, len(COLUMNS))
    return found.T


def training_systems(config: Config) -> Iterator[tuple[int, Config]]:
    """Yield the systems of a blend that train, each with its place: one that has the partition and
    the learner of an earlier one has its constituents too, and trains nothing."""
    known = list[tuple[Partition, Learner]]()
    for place, system in enumerate(config.members):
        if (system.partition, system.learner) not in known:
            known.append((system.partition, system.learner))
            yield place, system


def fewest_of(config: Config, manifest: Manifest) -> int | None:
    """How many members a shard has at least that keeps statistics; None where none does."""
    sums = recipe_of(config, manifest.backbone).sums
    return sums.fewest if sums else None


def passes_of_system(config: Config, index: RecordIndex) -> StagePasses:
    """The record passes of the stages of a system's shards, in a state of these records."""
    start = CommonStart.of(config, index)
    return start.stage_passes(~index.test) if start else stage_passes(config.learner)


def remaining_of(store: Store, config: Config, manifest: Manifest, index: RecordIndex) -> Remaining:
    """What a state of one system would be without some records. Reads no features yet."""
    features = [state.features for state in manifest.buckets]
    shard_of = shards_of_state(store, config, manifest, index)
    return Remaining(
        store, index, features, config.partition, config.seed, shard_of, manifest.partition
    )


def bytes_of(store: Store, items: Iterable[StoredObject]) -> int:
    """The bytes of some objects together."""
    return sum(store.path(item).stat().st_size for item in items)


def picture_bytes(index: RecordIndex) -> float:
    """The bytes of an encoded picture, on average."""
    return sum(int(part.lengths.sum()) for part in index.columns) / max(len(index), 1)


@dataclass(frozen=True)
class ObjectBytes:
    """The bytes of the objects of one system, on average. seen: what its learner sees of a record,
    a picture or a feature; stages, statistics: those of a shard, 0 in a state that is only
    planned."""

    feature: int
    seen: float
    stages: float
    statistics: float

    @classmethod
    def of(
        cls, store: Store, config: Config, manifest: Manifest, index: RecordIndex
    ) -> "ObjectBytes":
        """As the state has them."""
        feature, shards = manifest.backbone.dimension * NUMBER_BYTES, manifest.shards
        needs = make_learner(config).needs
        stages = {stage for shard in shards for stage in shard.stages}
        sums = {shard.statistics for shard in shards if shard.statistics}
        each = (bytes_of(store, items) / max(len(shards), 1) for items in (stages, sums))
        return cls(feature, feature if needs == "features" else picture_bytes(index), *each)


@dataclass(frozen=True)
class SystemWork:
    """One system over the records of an index: a partition and its learner. remaining: its shards;
    joint: one constituent serves all of them; start: what they begin with, where that is common."""

    chains: Chains
    remaining: Remaining
    joint: bool
    sizes: ObjectBytes
    start: CommonStart | None = None

    @classmethod
    def of(
        cls, store: Store, config: Config, manifest: Manifest, index: RecordIndex
    ) -> "SystemWork":
        """The system of a configuration in a published or planned state."""
        remaining = remaining_of(store, config, manifest, index)
        joint = make_learner(config).joint
        found = None if joint else slices_of(config, index)
        passes, fewest = passes_of_system(config, index), fewest_of(config, manifest)
        chains = Chains.of(remaining.shard_of, found, index.codes, passes, fewest)
        sizes, start = ObjectBytes.of(store, config, manifest, index), CommonStart.of(config, index)
        return cls(chains, remaining, joint, sizes, start)

    def traffic(
        self, read: Numbers, shards: Numbers, moved: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """The rows that are read and written, and the bytes, as `TRAFFIC` has them [4, q], where
        `shards` change and `read` rows are read for it [q]. Statistics are read and written whole;
        where prototypes move [q], every record is assigned again."""
        assigned, sizes = moved * len(self.remaining.index), self.sizes
        sums = shards * sizes.statistics
        seen = read * sizes.seen + sums + assigned * sizes.feature
        made = shards * sizes.stages + sums + assigned * NUMBER_BYTES
        return np.stack([read + assigned, assigned, seen, made]).astype(np.float64)

    def change(self, before: Labels, after: Labels) -> tuple[int, int, int, int]:
        """Members, passes, shards and the passes of a training of everything, from one state's
        shards to another's [n] int32, -1 for a record that is not there."""
        if self.start is None:
            return self._shards(before, after)
        if (self.start.stays & ((before < 0) != (after < 0))).any():
            return self.start.anew(self.chains, after)
        members, passes, shards, total = self._shards(before, after)
        return members, passes, shards, total + self.start.passes(after >= 0)

    def _shards(self, before: Labels, after: Labels) -> tuple[int, int, int, int]:
        """As `change`, where shards begin as they began."""
        before, after = dense(before, after)
        if np.array_equal(before, after):
            everything = changes(self.chains.moved(np.full_like(after, -1)), after)
            return (0, 0, 0, (everything.joint() if self.joint else everything.cost())[3])
        tally = changes(self.chains.moved(before), after)
        return tally.joint() if self.joint else tally.cost()


@dataclass(frozen=True)
class WorkPlanner:
    """Answers for one state, published or only planned. index: of its buckets."""

    store: Store
    config: Config
    manifest: Manifest
    index: RecordIndex

    @cached_property
    def systems(self) -> tuple[SystemWork, ...]:
        """What trains on the records: the work of a change is the sum over these."""
        return tuple(
            SystemWork.of(self.store, system, self.manifest.only(member), self.index)
            for member, system in training_systems(self.config)
        )

    @cached_property
    def anew(self) -> dict[int, int]:
        """The record passes that train each shard anew, by its number; a joint learner trains no
        shard by itself."""
        systems = zip(training_systems(self.config), self.systems, strict=True)
        return {
            member * MEMBER_STRIDE + number: passes
            for (member, _), system in systems
            if not system.joint
            for number, passes in enumerate(system.chains.each.sum(1).tolist())
        }

    def leaving(self, positions: Positions) -> ChangeWork:
        """The work of deleting the records at some positions of the index, all at once."""
        return self._between(positions, came=False)

    def coming(self, positions: Positions) -> ChangeWork:
        """The work of adding the records at some positions to the state of all others."""
        return self._between(positions, came=True)

    def _between(self, positions: Positions, *, came: bool) -> ChangeWork:
        gone = np.zeros(len(self.index), np.bool_)
        gone[positions] = True
        works, traffic = np.zeros(4, np.int64), self._buckets(gone, came=came)
        for system in self.systems:
            less, all_of = system.remaining.without(gone), system.remaining.shard_of
            found = np.array(
                system.change(less, all_of) if came else system.change(all_of, less), np.int64
            )
            members, passes, shards = found[:3]
            read = system.chains.read(members, passes)
            traffic += system.traffic(read, shards, np.array(system.remaining.moves(gone)))
            works += found
        members, passes, shards, total = works.tolist()
        features = int(gone.sum()) if came else 0
        present = len(self.index) if came else int((~gone).sum())
        return ChangeWork(
            records=int(gone.sum()),
            passes=passes,
            features=features,
            total=total + present,
            members=members,
            shards=shards,
            **dict(zip(TRAFFIC, traffic.astype(np.int64).tolist(), strict=True)),
        )

    def _buckets(self, gone: NDArray[np.bool_], *, came: bool) -> NDArray[np.float64]:
        """The rows and bytes of the buckets that lose or get a record, which are written anew, and
        of the pictures that get features, as `TRAFFIC` has them [4]."""
        sizes = np.diff(self.index.starts)
        lost = np.array([gone[self.index.of_bucket(i)].sum() for i in range(len(sizes))], np.int64)
        touched = lost > 0
        kept = (sizes - lost)[touched]
        per_row = self.bytes_of_buckets[touched] / np.maximum(sizes[touched], 1)
        before, after = (kept, sizes[touched]) if came else (sizes[touched], kept)
        new = int(lost.sum()) if came else 0
        read = before @ per_row + new * picture_bytes(self.index)
        return np.array([before.sum() + new, after.sum(), read, after @ per_row], np.float64)

    def single(self, each: Sequence[DeletionCosts]) -> NDArray[np.int64]:
        """The table of deletions of one training record each. each: their costs in each of the
        systems that train."""
        costs = together(each)
        place = np.searchsorted(self.index.starts, self.index.training[costs.positions], "right")
        sizes = np.diff(self.index.starts)[place - 1]
        bucket = self.bytes_of_buckets[place - 1]
        traffic = np.stack([sizes, sizes - 1, bucket, bucket * (1 - 1 / np.maximum(sizes, 1))])
        for system, own in zip(self.systems, each, strict=True):
            traffic += system.traffic(own.read, own.touched, own.sampled)
        q = len(costs.positions)
        works = (costs.passes, np.zeros(q), costs.total, costs.members, costs.touched)
        return np.stack([np.ones(q), *works, *traffic]).astype(np.int64)

    @cached_property
    def bytes_of_buckets(self) -> NDArray[np.float64]:
        """The bytes of each bucket's rows, pictures and features."""
        buckets = ((s.bucket.records, s.bucket.pictures, s.features) for s in self.manifest.buckets)
        return np.array([bytes_of(self.store, items) for items in buckets], np.float64)
