"""Which shards answer a query, and how their answers become one prediction.

    queries → route → shards and weights → (each shard answers) → combine → predictions

nearest: the m shards whose prototypes are nearest; all: every shard; hash: the shard that a keyed
hash of the query's pixels chooses. Invariant: a prediction is a function of the query, the
prototypes and the constituents, not of the other queries. Shards are numbered here by their place
among the shards that have records.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import Aggregation, AllConfig, HashConfig, NearestConfig
from lmeraser_ray.models.aggregation.answers import Answers
from lmeraser_ray.models.aggregation.nearest import nearest_shards
from lmeraser_ray.storage.digests import bucket_of, keyed_digest, seeded_key


@dataclass(frozen=True)
class Routes:
    """The shards that answer q queries. shards: [q, m] int64, nearest first; weights: [q, m]
    float64, rows sum to 1; vote: an answer counts as one vote for its most probable class."""

    shards: NDArray[np.int64]
    weights: NDArray[np.float64]
    vote: bool = False

    def queries(self) -> dict[int, NDArray[np.int64]]:
        """Which queries each shard is asked, ascending."""
        return {
            int(shard): np.flatnonzero((self.shards == shard).any(1))
            for shard in np.unique(self.shards)
        }


@dataclass(frozen=True)
class Queries:
    """What a route may need to know of q queries, computed when it is needed.

    features: [q, d] float32; hashes: SHA-256 of each query's pixels, as the backbone sees them.
    """

    count: int
    features: Callable[[], NDArray[np.float32]]
    hashes: Callable[[], list[bytes]]


@dataclass(frozen=True)
class Serving:
    """The shards that can answer: their numbers in the partition and, where it has any, their
    prototypes [k, d] float64. k ≥ 1."""

    numbers: tuple[int, ...]
    prototypes: NDArray[np.float64] | None


def route(config: Aggregation, queries: Queries, serving: Serving, *, seed: int) -> Routes:
    """The shards that answer each query, as `config` says. seed: keys the hash of the pixels."""
    k = len(serving.numbers)
    match config:
        case NearestConfig():
            if serving.prototypes is None:
                raise ValueError("nearest shards need prototypes")  # the configuration refuses it
            return Routes(*nearest_shards(queries.features(), serving.prototypes, config))
        case AllConfig():
            everyone = np.tile(np.arange(k), (queries.count, 1))
            return Routes(everyone, np.full(everyone.shape, 1 / k), vote=config.combine == "vote")
        case HashConfig():
            key = seeded_key(seed, "route")
            chosen = np.array(
                [bucket_of(keyed_digest(key, found), k) for found in queries.hashes()], np.int64
            ).reshape(-1, 1)
            return Routes(chosen, np.ones(chosen.shape))
        case _:
            assert_never(config)


@dataclass(frozen=True)
class Predictions:
    """Answers to q queries. classes: c labels, sorted; probabilities: [q, c] float64, rows sum to
    1; routes: the shards that answered."""

    classes: tuple[str, ...]
    probabilities: NDArray[np.float64]
    routes: Routes

    @property
    def labels(self) -> list[str]:
        """The most probable class of each query, ties to the first."""
        return [self.classes[i] for i in self.probabilities.argmax(1)] if self.classes else []


def combine(
    routes: Routes, asked: Mapping[int, NDArray[np.int64]], answers: Mapping[int, Answers]
) -> Predictions:
    """Average the shards' answers by their weights. asked[k]: the queries [m] int64, in order, that
    shard k was asked; answers[k]: its answers to these."""
    classes = tuple(sorted({name for part in answers.values() for name in part.classes}))
    column = {name: i for i, name in enumerate(classes)}
    total = np.zeros((len(routes.shards), len(classes)))
    for shard, part in sorted(
        answers.items()
    ):  # in one order: sums of floats depend on it, and answers come in any
        queries = asked[shard]
        weights = np.where(routes.shards[queries] == shard, routes.weights[queries], 0).sum(
            1, keepdims=True
        )
        found = votes(part.probabilities) if routes.vote else part.probabilities
        total[np.ix_(queries, np.array([column[name] for name in part.classes]))] += weights * found
    return Predictions(classes, total, routes)


def votes(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 for the most probable class, ties to the first, 0 for all others. [m, c] → [m, c]
    float32."""
    found: NDArray[np.float32] = np.eye(probabilities.shape[1], dtype=np.float32)[
        probabilities.argmax(1)
    ]
    return found
