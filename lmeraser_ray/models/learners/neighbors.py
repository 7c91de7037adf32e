"""The k nearest records of the shard, on stored features: a deletion drops a row.

Distances are exact integers, so that ties are real ties; a tie goes to the record that is first in
canonical order.
"""

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import NeighborsConfig
from lmeraser_ray.models.learners.base import Features, Probabilities, ShardData
from lmeraser_ray.models.learners.closed_form import ClosedFormLearner
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.quantize import Integers, products, squared_norms

EXACT_DISTANCES = 2**21
"""Numbers of a feature up to which |x|² - 2 x·y, at most 3 · 2^30 for each, is below 2^53 and so
exact in float64."""

QUERIES = 256
"""Queries that are compared with all records at a time."""


class Neighbors(ClosedFormLearner[NeighborsConfig]):
    """k nearest neighbours: the constituent is the shard's records as integers, in canonical
    order."""

    longest = EXACT_DISTANCES

    def fit(self, integers: Integers, shard: ShardData) -> Constituent:
        """Keep the shard: `features` [n, d] int16 and `targets` [n] int64, the class numbers."""
        index = {name: i for i, name in enumerate(shard.classes)}
        targets = np.array([index[label] for label in shard.labels], np.int64)
        return Constituent(
            shard.classes, {"features": integers, "targets": targets}, {"learner": self.config.kind}
        )

    def answer(
        self, constituent: Constituent, features: Features, *, group: int = 0
    ) -> Probabilities:
        """The share of the k nearest that have a class, k at most n. features: [n, d] float32 → [n,
        c] float32."""
        records, targets = constituent.tensors["features"], constituent.tensors["targets"]
        k = min(self.config.neighbors, len(records))
        one_hot = np.eye(len(constituent.classes))[targets]
        queries = self.queries(features)
        norms = squared_norms(records)
        votes = np.empty((len(queries), len(constituent.classes)))
        for at in range(0, len(queries), QUERIES):
            votes[at : at + QUERIES] = (
                nearest(queries[at : at + QUERIES], records, norms, k) @ one_hot
            )
        return (votes / k).astype(np.float32)


def nearest(
    queries: Integers, records: Integers, norms: NDArray[np.int64], k: int
) -> NDArray[np.bool_]:
    """Which k records are nearest to each query, ties to the first. queries: [q, d], records: [n,
    d] → [q, n] bool, k true in a row.

    |x|² - 2 x·y orders records x by their distance to y. For d ≤ `EXACT_DISTANCES` the difference
    and both of its parts are exact integers.
    """
    order = norms.astype(np.float64) - 2 * products(queries, records)
    kth = np.partition(order, k - 1, axis=1)[:, k - 1 : k]
    nearer, level = order < kth, order == kth
    wanted = k - nearer.sum(axis=1, keepdims=True)
    chosen: NDArray[np.bool_] = nearer | (level & (np.cumsum(level, axis=1) <= wanted))
    return chosen
