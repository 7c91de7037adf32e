"""From one state to the next: which records left each shard and which came, so that statistics are
taken over from the state before and not counted again.

    state before: index, shard of each record ─┐
                                               ├─► of each shard: left, came ─► Build.difference
    live records: index, shard of each record ─┘

Place in the flow: plan → difference → jobs. Invariants: a shortcut only, whose result is the bytes
of counting anew; it is taken where it reads fewer rows than the shard has members; nothing is read
but rows of buckets that changed and the assignments. The base is the shard of the same number: of a
partition whose shards got new numbers, the shards are counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import Config
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.order import Positions
from lmeraser_ray.models.partition.adaptive import Labels
from lmeraser_ray.pipeline.manifest import MEMBER_STRIDE, BackboneCard, Manifest
from lmeraser_ray.pipeline.plan import Build, Difference, most_work_first
from lmeraser_ray.pipeline.shards_of_state import shards_of_state
from lmeraser_ray.storage.digests import canonical_json
from lmeraser_ray.storage.store import Store, StoredObject


@dataclass(frozen=True)
class StateBefore:
    """The state that statistics are taken over from. index: of its records; shards: for each system
    of a blend (for the one system, where there is one) the shard of each record [n] int32, -1 for
    one that does not train."""

    manifest: Manifest
    index: RecordIndex
    shards: tuple[Labels, ...]

    @classmethod
    def read(
        cls, store: Store, config: Config, manifest: Manifest, known: RecordIndex
    ) -> "StateBefore":
        """Read what `known`, the index of another state, does not have. Errors:
        `VerificationError` where the state is damaged."""
        index = RecordIndex.read(store, [state.bucket for state in manifest.buckets], known)
        shards = (
            shards_of_state(store, system, manifest.only(member), index)
            for member, system in enumerate(config.members)
        )
        return cls(manifest, index, tuple(shards))

    @property
    def features(self) -> list[StoredObject]:
        """Of its buckets."""
        return [state.features for state in self.manifest.buckets]


@dataclass(frozen=True)
class Movement:
    """The records that are not in the shard, of one system, in which they were. left: as positions
    in the state before; left_from: their shards there; joined: as positions among the live records;
    joined_to: their shards, -1 for none."""

    left: Positions
    left_from: Labels
    joined: Positions
    joined_to: Labels

    @classmethod
    def of(cls, origin: Positions, before: Labels, now: Labels) -> "Movement":
        """origin: where each live record was [n], -1 for a new one; before, now: the shards."""
        was = np.where(origin >= 0, before[origin], -1) if len(before) else origin
        moved = np.flatnonzero(was != now)
        gone = np.ones(len(before), np.bool_)
        gone[origin[origin >= 0]] = False
        left = np.concatenate([origin[moved[was[moved] >= 0]], np.flatnonzero(gone)])
        return cls(left, before[left], moved, now[moved])


def continues(
    previous: Manifest, builds: Sequence[Build], identity: Mapping[str, object], card: BackboneCard
) -> bool:
    """Whether a state has statistics that builds may start from: they lack some, and it is of the
    same configuration and backbone."""
    return (
        any(build.spec.statistics and build.difference is None for build in builds)
        and any(shard.statistics for shard in previous.shards)
        and canonical_json(previous.identity) == canonical_json(dict(identity))
        and previous.backbone.identity == card.identity
    )


def with_differences(
    builds: Sequence[Build], index: RecordIndex, shards: Sequence[Labels], before: StateBefore
) -> tuple[Build, ...]:
    """The builds, with a difference where one has fewer rows than the shard has members. index,
    shards: of the live records, as of the state before."""
    bases = {shard.number: shard.statistics for shard in before.manifest.shards}
    origin = origins(index, before.index)
    moves = [Movement.of(origin, *each) for each in zip(before.shards, shards, strict=True)]

    def shortcut(build: Build) -> Build:
        base = bases.get(build.spec.shards[0])
        if build.difference is not None or build.spec.statistics is None or base is None:
            return build
        move, number = moves[build.spec.member], build.spec.shards[0] % MEMBER_STRIDE
        left = np.sort(move.left[move.left_from == number])
        found = Difference(base, left, move.joined[move.joined_to == number])
        return replace(build, difference=found) if found.rows < build.passes else build

    return most_work_first(map(shortcut, builds))


def origins(now: RecordIndex, before: RecordIndex) -> NDArray[np.int64]:
    """The position that each live record has in the state before, -1 where it is new there [n].
    A record is its digest: with another picture or label it is another one."""
    there = {bucket.number: j for j, bucket in enumerate(before.buckets)}
    found = np.full(len(now), -1, np.int64)
    for i, bucket in enumerate(now.buckets):
        j = there.get(bucket.number)
        if j is None:
            continue
        if bucket == before.buckets[j]:
            found[now.of_bucket(i)] = np.arange(*before.starts[j : j + 2])
        else:
            known = rows_of(now.columns[i].digests, before.columns[j].digests)
            found[now.of_bucket(i)] = np.where(known >= 0, known + before.starts[j], -1)
    return found


def rows_of(digests: NDArray[np.uint8], among: NDArray[np.uint8]) -> Positions:
    """The row of each digest [m, 32] among others [k, 32], -1 where it is not there [m]."""
    where = {digest.tobytes(): row for row, digest in enumerate(among)}
    return np.array([where.get(digest.tobytes(), -1) for digest in digests], np.int64)
