"""Each query is decoded once, whoever answers it: queries that several jobs see are prepared, held
by the engine, and handed to these jobs.

Place in the flow: between the routes of stored queries and the jobs of `queries`. Invariants: a job
sees the same queries in the same order whether they are held or not; at most `HELD_BYTES` of pixels
are held, and what is beyond that is decoded by each job that sees it.
"""

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.order import Positions
from lmeraser_ray.pipeline.engine import Engine
from lmeraser_ray.pipeline.flow import parts_of
from lmeraser_ray.pipeline.queries import HeldQueries, PrepareQueries, QueryRows, Taken

HELD_BYTES = 512 << 20
"""Pixels of queries that are held: 3,500 pictures of 224 pixels. On Ray they are in the cluster's
object store, else in this process."""
BLOCK = 128
"""Queries that are prepared together: a task of its own on Ray, of some 20 MB at 224 pixels."""


class PreparedQueries:
    """The queries of one prediction that are held, by their number [q]."""

    def __init__(self, engine: Engine, index: RecordIndex, positions: Positions, size: int) -> None:
        """positions: of the queries in the index [q], ascending; size: the side of a prepared
        picture in pixels."""
        self.engine, self.index, self.positions = engine, index, positions
        self._at = np.full(len(positions), -1, np.int64)
        self._blocks: list[HeldQueries] = []
        self._room = HELD_BYTES // (3 * size * size)

    def hold(self, queries: NDArray[np.int64]) -> None:
        """Hold queries, as many as there is room for. queries: ascending numbers."""
        new = queries[self._at[queries] < 0][: self._room]
        self._room -= len(new)
        for at in range(0, len(new), BLOCK):
            some = new[at : at + BLOCK]
            self._at[some] = len(self._blocks) * BLOCK + np.arange(len(some))
            parts = parts_of(self.index, None, self.positions[some])
            self._blocks.append(self.engine.hold(PrepareQueries(parts)))

    def rows(self, queries: NDArray[np.int64]) -> QueryRows:
        """The queries of a job that sees pictures. queries: ascending numbers."""
        at = self._at[queries]
        own = np.flatnonzero(at < 0)
        blocks = [(block, np.flatnonzero(at // BLOCK == block)) for block in np.unique(at // BLOCK)]
        taken = tuple(
            Taken(self._blocks[block], at[to] % BLOCK, to) for block, to in blocks if block >= 0
        )
        parts = parts_of(self.index, None, self.positions[queries[own]])
        return QueryRows(parts, own, taken)
