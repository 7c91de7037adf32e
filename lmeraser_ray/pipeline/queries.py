"""Stored records as queries: the jobs that decode them and that ask constituents about them.

    queries that several shards answer ─► `PrepareQueries`, held by the engine ─┐
    the others ─────────────────────────────────────────────────────────────────┴─► `AnswerRows`

Place in the flow: `prepared` holds, `answering` asks. Invariants: what a constituent is asked has
the same pixels in the same order, whoever decoded them; a constituent of one class is asked
without a look at a query.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.data.reader import pixel_hashes
from lmeraser_ray.models.aggregation.answers import Answers
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.pipeline.jobs import Inputs, Part, Worker
from lmeraser_ray.storage.store import StoredObject

Places = NDArray[np.int64]


def rows_in(parts: Sequence[Part]) -> int:
    """How many rows some parts have."""
    return sum(len(part.rows.rows) for part in parts)


@dataclass(frozen=True)
class PrepareQueries:
    """Read and decode queries for the jobs that ask about them."""

    members: tuple[Part, ...]
    name = "prepare"
    key = None

    @property
    def weight(self) -> int:
        """How many queries there are."""
        return rows_in(self.members)

    def only(self, rows: Places) -> "PrepareQueries":
        """The job for some of the queries, by their places among them, ascending."""
        bounds = pairwise(accumulate((rows_in([part]) for part in self.members), initial=0))
        return PrepareQueries(
            tuple(
                part.take(found - begin)
                for part, (begin, end) in zip(self.members, bounds, strict=True)
                if len(found := rows[(begin <= rows) & (rows < end)])
            )
        )

    def run(self, worker: Worker) -> Inputs:
        """The pixels [m, 3, s, s] uint8, in the order of `members`."""
        return worker.see(self.members).inputs


class HeldQueries(Protocol):
    """Prepared queries, wherever an engine holds them."""

    def get(self, worker: Worker, rows: Places) -> Inputs:
        """Some of the queries, by their places among them: a copy. Errors: those of the job."""


@dataclass
class HeldHere:
    """Queries that this process decodes when they are first asked for, each once."""

    job: PrepareQueries
    _known: dict[int, Inputs] = field(default_factory=dict)

    def get(self, worker: Worker, rows: Places) -> Inputs:
        """As of `HeldQueries`."""
        new = np.array(sorted(set(rows.tolist()) - self._known.keys()), np.int64)
        if len(new):
            found = self.job.only(new).run(worker)
            self._known.update(zip(new.tolist(), found, strict=True))
        every: list[Any] = [self._known[row] for row in rows.tolist()]
        return np.stack(every)


@dataclass(frozen=True)
class Taken:
    """Queries that a job takes from held ones. rows: their places among the held; to: their places
    among the job's queries."""

    held: HeldQueries
    rows: Places
    to: Places


@dataclass(frozen=True)
class QueryRows:
    """The m queries of a job, some of them held. members: those that the job reads by itself; to:
    their places among the m queries."""

    members: tuple[Part, ...]
    to: Places
    taken: tuple[Taken, ...] = ()

    def __len__(self) -> int:
        return len(self.to) + sum(len(one.to) for one in self.taken)

    def see(self, worker: Worker) -> Inputs:
        """The queries in their order: pictures [m, 3, s, s] uint8 or features [m, d] float32."""
        found = [(one.to, one.held.get(worker, one.rows)) for one in self.taken]
        if self.members:
            found.append((self.to, worker.see(self.members).inputs))
        inputs = np.empty((len(self), *found[0][1].shape[1:]), found[0][1].dtype)
        for places, some in found:
            inputs[places] = some
        return inputs


@dataclass(frozen=True)
class AnswerRows:
    """Ask one constituent about stored records. group: the shard that answers, where the
    constituent serves several; member: the system that it belongs to."""

    constituent: StoredObject
    queries: QueryRows
    group: int = 0
    member: int = 0
    name = "answer"

    @property
    def key(self) -> str:
        """The key of the constituent that is asked."""
        return self.constituent.key

    @property
    def weight(self) -> int:
        """How many queries there are."""
        return len(self.queries)

    def run(self, worker: Worker) -> Answers:
        """See the queries and answer them, in their order. Where there is one class, no query is
        seen."""
        constituent = Constituent.from_bytes(worker.store.read(self.constituent))
        if len(constituent.classes) == 1:
            return Answers(constituent.classes, np.ones((self.weight, 1), np.float32))
        return worker.answer(constituent, self.queries.see(worker), self.group, self.member)


@dataclass(frozen=True)
class HashPixels:
    """The SHA-256 of each query's pixels as the backbone sees them: queries are routed by it where
    there are no prototypes."""

    queries: QueryRows
    name = "hash"
    key = None

    @property
    def weight(self) -> int:
        """How many queries there are."""
        return len(self.queries)

    def run(self, worker: Worker) -> list[bytes]:
        """See and hash the queries, in their order."""
        return pixel_hashes(np.asarray(self.queries.see(worker), np.uint8))
