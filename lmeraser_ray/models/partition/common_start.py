"""What a common start costs: a constituent of the permanent records, from which every shard's
training goes on.

    a permanent record leaves ─► the start is trained again, and then every shard
    any other record leaves   ─► its shard, for the share of the epochs that shards have

Place in the flow: beside `chains`, which counts the shards. Invariants: the numbers are those that
a training reports; once no permanent record is left, shards begin by themselves, and have all
epochs.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import Config
from lmeraser_ray.config.learner import LearnerConfig
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.models.learners.passes import StagePasses, stage_passes, stage_share
from lmeraser_ray.models.partition.adaptive import Labels
from lmeraser_ray.models.partition.chains import Chains, Positions, changes, dense
from lmeraser_ray.models.partition.expected import DeletionCosts

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class CommonStart:
    """Of n records. stays [n] bool: the permanent ones that train; codes [n] int32: the class of
    each."""

    learner: LearnerConfig
    stays: Mask
    codes: Labels

    @classmethod
    def of(cls, config: Config, index: RecordIndex) -> "CommonStart | None":
        """The start of a system; None where shards begin by themselves."""
        if not config.learner.starts_together:
            return None
        return cls(config.learner, index.permanent, index.codes)

    def among(self, rows: Mask) -> "CommonStart":
        """The same, of some of the records only. rows: [n] bool."""
        return replace(self, stays=self.stays[rows], codes=self.codes[rows])

    def stage_passes(self, left: Mask) -> StagePasses:
        """The record passes of the stages of shards, where these records are left [n] bool."""
        started = bool((self.stays & left).any())
        return stage_passes(self.learner, stage_share(self.learner, started=started))

    def passes(self, left: Mask) -> int:
        """The record passes of the start itself; 0 where no permanent record is left."""
        codes = self.codes[self.stays & left]
        return int(self._own(len(codes), len(np.unique(codes)))) if len(codes) else 0

    def _own(self, records: object, classes: object) -> Positions:
        return stage_passes(self.learner, 1.0)(np.array(records), np.array(classes) > 1)

    def anew(self, old: Chains, after: Labels) -> tuple[int, int, int, int]:
        """Members, passes, shards and the passes of a training of everything, where everything is
        trained again. after: the shards of the records [n] int32, -1 for one that is not there."""
        nothing, shards = np.full_like(after, -1), dense(after, after)[1]
        fresh = replace(old.moved(nothing), passes=self.stage_passes(after >= 0))
        members, passes, touched, total = changes(fresh, shards).cost()
        own = self.passes(after >= 0)
        return members, passes + own, touched, total + own

    def costs(
        self,
        found: DeletionCosts,
        old: Chains,
        again: Callable[[Positions], DeletionCosts] | None = None,
    ) -> DeletionCosts:
        """The costs of single deletions with those of the start, where there is more than one
        permanent record. found: without it; old: the shards; again: the costs of the deletion of
        sampled records where everything is trained again; None where none is sampled."""
        asked = self.stays[found.positions]
        codes, counts = self.codes[found.positions], np.bincount(self.codes[self.stays])
        several = np.count_nonzero(counts) - (counts[np.where(asked, codes, 0)] == 1) * asked
        own = self._own(self.stays.sum() - asked, several)
        total, touched = found.total + own, found.touched.copy()
        shard = old.shard[found.positions]
        touched[asked] = (old.shards - (old.seen[shard, -1] == 1))[asked]
        moved = np.flatnonzero(asked & found.sampled)
        if again is not None and len(moved):
            touched[moved] = again(found.positions[moved]).touched
        return replace(
            found,
            members=np.where(asked, found.n - 1, found.members),
            read=np.where(asked, found.n - 1, found.read),
            passes=np.where(asked, total - (found.n - 1), found.passes),
            touched=touched,
            total=total,
        )
