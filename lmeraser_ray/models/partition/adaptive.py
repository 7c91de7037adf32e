"""Adaptive partition: Algorithms 1 (AdaptiveClustering) and 2 (HierCluster) of the paper, exact and
canonical.

    sample (smallest keyed hashes of the live ids) → pairwise Euclidean distances → linkage
    → cut → prototypes → every other record to its nearest prototype

    >>> from lmeraser_ray.config import ClusteringConfig
    >>> features = np.array([[0.0, 0.0], [0.0, 2.0], [9.0, 9.0]])
    >>> clusters = fit_clusters(features, ClusteringConfig(shards=2))
    >>> nearest(np.float32([[8, 8], [1, 1]]), clusters.prototypes)
    array([1, 0], dtype=int32)

Place in the flow: features → partition → shards; `stage` calls this module and stores the result.
Invariants: the result is a function of the set of records, not of their order; all arithmetic is
float64; each distance is computed by itself, so a record's shard does not depend on which others
are assigned with it. Clusters are numbered by their first member in the sample's order; a tie goes
to the lowest number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import cdist, pdist

from lmeraser_ray.config import ClusteringConfig
from lmeraser_ray.config.partition import is_unset
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
    """The records that are clustered (RandomSample of Algorithm 1): the positions among `ids` of
    the `size` smallest keyed hashes, smallest first. Returns [min(size, n)] int64.

    Deleting a record that was not sampled changes nothing here; a deleted sampled record is
    replaced by the record with the next smallest hash.
    """
    hashes = (
        np.array(keyed_hashes(seeded_key(seed, "sample"), ids), dtype="S32")
        .view(">u8")
        .reshape(-1, 4)
    )
    return np.lexsort(hashes.T[::-1])[:size]


def fit_clusters(features: Floats, config: ClusteringConfig) -> Clusters:
    """Cluster sampled features and compute the prototypes. features: [s, d] float64, s ≥ 1."""
    sampled = cut(pdist(features), len(features), config)
    return Clusters(prototypes_of(features, sampled, config.prototype), sampled)


def cut(distances: Floats, size: int, config: ClusteringConfig) -> Labels:
    """HierCluster (Algorithm 2): merge the closest clusters until the threshold is reached, or the
    number of shards. distances: condensed [s (s - 1) / 2] float64, as `pdist` returns them.

    Returns the cluster of each of the s = `size` records [s] int32, numbered by first appearance;
    at most `config.shards` clusters.
    """
    if is_unset(config):
        raise ValueError("a partition needs its threshold or its number of shards")
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
    """Renumber clusters 0, 1, … in the order in which they first occur. labels: [s] → [s]."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first)).astype(np.int32)[inverse]


def prototypes_of(features: Floats, labels: Labels, kind: str) -> Floats:
    """CompPrototype (Algorithm 1): the mean or the medoid of each cluster. features: [s, d]
    float64; labels: [s] int32 → [k, d] float64."""
    return np.stack([prototype(features[labels == k], kind) for k in range(int(labels.max()) + 1)])


def prototype(members: Floats, kind: str) -> Floats:
    """The prototype of one cluster: its mean, or its medoid, the member with the least sum of
    distances to the others (a tie goes to the first). members: [m, d] in the sample's order → [d]
    float64."""
    if kind == "mean":
        mean: Floats = members.mean(0)
        return mean
    medoid: Floats = members[np.argmin(cdist(members, members).sum(1))]
    return medoid


def nearest(features: NDArray[np.float32] | Floats, prototypes: Floats) -> Labels:
    """The nearest prototype of each record by Euclidean distance, ties to the lowest. features:
    [n, d] float32 or float64; prototypes: [k, d] float64 → [n] int32."""
    found = np.empty(len(features), np.int32)
    for at in range(0, len(features), 4096):
        part = np.ascontiguousarray(features[at : at + 4096], np.float64)
        found[at : at + 4096] = cdist(part, prototypes, "sqeuclidean").argmin(1)
    return found
