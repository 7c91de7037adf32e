"""Which shards answer a query, and how their answers become one prediction.

    queries → route → shards and weights → (each shard answers) → combine → predictions

nearest: the m shards whose prototypes are nearest; all: every shard; hash: the shard that a keyed
hash of the query's pixels chooses; blend: those of several systems. Invariant: a prediction is a
function of the query, the prototypes and the constituents, not of the other queries. Shards are
numbered here by their place among the shards that have records.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import Aggregation, AllConfig, BlendConfig, HashConfig, NearestConfig
from lmeraser_ray.models.aggregation.answers import Answers
from lmeraser_ray.models.aggregation.nearest import nearest_shards
from lmeraser_ray.storage.digests import bucket_of, keyed_digest, seeded_key


@dataclass(frozen=True)
class Routes:
    """The shards that answer q queries. shards: [q, m] int64, nearest first (in a blend those of
    the first system, then those of the next); weights: [q, m] float64, rows sum to 1; voters: the
    shards whose answer counts as one vote for its most probable class."""

    shards: NDArray[np.int64]
    weights: NDArray[np.float64]
    voters: frozenset[int] = frozenset()

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
    """The k ≥ 1 shards that can answer: their numbers in the partition and, where it has any, the
    prototypes [j, d] float64 of the j cells that they are of. cells: [k], the place among these of
    each shard's cell, where several shards may be of one; None where shard i is of cell i."""

    numbers: tuple[int, ...]
    prototypes: NDArray[np.float64] | None
    cells: NDArray[np.int64] | None = None


def route(config: Aggregation, queries: Queries, serving: Serving, *, seed: int) -> Routes:
    """The shards of one system that answer each query, as `config` says. seed: keys the hash of
    the pixels."""
    k = len(serving.numbers)
    match config:
        case NearestConfig():
            if serving.prototypes is None:
                raise ValueError("nearest shards need prototypes")  # the configuration refuses it
            near = Routes(*nearest_shards(queries.features(), serving.prototypes, config))
            return near if serving.cells is None else to_leaves(near, serving.cells)
        case AllConfig():
            everyone = np.tile(np.arange(k), (queries.count, 1))
            voters = frozenset(range(k)) if config.combine == "vote" else frozenset[int]()
            return Routes(everyone, np.full(everyone.shape, 1 / k), voters)
        case HashConfig():
            key = seeded_key(seed, "route")
            chosen = np.array(
                [bucket_of(keyed_digest(key, found), k) for found in queries.hashes()], np.int64
            ).reshape(-1, 1)
            return Routes(chosen, np.ones(chosen.shape))
        case BlendConfig():
            raise ValueError("a blend is routed system by system")
        case _:
            assert_never(config)


def to_leaves(near: Routes, cells: NDArray[np.int64]) -> Routes:
    """Have the leaves of each cell answer as one: they share its weight. near: routes to cells;
    cells: [k], the cell of each shard. Rows are filled up with a leaf of their own, of weight 0."""
    counts = np.bincount(cells)
    leaves, starts = np.argsort(cells, kind="stable"), np.cumsum(counts) - counts
    sizes = counts[near.shards]
    width = int(np.sort(counts)[::-1][: near.shards.shape[1]].sum())  # whatever was asked
    shards = np.repeat(leaves[starts[near.shards[:, :1]]], width, axis=1)
    weights = np.zeros(shards.shape)
    for row, (places, each) in enumerate(zip(near.shards, near.weights, strict=True)):
        found = np.concatenate([leaves[starts[at] : starts[at] + counts[at]] for at in places])
        shards[row, : len(found)] = found
        weights[row, : len(found)] = np.repeat(each / sizes[row], sizes[row])
    return Routes(shards, weights)


@dataclass(frozen=True)
class MemberRoutes:
    """The shards of one system of a blend that answer, by their place in the system. first: the
    place of the system's first shard among those of all systems; weight: of the system."""

    routes: Routes
    first: int
    weight: float


def blended(members: Sequence[MemberRoutes]) -> Routes:
    """The routes of m ≥ 1 systems as one: a shard's weight times the share that its system has of
    the weights of all systems that can answer."""
    if len(members) == 1:
        return members[0].routes
    total = sum(member.weight for member in members)
    return Routes(
        np.concatenate([member.routes.shards + member.first for member in members], axis=1),
        np.concatenate(
            [member.routes.weights * (member.weight / total) for member in members], axis=1
        ),
        frozenset(place + member.first for member in members for place in member.routes.voters),
    )


@dataclass(frozen=True)
class Predictions:
    """Answers to q queries. classes: all c labels of the state, sorted, whatever was asked;
    probabilities: [q, c] float64, rows sum to 1; routes: the shards that answered."""

    classes: tuple[str, ...]
    probabilities: NDArray[np.float64]
    routes: Routes

    @property
    def labels(self) -> list[str]:
        """The most probable class of each query, ties to the first."""
        return [self.classes[i] for i in self.probabilities.argmax(1)] if self.classes else []


def combine(
    routes: Routes,
    asked: Mapping[int, NDArray[np.int64]],
    answers: Mapping[int, Answers],
    classes: tuple[str, ...],
) -> Predictions:
    """Average the shards' answers by their weights. asked[k]: the queries [m] int64, in order, that
    shard k was asked; answers[k]: its answers to these; classes: all labels that any shard can
    answer, sorted. They are the columns whichever shards were asked, so that predictions of two
    calls can be laid side by side."""
    column = {name: i for i, name in enumerate(classes)}
    total = np.zeros((len(routes.shards), len(classes)))
    for shard, part in sorted(
        answers.items()
    ):  # in one order: sums of floats depend on it, and answers come in any
        queries = asked[shard]
        weights = np.where(routes.shards[queries] == shard, routes.weights[queries], 0).sum(
            1, keepdims=True
        )
        found = votes(part.probabilities) if shard in routes.voters else part.probabilities
        total[np.ix_(queries, np.array([column[name] for name in part.classes]))] += weights * found
    return Predictions(classes, total, routes)


def votes(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 for the most probable class, ties to the first, 0 for all others. [m, c] → [m, c]
    float32."""
    found: NDArray[np.float32] = np.eye(probabilities.shape[1], dtype=np.float32)[
        probabilities.argmax(1)
    ]
    return found
