"""Adaptive partition: Algorithms 1 (AdaptiveClustering) and 2 (HierCluster) of the paper, exact and
canonical.

    sample (smallest keyed hashes of the live ids) → pairwise Euclidean distances → linkage → cut → prototypes → nearest prototype

Invariants: a function of the set of records, not of their order; float64; each distance is computed
by itself, so a record's shard does not depend on which others are assigned with it. Clusters are
numbered by their first member in the sample's order; ties go to the lowest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import cdist, pdist

from lmeraser_ray.config import ClusteringConfig
from lmeraser_ray.storage.digests import keyed_hashes, seeded_key

Floats = NDArray[np.float64]
Labels = NDArray[np.int32]


@dataclass(frozen=True)
class Clusters:
    """Prototypes [k, d] float64 and, for the s sampled records in their order, the cluster of each
    [s] int32."""

    prototypes: Floats
    sampled: Labels


def sample_order(seed: int, ids: Sequence[str], size: int) -> NDArray[np.int64]:
    """Which records are clustered (RandomSample of Algorithm 1): the positions of the `size`
    smallest keyed hashes, smallest first.

    A deleted record that was not sampled changes nothing here; a sampled one is replaced by the
    next. Returns [min(size, n)] int64.
    """
    hashes = (
        np.array(keyed_hashes(seeded_key(seed, "sample"), ids), dtype="S32")
        .view(">u8")
        .reshape(-1, 4)
    )
    return np.lexsort(hashes.T[::-1])[:size]


def fit_clusters(features: Floats, config: ClusteringConfig) -> Clusters:
    """Cluster the sampled features [s, d] float64, s ≥ 1."""
    sampled = cut(pdist(features), len(features), config)
    return Clusters(prototypes_of(features, sampled, config.prototype), sampled)


def cut(distances: Floats, size: int, config: ClusteringConfig) -> Labels:
    """HierCluster (Algorithm 2): merge the closest clusters until the threshold or the number of
    shards. `distances`: condensed.

    Returns the cluster of each record [s] int32, numbered by first appearance.
    """
    if size == 1:
        return np.zeros(1, np.int32)
    tree = linkage(distances, config.linkage)
    height, criterion = (
        (config.threshold, "distance")
        if config.threshold is not None
        else (config.shards, "maxclust")
    )
    return by_first_appearance(fcluster(tree, height, criterion))


def by_first_appearance(labels: NDArray[np.int32]) -> Labels:
    """Renumber clusters 0, 1, … in the order in which they first occur."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first)).astype(np.int32)[inverse]


def prototypes_of(features: Floats, labels: Labels, kind: str) -> Floats:
    """CompPrototype: the mean or the medoid of each cluster. features: [s, d], labels: [s] → [k, d]
    float64."""
    return np.stack([prototype(features[labels == k], kind) for k in range(int(labels.max()) + 1)])


def prototype(members: Floats, kind: str) -> Floats:
    """One cluster's prototype. members: [m, d] in the sample's order → [d]."""
    if kind == "mean":
        mean: Floats = members.mean(0)
        return mean
    medoid: Floats = members[np.argmin(cdist(members, members).sum(1))]
    return medoid


def nearest(features: NDArray[np.float32], prototypes: Floats) -> Labels:
    """The nearest prototype of each record, ties to the lowest. features: [n, d], prototypes: [k,
    d] → [n] int32."""
    found = np.empty(len(features), np.int32)
    for at in range(0, len(features), 4096):
        part = np.ascontiguousarray(features[at : at + 4096], np.float64)
        found[at : at + 4096] = cdist(part, prototypes, "sqeuclidean").argmin(1)
    return found
