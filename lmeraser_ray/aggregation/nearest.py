"""Nearest prototypes: a query is answered by the m shards whose prototypes are nearest, averaged (m = 1 is the paper's).

A class that a constituent has never seen has probability 0 in its answer, and a shard of one class is certain of it. So the plain mean lets
far shards shout down the near one (quickstart, 5 seeds: 0.95 for the plain mean of two, 0.98 with weights that fall with distance).
Ties between prototypes, and between classes, go to the first.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from lmeraser_ray.config import NearestConfig
from lmeraser_ray.work import Answers


@dataclass(frozen=True)
class Routes:
    """Who answers q queries. shards: [q, m] int64, nearest first; weights: [q, m] float64, rows sum to 1."""

    shards: NDArray[np.int64]
    weights: NDArray[np.float64]

    def queries(self) -> dict[int, NDArray[np.int64]]:
        """Which queries each shard is asked, ascending."""
        return {int(shard): np.flatnonzero((self.shards == shard).any(1)) for shard in np.unique(self.shards)}


def route(features: NDArray[np.float32], prototypes: NDArray[np.float64], config: NearestConfig) -> Routes:
    """The nearest shards of each query and their weights. features: [q, d], prototypes: [k, d], k ≥ 1."""
    m = min(config.shards, len(prototypes))
    shards, near = np.empty((len(features), m), np.int64), np.empty((len(features), m))
    for at in range(0, len(features), 4096):
        distances = cdist(features[at : at + 4096].astype(np.float64), prototypes, "sqeuclidean")
        shards[at : at + 4096] = np.argsort(distances, axis=1, kind="stable")[:, :m]
        near[at : at + 4096] = np.take_along_axis(distances, shards[at : at + 4096], 1)
    if config.temperature is None:
        return Routes(shards, np.full_like(near, 1 / m))
    tiny = np.finfo(np.float64).tiny
    with np.errstate(over="ignore"):  # a query that is a prototype: all others are infinitely far
        weights = np.exp(-((near + tiny) / (near[:, :1] + tiny) - 1) / config.temperature)
    return Routes(shards, weights / weights.sum(1, keepdims=True))


@dataclass(frozen=True)
class Predictions:
    """Answers to q queries. classes: c labels, sorted; probabilities: [q, c] float64, rows sum to 1; routes: who answered."""

    classes: tuple[str, ...]
    probabilities: NDArray[np.float64]
    routes: Routes

    @property
    def labels(self) -> list[str]:
        """The most probable class of each query."""
        return [self.classes[i] for i in self.probabilities.argmax(1)] if self.classes else []


def combine(routes: Routes, asked: Mapping[int, NDArray[np.int64]], answers: Mapping[int, Answers]) -> Predictions:
    """Average what the shards answered. `asked[k]` are the queries, in order, that `answers[k]` is about."""
    classes = tuple(sorted({name for part in answers.values() for name in part.classes}))
    column = {name: i for i, name in enumerate(classes)}
    total = np.zeros((len(routes.shards), len(classes)))
    for shard, part in sorted(answers.items()):  # in one order: sums of floats depend on it, and answers come in any
        queries = asked[shard]
        weights = np.where(routes.shards[queries] == shard, routes.weights[queries], 0).sum(1, keepdims=True)
        total[np.ix_(queries, np.array([column[name] for name in part.classes]))] += weights * part.probabilities
    return Predictions(classes, total, routes)
