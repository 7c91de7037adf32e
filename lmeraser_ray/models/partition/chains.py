"""What is trained again when shards are trained slice by slice: the chains of `plan`, as counts of
records instead of keys.

    a shard's slices, in order → stages, each of which sees all slices up to its own
    cost of a stage = the records that it sees

Invariants: the same numbers as `plan_constituents` would give with all old constituents in the
store. A stage of a new shard is an old one if and only if the new shard's records up to that slice
are those of an old shard up to the same slice: a record's slice is its own, and a key covers all
slices up to its stage. Old shards share no record, so only one can match: that of any record in the
first stage.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.models.partition.adaptive import Labels

Positions = NDArray[np.int64]
TOGETHER = 1 << 16
"""Records that are counted at a time: counting takes twenty bytes for each."""


@dataclass(frozen=True)
class Chains:
    """The old state. shard: [n] int32; slices: [n] int32, the slice of each record; sizes: [k, r]
    int64, the records of each slice."""

    shard: Labels
    slices: Labels
    sizes: Positions

    @classmethod
    def of(cls, shard: Labels, slices: Labels | None) -> "Chains":
        """Count. slices: None without slices."""
        slices = np.broadcast_to(np.int32(0), len(shard)) if slices is None else slices
        k, r = int(shard.max(initial=-1)) + 1, int(slices.max(initial=0)) + 1
        sizes = np.zeros(k * r, np.int64)
        for at in range(0, len(shard), TOGETHER):
            rows = slice(at, at + TOGETHER)
            sizes += np.bincount(shard[rows].astype(np.int64) * r + slices[rows], minlength=k * r)
        return cls(shard, slices, sizes.reshape(k, r))

    @cached_property
    def seen(self) -> Positions:
        """The records that the stage of each slice sees [k, r] int64, where there is such a stage
        (`sizes` > 0)."""
        return self.sizes.cumsum(1)

    @property
    def shards(self) -> int:
        """Shards that have records."""
        return int((self.seen[:, -1] > 0).sum())

    def without(self, positions: Positions) -> Positions:
        """The deletion of each of `positions` [q] from its own shard, where no other record moves:
        retrained, touched and total, [3, q] int64.

        The stages before the record's slice stay; the stage of its own slice goes if the record was
        alone in it; all later stages are trained without the record.
        """
        shard, own = self.shard[positions], self.slices[positions]
        there = self.sizes > 0
        tail = np.where(there, self.seen, 0)[:, ::-1].cumsum(1)[
            :, ::-1
        ]  # what this slice's stage and all later ones see
        stages = there[:, ::-1].cumsum(1)[:, ::-1]  # and how many they are
        lonely = self.sizes[shard, own] == 1
        retrained = (
            tail[shard, own] - stages[shard, own] - np.where(lonely, self.seen[shard, own] - 1, 0)
        )
        total = int(tail[:, 0].sum()) - tail[shard, own] + retrained
        return np.stack([retrained, (retrained > 0).astype(np.int64), total])


class ChainTally:
    """Counts the records of a new state, given in parts, against the old state, for each of j new
    shards and r slices."""

    def __init__(self, old: Chains, shards: int) -> None:
        self._old = old
        self._sizes, self._strangers = np.zeros((2, shards * old.sizes.shape[1]), np.int64)
        self._witness = np.full(shards * old.sizes.shape[1], -1, np.int32)
        """An old shard that a record of each group comes from; `_strangers` are the group's records
        that come from another one."""

    def add(self, rows: slice, shard: Labels) -> None:
        """Count the records at `rows`, whose new shards these are [b] int32; -1 for one that is
        gone."""
        left = shard >= 0
        old, r = self._old.shard[rows][left], self._old.sizes.shape[1]
        group = shard[left].astype(np.int64) * r + self._old.slices[rows][left]
        unknown = np.flatnonzero(self._witness[group] < 0)
        self._witness[group[unknown]] = old[unknown]
        self._sizes += np.bincount(group, minlength=len(self._sizes))
        self._strangers += np.bincount(
            group[old != self._witness[group]], minlength=len(self._sizes)
        )

    def cost(self) -> tuple[int, int, int]:
        """Retrained, touched and total, once every record was counted. Of each chain the longest
        prefix of stages that an old shard had too is reused."""
        shape = (-1, self._old.sizes.shape[1])
        sizes, strangers, witness = (
            found.reshape(shape) for found in (self._sizes, self._strangers, self._witness)
        )
        there, seen = sizes > 0, sizes.cumsum(1)
        origin = witness[
            np.arange(len(sizes)), there.argmax(1)
        ]  # the only old shard that can match: that of the first stage
        pure = np.logical_and.accumulate(
            ~there | ((strangers == 0) & (witness == origin[:, None])), axis=1
        )
        trained = there & ~(
            pure & (seen == self._old.seen[origin])
        )  # all from one old shard, and as many: the same records
        return int(seen[trained].sum()), int(trained.any(1).sum()), int(seen[there].sum())
