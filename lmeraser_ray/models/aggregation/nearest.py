"""Nearest prototypes: a query is answered by the m shards whose prototypes are nearest, averaged
(m = 1 is the paper's rule).

    >>> prototypes = np.array([[0.0, 0.0], [4.0, 0.0], [9.0, 9.0]])
    >>> nearest_shards(np.float32([[1, 0]]), prototypes, NearestConfig(shards=2, temperature=None))
    (array([[0, 1]]), array([[0.5, 0.5]]))

    weight of shard i  ∝  exp(-(d²ᵢ / d²₁ - 1) / temperature),  d₁: distance of the nearest shard

A class that a constituent has never seen has probability 0 in its answer, and a shard of one class
is certain of it. So the plain mean lets far shards shout down the near one (quickstart, 5 seeds:
0.95 for the plain mean of two, 0.98 with weights that fall with distance). Ties between prototypes
go to the first.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from lmeraser_ray.config import NearestConfig


def nearest_shards(
    features: NDArray[np.float32], prototypes: NDArray[np.float64], config: NearestConfig
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The shards that answer each query [q, m] int64, nearest first, and their weights [q, m]
    float64, whose rows sum to 1; m is `config.shards`, or k where there are fewer. features: [q, d]
    float32; prototypes: [k, d] float64, k ≥ 1."""
    m = min(config.shards, len(prototypes))
    shards, near = np.empty((len(features), m), np.int64), np.empty((len(features), m))
    for at in range(0, len(features), 4096):
        distances = cdist(features[at : at + 4096].astype(np.float64), prototypes, "sqeuclidean")
        shards[at : at + 4096] = np.argsort(distances, axis=1, kind="stable")[:, :m]
        near[at : at + 4096] = np.take_along_axis(distances, shards[at : at + 4096], 1)
    if config.temperature is None:
        return shards, np.full_like(near, 1 / m)
    tiny = np.finfo(np.float64).tiny
    with np.errstate(over="ignore"):  # a query that is a prototype: all others are infinitely far
        weights = np.exp(-((near + tiny) / (near[:, :1] + tiny) - 1) / config.temperature)
    return shards, weights / weights.sum(1, keepdims=True)
