"""What is trained again when shards are trained slice by slice: the chains of `plan`, as counts of
records instead of keys.

    a shard's slices, in order → stages, each of which sees all slices up to its own
    cost of a stage = its record passes, by the records that it sees (`models/learners/passes.py`)

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

from lmeraser_ray.models.learners.passes import StagePasses, every_record
from lmeraser_ray.models.partition.adaptive import Labels

Positions = NDArray[np.int64]
TOGETHER = 1 << 16
"""Records that are counted at a time: counting takes twenty bytes for each."""


@dataclass(frozen=True)
class Chains:
    """The old state. shard: [n] int32, -1 for a record that is not in it; slices: [n] int32, the
    slice of each record; classes: [n] int32, the class of each; sizes: [k, r] int64, the records of
    each slice; passes: the record passes of stages; fewest: how many members a shard has at least
    that keeps statistics, so that the passes are the rows that left and came from the shard of the
    same number, where these are fewer than its members (without slices only); None: no shard does.
    """

    shard: Labels
    slices: Labels
    classes: Labels
    sizes: Positions
    passes: StagePasses
    fewest: int | None = None

    @classmethod
    def of(
        cls,
        shard: Labels,
        slices: Labels | None = None,
        classes: Labels | None = None,
        passes: StagePasses = every_record,
        fewest: int | None = None,
    ) -> "Chains":
        """Count. slices: None without slices; classes: None where there is one only."""
        one = np.broadcast_to(np.int32(0), len(shard))
        slices, classes = (one if found is None else found for found in (slices, classes))
        k, r = int(shard.max(initial=-1)) + 1, int(slices.max(initial=0)) + 1
        sizes = np.zeros(k * r, np.int64)
        for at in range(0, len(shard), TOGETHER):
            rows = slice(at, at + TOGETHER)
            group = shard[rows].astype(np.int64) * r + slices[rows]
            sizes += np.bincount(group[shard[rows] >= 0], minlength=k * r)
        return cls(shard, slices, classes, sizes.reshape(k, r), passes, fewest)

    def moved(self, shard: Labels) -> "Chains":
        """The same records in other shards [n] int32, -1 for one that is in none."""
        return Chains.of(shard, self.slices, self.classes, self.passes, self.fewest)

    @cached_property
    def seen(self) -> Positions:
        """The records that the stage of each slice sees [k, r] int64, where there is such a stage
        (`sizes` > 0)."""
        return self.sizes.cumsum(1)

    @property
    def shards(self) -> int:
        """Shards that have records."""
        return int((self.seen[:, -1] > 0).sum())

    @cached_property
    def _kinds(self) -> "_Kinds":
        return _Kinds.of(self)

    def read(self, members: Positions, passes: Positions) -> Positions:
        """The rows that are read where shards of so many members are trained again with so many
        passes [q] int64: of shards that keep statistics, those that left or came."""
        return members if self.fewest is None else passes

    @property
    def distinct(self) -> Positions:
        """How many classes the stage of each slice sees [k, r] int64."""
        return self._kinds.distinct

    @cached_property
    def each(self) -> Positions:
        """The record passes of the stage of each slice [k, r] int64, 0 where there is none."""
        found: Positions = np.where(
            self.sizes > 0, self.passes(self.seen, self.distinct > 1), 0
        ).astype(np.int64)
        return found

    def without(self, positions: Positions) -> Positions:
        """The deletion of each of `positions` [q] from its own shard, where no other record moves:
        members, passes, touched and total, [4, q] int64, as `ChainTally.cost`.

        The stages before the record's slice stay; the stage of its own slice goes if the record was
        alone in it; all later stages are trained without the record.
        """
        shard, own = self.shard[positions], self.slices[positions]
        there, kinds, now = self.sizes > 0, self._kinds, self.each
        several, left = kinds.distinct > 1, np.maximum(self.seen - 1, 0)
        less = np.where(there, self.passes(left, several), 0)
        single = np.where(there, self.passes(left, np.zeros_like(several)), 0)
        fewer = np.where(kinds.distinct == 2, less - single, 0)  # of a class that nobody else has
        end = kinds.second[positions]
        passes = _from(less)[shard, own] - (_from(fewer)[shard, own] - _from(fewer)[shard, end])
        lonely = self.sizes[shard, own] == 1
        last = np.where(end > own, fewer[shard, own], 0)
        passes -= np.where(lonely, less[shard, own] - last, 0)
        total = int(now.sum()) - _from(now)[shard, own] + passes
        if self.fewest is not None:
            rest = self.seen[shard, -1] - 1
            passes = np.where(rest >= self.fewest, np.minimum(rest, 1), passes)
        stages = _from(there.astype(np.int64))[shard, own] - lonely
        members = np.where(stages > 0, self.seen[shard, -1] - 1, 0)
        return np.stack([members, passes, (members > 0).astype(np.int64), total])


def _from(values: Positions) -> Positions:
    """The sums of values [k, r] from each slice on [k, r + 1]."""
    return np.pad(values[:, ::-1].cumsum(1)[:, ::-1], ((0, 0), (0, 1)))


@dataclass(frozen=True)
class _Kinds:
    """distinct [k, r]: how many classes each stage sees; second [n]: for a record that is alone in
    its shard with its class, up to some slice, that slice: the one at which a second record of the
    class comes, r where none does; its own slice for a record that is not alone there."""

    distinct: Positions
    second: Positions

    @classmethod
    def of(cls, chains: Chains) -> "_Kinds":
        k, r = chains.sizes.shape
        live = np.flatnonzero(chains.shard >= 0)
        shard, own = chains.shard[live].astype(np.int64), chains.slices[live]
        pair = shard * (int(chains.classes.max(initial=0)) + 1) + chains.classes[live]
        order = np.lexsort((own, pair))
        new = np.diff(pair[order], prepend=-1) != 0
        first = order[new]
        distinct = np.bincount(shard[first] * r + own[first], minlength=k * r).reshape(k, r)
        after = np.flatnonzero(new) + 1  # the second record of each pair, where it has one
        follows = after < len(order)
        follows[follows] = ~new[after[follows]]
        second = chains.slices.astype(np.int64)
        later = np.full(len(first), r, np.int64)
        later[follows] = own[order[after[follows]]]
        second[live[first]] = later
        return cls(distinct.cumsum(1), second)


class ChainTally:
    """Counts the records of a new state, given in parts, against the old state, for each of j new
    shards and r slices."""

    def __init__(self, old: Chains, shards: int) -> None:
        groups = shards * old.sizes.shape[1]
        self._old = old
        self._sizes, self._strangers, self._others, self._stayed = np.zeros((4, groups), np.int64)
        self._witness, self._kind = np.full((2, groups), -1, np.int32)
        """An old shard that a record of each group comes from, and the class of a record;
        `_strangers` are the group's records that come from another one or from none, `_others`
        those of another class, `_stayed` those that were in the shard of the same number."""

    def add(self, rows: slice, shard: Labels) -> None:
        """Count the records at `rows`, whose new shards these are [b] int32; -1 for one that is
        gone."""
        left = shard >= 0
        old, kind = self._old.shard[rows][left], self._old.classes[rows][left]
        r = self._old.sizes.shape[1]
        group = shard[left].astype(np.int64) * r + self._old.slices[rows][left]
        for known, found in ((self._witness, old), (self._kind, kind)):
            unknown = np.flatnonzero(known[group] < 0)
            known[group[unknown]] = found[unknown]
        strange = (old != self._witness[group]) | (old < 0)
        for counts, which in (
            (self._sizes, group),
            (self._strangers, group[strange]),
            (self._others, group[kind != self._kind[group]]),
            (self._stayed, group[old == shard[left]]),
        ):
            np.add(counts, np.bincount(which, minlength=len(counts)), out=counts)

    def cost(self) -> tuple[int, int, int, int]:
        """Once every record was counted: the members of the shards that are trained again, their
        record passes, how many shards these are, and the record passes of a training of everything.
        Of each chain the longest prefix of stages that an old shard had too is reused."""
        seen, there, several, trained = self._stages()
        passes = np.where(there, self._old.passes(seen, several), 0)
        changed = trained.any(1)
        again = passes if self._old.fewest is None else self._subtracted(seen, self._old.fewest)
        return (
            int(seen[changed, -1].sum()),
            int(again[trained].sum()),
            int(changed.sum()),
            int(passes.sum()),
        )

    def _subtracted(self, seen: Positions, fewest: int) -> Positions:
        """The passes of shards that keep statistics [j, 1]: the rows that left and came, or all
        members where these are fewer, or where the shard kept none."""
        before = np.zeros_like(seen)
        known = min(len(seen), len(self._old.seen))
        before[:known] = self._old.seen[:known, -1:]
        moved = before + seen - 2 * self._stayed.reshape(seen.shape)
        return np.where(np.minimum(before, seen) >= fewest, np.minimum(moved, seen), seen)

    def joint(self) -> tuple[int, int, int, int]:
        """As `cost`, where one constituent serves all shards and the records are not the old
        ones: everything is trained again."""
        seen, there, _, _ = self._stages()
        n, kinds = seen[:, -1].sum(), self._kind[self._sizes > 0]
        several = bool(self._others.any()) or len(np.unique(kinds)) > 1
        passes = int(self._old.passes(np.array(n), np.array(several)))
        return int(n), passes, int(there.any(1).sum()), passes

    def _stages(self) -> tuple[Positions, NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        """For each new shard and slice [j, r]: the records that the stage sees, whether there is
        such a stage, whether it sees several classes, and whether it is trained."""
        shape = (-1, self._old.sizes.shape[1])
        sizes, strangers, others, witness, kind = (
            found.reshape(shape)
            for found in (self._sizes, self._strangers, self._others, self._witness, self._kind)
        )
        there, seen = sizes > 0, sizes.cumsum(1)
        rows, first = np.arange(len(sizes)), there.argmax(1)
        origin = witness[rows, first]  # the only old shard that can match: that of the first stage
        mixed = there & ((others > 0) | (kind != kind[rows, first][:, None]))
        pure = np.logical_and.accumulate(
            ~there | ((strangers == 0) & (witness == origin[:, None])), axis=1
        )
        # all from one old shard, and as many: the same records
        same = pure & (origin >= 0)[:, None]
        if len(self._old.seen):
            same &= seen == self._old.seen[origin]
        return seen, there, np.logical_or.accumulate(mixed, axis=1), there & ~same


def changes(old: Chains, shard: Labels) -> ChainTally:
    """The tally of all records in their new shards [n] int32, -1 for one that is gone."""
    tally = ChainTally(old, int(shard.max(initial=-1)) + 1)
    for at in range(0, len(shard), TOGETHER):
        rows = slice(at, at + TOGETHER)
        tally.add(rows, shard[rows])
    return tally


def dense(before: Labels, after: Labels) -> tuple[Labels, Labels]:
    """Two states' shards with numbers from 0 on, equal where they were equal; -1 stays. Numbers may
    have wide gaps, which a count by number would fill."""
    known = np.unique(np.concatenate([before, after]))
    known = known[known >= 0]

    def numbered(shard: Labels) -> Labels:
        found = np.searchsorted(known, shard).astype(np.int32)
        return np.where(shard >= 0, found, np.int32(-1))

    return numbered(before), numbered(after)
