"""Mixtures of features, and what a deletion in each costs by doing it."""

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from lmeraser_ray.config import AdaptiveConfig
from lmeraser_ray.models.learners.passes import StagePasses, every_record
from lmeraser_ray.models.partition.adaptive import Labels, fit_clusters, nearest
from lmeraser_ray.models.partition.chains import Chains
from lmeraser_ray.models.partition.deletion import DeletionCosts, deletion_costs
from lmeraser_ray.models.partition.feature_rows import Held

Features = NDArray[np.float32]
Positions = NDArray[np.int64]


def assignment(features: Features, order: Positions, config: AdaptiveConfig) -> Labels:
    """The shard of each record in `order`, as `stage.PartitionStage` finds it; -1 for the
    others."""
    found = np.full(len(features), -1, np.int32)
    if len(order):
        sample = order[: config.sample_size]
        partition = fit_clusters(features[sample].astype(np.float64), config)
        found[order] = nearest(features[order], partition.prototypes)
        found[sample] = partition.sampled
    return found


def costs_of(
    features: Features,
    order: Positions,
    config: AdaptiveConfig,
    positions: Positions,
    *,
    slices: Labels | None = None,
    classes: Labels | None = None,
    passes: StagePasses = every_record,
    fewest: int | None = None,
    joint: bool = False,
    progress: Callable[[int], object] = lambda _: None,
) -> DeletionCosts:
    """`deletion_costs` from a state that the flow's own functions make of the features."""
    old = Chains.of(assignment(features, order, config), slices, classes, passes, fewest)
    first = order[: config.sample_size + 1]
    return deletion_costs(
        Held(features), old, first, config, positions, joint=joint, progress=progress
    )


def mixture(n: int, d: int, *, centres: int, spread: float, seed: int) -> Features:
    generator = np.random.default_rng(seed)
    found = generator.normal(size=(centres, d))[
        generator.integers(centres, size=n)
    ] + spread * generator.normal(size=(n, d))
    return found.astype(np.float32)


def config_of(size: int, linkage: str, cut: float | int, prototype: str = "mean") -> AdaptiveConfig:
    by_shards = isinstance(cut, int)
    return AdaptiveConfig.model_validate(
        {
            "sample_size": size,
            "linkage": linkage,
            "threshold": None if by_shards else cut,
            "shards": cut if by_shards else None,
            "prototype": prototype,
        }
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[Features, Positions, AdaptiveConfig, Positions]:
    """Features on a coarse grid (duplicates, ties in distances and in prototypes) or not; samples
    of one record up to all and more."""
    n, d = draw(st.integers(1, 24)), draw(st.integers(1, 5))
    seed = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seed)
    width = draw(st.sampled_from([1, 2, 4, 9, None]))
    offset = draw(st.sampled_from([0, 1, 1000]))
    features = (
        generator.normal(size=(n, d))
        if width is None
        else generator.integers(width, size=(n, d)) - offset
    )
    linkage = draw(st.sampled_from(["average", "ward", "complete", "single"]))
    cut = draw(st.one_of(st.integers(1, 12), st.floats(0.05, 4)))
    config = config_of(
        draw(st.integers(1, 26)), linkage, cut, draw(st.sampled_from(["mean", "medoid"]))
    )
    positions = np.arange(n) if draw(st.booleans()) else generator.integers(n, size=n)
    return features.astype(np.float32), generator.permutation(n), config, positions


def shards(found: Labels) -> set[frozenset[int]]:
    return {
        frozenset(np.flatnonzero(found == k).tolist())
        for k in range(int(found.max(initial=-1)) + 1)
    }
