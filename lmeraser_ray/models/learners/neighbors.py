"""The k nearest records of the shard, on stored features: a deletion drops a row.

Distances are exact integers, so that ties are real ties; they go to the record that is first in
canonical order.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import NeighborsConfig
from lmeraser_ray.models.learners.base import (
    UNWATCHED,
    WHOLE,
    Features,
    Probabilities,
    ShardData,
    Stage,
    Watch,
)
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.quantize import (
    Integers,
    products,
    quantize,
    quantize_shard,
    squared_norms,
)

RECIPE = 1
"""Raised whenever a change changes the bits of a constituent; part of every shard key."""

QUERIES = 256
"""Queries that are compared with all records at a time."""


class Neighbors:
    """k nearest neighbours. Stateless: `train` keeps the shard's records as integers, in canonical
    order."""

    needs: Literal["features"] = "features"
    joint = False
    needs_classifier = False

    def __init__(self, config: NeighborsConfig, *, quantum: float) -> None:
        self.config, self.quantum = config, quantum

    def identity(self) -> dict[str, object]:
        """What enters a shard's key besides its records and the backbone."""
        return {**self.config.identity(), "quantum": self.quantum, "recipe": RECIPE}

    def train(
        self, shard: ShardData, *, stage: Stage = WHOLE, watch: Watch = UNWATCHED
    ) -> Constituent:
        """Keep one shard: features [n, d] int16, targets [n] int64. A stage sees all records up to
        its slice, so it needs no start."""
        integers = quantize_shard(shard.inputs, quantum=self.quantum)  # type: ignore[arg-type]
        index = {name: i for i, name in enumerate(shard.classes)}
        targets = np.array([index[label] for label in shard.labels], np.int64)
        found = Constituent(
            shard.classes, {"features": integers, "targets": targets}, {"learner": self.config.kind}
        )
        watch.records(len(targets))
        watch.epoch(lambda: found)
        return found

    def answer(
        self, constituent: Constituent, features: Features, *, group: int = 0
    ) -> Probabilities:
        """The share of the k nearest that have a class, k at most n. features: [n, d] float32 → [n,
        c] float32."""
        records, targets = constituent.tensors["features"], constituent.tensors["targets"]
        k = min(self.config.neighbors, len(records))
        one_hot = np.eye(len(constituent.classes))[targets]
        queries = quantize(features, quantum=self.quantum)
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

    |x|² - 2 x·y orders records x by their distance to y. It is exact: below 2^53 for d ≤ 2^21, and
    so are both of its parts.
    """
    order = norms.astype(np.float64) - 2 * products(queries, records)
    kth = np.partition(order, k - 1, axis=1)[:, k - 1 : k]
    nearer, level = order < kth, order == kth
    wanted = k - nearer.sum(axis=1, keepdims=True)
    chosen: NDArray[np.bool_] = nearer | (level & (np.cumsum(level, axis=1) <= wanted))
    return chosen
