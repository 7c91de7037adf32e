"""The job of a shard that keeps statistics: sum, store the sums, solve.

    base (stored) ─ rows that left + rows that came ─► statistics ─► constituent
    nothing       + all members                     ─┘

Place in the flow: plan → jobs. Invariants: both ways give the same bytes, since the sums are exact
integers; what is read are the base and the rows that are named; the statistics are stored before
the constituent, so that a constituent has its statistics.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmeraser_ray.errors import DataError, VerificationError
from lmeraser_ray.models import numerics
from lmeraser_ray.models.learners.closed_form import SummingLearner
from lmeraser_ray.models.learners.quantize import BLOCK
from lmeraser_ray.models.learners.statistics import Statistics
from lmeraser_ray.models.learners.statistics_file import pack_statistics, read_statistics
from lmeraser_ray.pipeline.jobs import Part, Trained, Worker
from lmeraser_ray.storage.store import REPAIR, StoredObject


@dataclass(frozen=True)
class TrainFromStatistics:
    """Make a shard's statistics, and from these its constituent.

    key: of the constituent; statistics: the key of the statistics; base: stored statistics to start
    from, None for none; left, came: the rows that these have too many, and those that they lack;
    solves: whether the constituent is wanted too; member: the system that it belongs to.
    """

    key: str
    statistics: str
    base: StoredObject | None
    left: tuple[Part, ...]
    came: tuple[Part, ...]
    solves: bool = True
    member: int = 0
    name = "train"

    @property
    def weight(self) -> int:
        """How many rows are read."""
        return sum(len(part.rows.rows) for part in (*self.left, *self.came))

    def run(self, worker: Worker) -> Trained:
        """Sum, store and solve. Errors: `VerificationError` where the base is not what the rows
        that left were counted in."""
        learner = worker.learners[self.member]
        stages: list[StoredObject] = []
        if not isinstance(learner, SummingLearner):
            raise TypeError(f"{type(learner).__name__} keeps no statistics")
        with numerics.one_thread():
            found = self._sum(worker, learner)
            kept = self.base
            if kept is None or kept.key != self.statistics:
                kept = worker.store.put("statistics", self.statistics, [pack_statistics(found)])
            if self.solves:
                made = learner.constituent(found)
                made.about["numerics"] = worker.numerics(self.member)
                stages.append(worker.store.put("constituents", self.key, [made.to_bytes()]))
        return Trained(self.key, tuple(stages), self.weight, kept)

    def _sum(self, worker: Worker, learner: SummingLearner[Any]) -> Statistics:
        """The statistics of the members. Those that came are first, so that no count is below
        zero on the way."""
        base, done = self.base, 0
        total = read_statistics(worker.store, base, gram=learner.gram) if base else None
        for adds, parts in ((True, self.came), (False, self.left)):
            for block in blocks(parts):
                seen = worker.see(block)
                some = learner.count(np.asarray(seen.inputs, np.float32), seen.labels)
                total = some if total is None else self._joined(total, some, adds=adds)
                done += len(seen.labels)
                worker.report(done)
        if total is None:
            raise ValueError("a shard without members has no statistics")
        return total

    def _joined(self, total: Statistics, some: Statistics, *, adds: bool) -> Statistics:
        try:
            return total + some if adds else total - some
        except (DataError, ValueError) as error:
            name = self.base.name if self.base else "a file of features"
            raise VerificationError(f"{name} is damaged: {error} {REPAIR}") from error


def blocks(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Parts that are read together: of one bucket, or of several that have few rows, so that
    memory is that of a bucket and not of the shard."""
    block: list[Part] = []
    for part in parts:
        block.append(part)
        if sum(len(each.rows.rows) for each in block) >= BLOCK:
            yield block
            block = []
    if block:
        yield block
