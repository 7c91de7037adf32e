"""The cost of a deletion equals that of doing it, the re-clustering most of all: by the functions
of the real flow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, pdist, squareform

from lmeraser_ray.config import AdaptiveConfig
from lmeraser_ray.models.partition import recluster
from lmeraser_ray.models.partition.chains import Chains
from lmeraser_ray.models.partition.deletion import DeletionCosts, deletion_costs
from lmeraser_ray.models.partition.feature_rows import joined
from tests.support.reclustering import (
    Features,
    Positions,
    assignment,
    cases,
    config_of,
    costs_of,
    mixture,
    shards,
)


def naive(
    features: Features, order: Positions, config: AdaptiveConfig, positions: Positions
) -> list[tuple[int, bool, int, int]]:
    before = shards(assignment(features, order, config))
    sample = set(order[: config.sample_size].tolist())
    costs = []
    for position in positions.tolist():
        trained = shards(assignment(features, order[order != position], config)) - before
        costs.append((position, position in sample, sum(map(len, trained)), len(trained)))
    return costs


def rows(costs: DeletionCosts) -> list[tuple[int, bool, int, int]]:
    return list(
        zip(
            costs.positions.tolist(),
            costs.sampled.tolist(),
            costs.members.tolist(),
            costs.touched.tolist(),
            strict=True,
        )
    )


@settings(max_examples=200, deadline=None)
@given(cases(), st.sampled_from([1, 2, 16]), st.sampled_from([1, 400, 2**28]))
def test_costs_equal_doing_it(
    case: tuple[Features, Positions, AdaptiveConfig, Positions], ranked: int, block_bytes: int
) -> None:
    features, order, config, positions = case
    done: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recluster, "RANKED", ranked)
        patch.setattr(recluster, "BLOCK_BYTES", block_bytes)
        costs = costs_of(features, order, config, positions, progress=done.append)
    assert rows(costs) == naive(features, order, config, positions)
    assert sum(done) == len(positions)
    assert costs.n == len(features)


@pytest.mark.parametrize("prototype", ["mean", "medoid"])
@pytest.mark.parametrize(
    ("linkage", "cut"), [("average", 5.5), ("ward", 6), ("complete", 25), ("single", 4.3)]
)
def test_a_mixture(linkage: str, cut: float | int, prototype: str) -> None:
    features = mixture(400, 24, centres=12, spread=0.8, seed=3)
    order = np.random.default_rng(5).permutation(400)
    config = config_of(80, linkage, cut, prototype)
    positions = order[:130:2]
    assert rows(costs_of(features, order, config, positions)) == naive(
        features, order, config, positions
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("dimension", "width"), [(1, 40), (2, 9), (3, 5)])
@pytest.mark.parametrize("prototype", ["mean", "medoid"])
def test_ties(prototype: str, dimension: int, width: int, seed: int) -> None:
    """On a small grid many records are as far from an old prototype as from a fresh one: the lowest
    of the new numbers must win."""
    generator = np.random.default_rng(seed)
    features = generator.integers(width, size=(150, dimension)).astype(np.float32)
    order = generator.permutation(150)
    config = config_of(12, "average", 6, prototype)
    assert rows(costs_of(features, order, config, order[:13])) == naive(
        features, order, config, order[:13]
    )


@pytest.mark.parametrize("seed", [12, 13])
@pytest.mark.parametrize("linkage", ["average", "ward"])
def test_ties_of_two_fresh_prototypes(linkage: str, seed: int) -> None:
    """Found by search: here two fresh prototypes are equally far, and rounding in the filter alone
    would prefer the higher number."""
    generator = np.random.default_rng(seed)
    features = (generator.integers(3, size=(150, 4)) - 1000).astype(np.float32)
    order = generator.permutation(150)
    config = config_of(24, linkage, 6)
    assert rows(costs_of(features, order, config, order[:25])) == naive(
        features, order, config, order[:25]
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("linkage", ["average", "ward"])
def test_features_far_from_zero(linkage: str, seed: int) -> None:
    """Products of vectors of norm 10,000 do not tell distances of 0.001 apart: what the filter does
    not decide is computed."""
    generator = np.random.default_rng(seed)
    features = (4000 + generator.integers(6, size=(200, 6)) / 2**11).astype(np.float32)
    order = generator.permutation(200)
    config = config_of(40, linkage, 9)
    assert rows(costs_of(features, order, config, order[:50])) == naive(
        features, order, config, order[:50]
    )


@pytest.mark.parametrize("dimension", [1, 2, 3, 5, 8, 13, 64, 449])
def test_each_distance_is_computed_by_itself(dimension: int) -> None:
    """What the cache, the filter and the order of the flow rest on: chosen rows and columns give
    the same bits."""
    generator = np.random.default_rng(dimension)
    x = generator.normal(size=(41, dimension)).astype(np.float32).astype(np.float64)
    y = generator.normal(size=(23, dimension))
    full = cdist(x, y, "sqeuclidean")
    between = squareform(pdist(x))
    assert between.tobytes() == cdist(x, x).tobytes()
    for r in (1, 2, 3, 4, 5, 7, 8, 41):
        for c in (1, 2, 3, 5, 8, 23):
            chosen, columns = generator.permutation(41)[:r], generator.permutation(23)[:c]
            assert (
                cdist(x[chosen], y[columns], "sqeuclidean").tobytes()
                == full[np.ix_(chosen, columns)].tobytes()
            )
        if r > 1:
            assert (
                squareform(pdist(x[chosen])).tobytes() == between[np.ix_(chosen, chosen)].tobytes()
            )


def test_the_only_record() -> None:
    costs = costs_of(
        np.ones((1, 3), np.float32),
        np.zeros(1, np.int64),
        config_of(5, "average", 1.0),
        np.zeros(1, np.int64),
    )
    assert rows(costs) == [(0, True, 0, 0)]
    assert costs.share.tolist() == [0]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=9), st.integers(1, 12))
def test_blocks_are_the_rows_in_order(heights: list[int], height: int) -> None:
    rows = np.arange(2 * sum(heights), dtype=np.float32).reshape(-1, 2)
    found = list(joined(np.split(rows, np.cumsum(heights)[:-1]) if heights else [], height))
    assert [len(block) for block in found[:-1]] == [height] * (len(found) - 1)
    assert all(0 < len(block) <= height for block in found)
    assert np.concatenate([rows[:0], *found]).tolist() == rows.tolist()


def test_only_a_sampled_record_needs_features() -> None:
    class Nobody:
        def at(self, positions: Positions) -> Features:
            raise AssertionError("asked")

        def blocks(self, height: int) -> list[Features]:
            raise AssertionError("asked")

    shard = Chains.of(np.array([0, 0, 1, 1, 1, 0], np.int32))
    config = config_of(3, "average", 2)
    costs = deletion_costs(Nobody(), shard, np.array([1, 4, 2, 5]), config, np.array([0, 3, 5]))
    assert rows(costs) == [(0, False, 2, 1), (3, False, 2, 1), (5, False, 2, 1)]
    with pytest.raises(AssertionError, match="asked"):
        deletion_costs(Nobody(), shard, np.array([1, 4, 2, 5]), config, np.array([2]))
