"""The partition against the paper's own algorithms, written out naively; and what exactness asks of
it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lmeraser_ray.config import AdaptiveConfig
from lmeraser_ray.models.partition.adaptive import (
    by_first_appearance,
    fit_clusters,
    nearest,
    prototype,
    sample_order,
)
from lmeraser_ray.models.partition.stage import partition_key
from lmeraser_ray.storage.digests import keyed_hash, seeded_key

Floats = NDArray[np.float64]


def config(**fields: object) -> AdaptiveConfig:
    tree: dict[str, object] = {"linkage": "average", "shards": None, **fields}
    if tree["shards"] is None:
        tree.setdefault("threshold", 1.0)
    return AdaptiveConfig.model_validate(tree)


def hier_cluster(features: Floats, t: float) -> set[frozenset[int]]:
    """Algorithm 2 of the paper, line by line, with average linkage."""
    matrix = [[math.dist(a, b) for b in features] for a in features]
    clusters = [frozenset([i]) for i in range(len(features))]
    while True:
        min_dist, to_merge = math.inf, None
        for i in range(len(clusters)):
            for j in range(i + 1, len(clusters)):
                pairs = [matrix[a][b] for a in clusters[i] for b in clusters[j]]
                dist = math.fsum(pairs) / len(pairs)
                if dist < min_dist:
                    min_dist, to_merge = dist, (clusters[i], clusters[j])
        if min_dist > t or len(clusters) == 1 or to_merge is None:
            return set(clusters)
        clusters = [cluster for cluster in clusters if cluster not in to_merge]
        clusters.append(to_merge[0] | to_merge[1])


def groups(labels: NDArray[np.int32]) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == k).tolist()) for k in range(labels.max() + 1)}


POINTS = np.array([[0, 0], [10, 0], [0, 1], [10, 2], [0, 2], [30, 0]], float)


def test_a_hand_made_example() -> None:
    """Two groups and one outlier; prototypes are their means, numbered by their first member."""
    found = fit_clusters(POINTS, config(threshold=3.0))
    assert found.sampled.tolist() == [0, 1, 0, 1, 0, 2]
    assert found.prototypes.tolist() == [[0, 1], [10, 1], [30, 0]]
    assert nearest(np.array([[4, 1], [6, 1], [100, 0]], np.float32), found.prototypes).tolist() == [
        0,
        1,
        2,
    ]


@pytest.mark.parametrize(
    ("threshold", "shards"), [(0.9, 6), (1.0, 5), (1.6, 4), (2.5, 3), (12.0, 2), (50.0, 1)]
)
def test_the_threshold_cuts_where_the_paper_does(threshold: float, shards: int) -> None:
    """A distance that equals t is merged (line 12 breaks where minDist > t)."""
    found = fit_clusters(POINTS, config(threshold=threshold))
    assert len(found.prototypes) == shards
    assert groups(found.sampled) == hier_cluster(POINTS, threshold)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 14), st.integers(1, 3), st.floats(0.05, 3))
def test_average_linkage_is_algorithm_2(seed: int, n: int, d: int, threshold: float) -> None:
    """On points in general position, where no two distances are equal."""
    features = np.random.default_rng(seed).normal(size=(n, d))
    assert groups(fit_clusters(features, config(threshold=threshold)).sampled) == hier_cluster(
        features, threshold
    )


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 2**32),
    st.integers(1, 30),
    st.integers(1, 40),
    st.sampled_from(["average", "ward", "complete", "single"]),
)
def test_shards_are_at_most_as_many_as_asked(seed: int, n: int, shards: int, linkage: str) -> None:
    features = np.random.default_rng(seed).normal(size=(n, 3))
    found = fit_clusters(features, config(shards=shards, linkage=linkage))
    assert len(found.prototypes) == min(n, shards)
    assert set(found.sampled.tolist()) == set(range(min(n, shards)))


def test_linkages_differ() -> None:
    """Each option reaches scipy: on a chain with a gap they cut differently."""
    features = np.array([[0], [1], [2.1], [3.3], [4.6], [8]], float)
    linkages = ("single", "complete", "average")
    cuts = {
        linkage: tuple(fit_clusters(features, config(shards=3, linkage=linkage)).sampled)
        for linkage in linkages
    }
    assert cuts["single"] == (0, 0, 0, 0, 1, 2)
    assert cuts["complete"] != cuts["single"]


@pytest.mark.parametrize("fields", [{"threshold": 1.0}, {"shards": 4}, {"shards": 1}])
def test_one_record_is_one_shard(fields: dict[str, object]) -> None:
    found = fit_clusters(np.array([[1.0, 2.0]]), config(**fields))
    assert (found.sampled.tolist(), found.prototypes.tolist()) == ([0], [[1, 2]])


def test_equal_features_are_one_shard() -> None:
    """All distances are zero: there is nothing to cut."""
    for fields in ({"threshold": 1e-9}, {"shards": 3}):
        assert fit_clusters(np.ones((5, 2)), config(**fields)).sampled.tolist() == [0] * 5


def test_one_shard() -> None:
    found = fit_clusters(POINTS, config(shards=1))
    assert found.sampled.tolist() == [0] * 6
    assert nearest(POINTS.astype(np.float32), found.prototypes).tolist() == [0] * 6


def test_clusters_are_numbered_by_first_appearance() -> None:
    assert by_first_appearance(np.array([7, 3, 7, 9, 3], np.int32)).tolist() == [0, 1, 0, 2, 1]


def test_the_medoid_is_a_member() -> None:
    """The one with the smallest sum of distances; of several, the first in the sample's order."""
    assert prototype(np.array([[0.0], [1], [10]]), "medoid").tolist() == [1]
    assert prototype(np.array([[0.0], [1], [10]]), "mean").tolist() == [11 / 3]
    assert prototype(np.array([[1.0], [0], [2]]), "medoid").tolist() == [1]
    assert prototype(np.array([[2.0], [0]]), "medoid").tolist() == [2]
    found = fit_clusters(POINTS, config(threshold=3.0, prototype="medoid"))
    assert found.prototypes.tolist() == [[0, 1], [10, 0], [30, 0]]


def test_ties_go_to_the_lowest_prototype() -> None:
    prototypes = np.array([[1.0, 0], [-1, 0], [1, 0]])
    assert nearest(np.array([[0, 5], [1, 0], [-1, 0]], np.float32), prototypes).tolist() == [
        0,
        0,
        1,
    ]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 300), st.data())
def test_a_records_shard_does_not_depend_on_who_is_assigned_with_it(
    seed: int, d: int, data: st.DataObject
) -> None:
    """Close calls included: two prototypes that differ in the last bit."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(23, d)).astype(np.float32)
    prototypes = rng.normal(size=(4, d))
    prototypes[2] = np.nextafter(prototypes[1], np.inf)
    whole = nearest(features, prototypes)
    some = data.draw(st.lists(st.integers(0, 22), min_size=1, unique=True))
    assert nearest(features[some], prototypes).tolist() == whole[some].tolist()


def test_more_records_than_one_block_of_distances() -> None:
    features = np.random.default_rng(0).normal(size=(9000, 2)).astype(np.float32)
    prototypes = np.random.default_rng(1).normal(size=(5, 2))
    whole = nearest(features, prototypes)
    brute = np.square(features[:, None].astype(float) - prototypes).sum(2).argmin(1)
    assert whole.tolist() == brute.tolist()
    assert whole[4090:4100].tolist() == nearest(features[4090:4100], prototypes).tolist()


id_sets = st.sets(st.text("ab/é0", min_size=1, max_size=5), min_size=1, max_size=30)


@settings(deadline=None, max_examples=50)
@given(id_sets, st.integers(1, 40), st.integers(0, 3), st.data())
def test_the_sample_is_a_function_of_the_set(
    ids: set[str], size: int, seed: int, data: st.DataObject
) -> None:
    """Whatever the order of arrival; and it is the smallest keyed hashes, smallest first."""
    names = data.draw(st.permutations(sorted(ids)))
    sampled = [names[i] for i in sample_order(seed, names, size)]
    key = seeded_key(seed, "sample")
    assert sampled == sorted(ids, key=lambda name: keyed_hash(key, name))[:size]


@settings(deadline=None, max_examples=50)
@given(id_sets, st.integers(1, 10), st.data())
def test_deleting_an_unsampled_record_leaves_the_sample(
    ids: set[str], size: int, data: st.DataObject
) -> None:
    """And a sampled one is replaced by the next in line, the others staying in their order."""
    names = sorted(ids)
    order = [names[i] for i in sample_order(0, names, len(names))]
    gone = data.draw(st.sampled_from(names))
    left = [name for name in names if name != gone]
    after = [left[i] for i in sample_order(0, left, size)]
    assert after == [name for name in order if name != gone][:size]
    if gone not in order[:size]:
        assert after == order[:size]


def test_another_seed_samples_others() -> None:
    names = [f"r{i}" for i in range(100)]
    assert len({tuple(sample_order(seed, names, 10)) for seed in range(5)}) == 5
    assert sample_order(0, [f"r{i}" for i in range(10)], 4).tolist() == [5, 6, 9, 8], (
        "changes with a version only on purpose"
    )


def test_the_partitions_key_knows_its_configuration_backbone_and_sample() -> None:
    sample = np.arange(64, dtype=np.uint8).reshape(2, 32)
    base = config(threshold=1.0)
    keys = [
        partition_key(base, "ab" * 32, sample),
        partition_key(base, "cd" * 32, sample),
        partition_key(base, "ab" * 32, sample[::-1]),
        partition_key(base, "ab" * 32, sample[:1]),
        *(
            partition_key(config(**change), "ab" * 32, sample)
            for change in (
                {"threshold": 2.0},
                {"shards": 3},
                {"linkage": "ward"},
                {"prototype": "medoid"},
                {"sample_size": 7},
            )
        ),
    ]
    assert len(set(keys)) == len(keys)
