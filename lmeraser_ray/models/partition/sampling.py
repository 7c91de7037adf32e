"""Which records are clustered (RandomSample of Algorithm 1): those with the smallest keyed hashes
among all training records, or among the permanent ones.

Place in the flow: before `stage`. Invariants: the sample is a function of the set of records; the
deletion or the arrival of a record that may not be sampled moves no prototype, as long as there is
one that may.
"""

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import AdaptiveConfig, ClusteringConfig
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.models.partition.adaptive import sample_order
from lmeraser_ray.models.partition.people import People
from lmeraser_ray.storage.digests import seeded_key


def able_among(
    config: ClusteringConfig, index: RecordIndex, trains: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which of some training records may be sampled [n] bool: all, or the permanent ones; all
    again, where none of these is left. trains: [n] bool."""
    if isinstance(config, AdaptiveConfig) and config.sampled == "permanent":
        stays = index.permanent & trains
        return stays if stays.any() else trains
    return trains


def sample_of(
    config: ClusteringConfig, seed: int, index: RecordIndex, size: int
) -> NDArray[np.int64]:
    """The positions of the first `size` training records that may be sampled, in the sample's
    order."""
    return sample_positions(index, seed, size, able_among(config, index, ~index.test))


def sample_positions(
    index: RecordIndex, seed: int, size: int, able: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """The positions of the first `size` of some records in the sample's order. able: which these
    are [n] bool."""
    key, first = seeded_key(seed, "sample"), np.empty(0, np.uint32)
    parts = [able[index.of_bucket(i)] for i in range(len(index.columns))]
    for part, mine in zip(index.columns, parts, strict=True):
        first = np.concatenate([first, part.leading(key)[mine]])
        first = np.partition(first, size - 1)[:size] if size < len(first) else first
    last = first.max(initial=0)  # the whole hashes are compared only of those that may be first
    rows = (
        np.flatnonzero((part.leading(key) <= last) & mine)
        for part, mine in zip(index.columns, parts, strict=True)
    )
    near = np.concatenate(
        [
            np.empty(0, np.int64),
            *(start + some for start, some in zip(index.starts, rows, strict=False)),
        ]
    )
    chosen: NDArray[np.int64] = near[sample_order(seed, index.names("record_id", near), size)]
    return chosen


def sampled_records(config: AdaptiveConfig, seed: int, index: RecordIndex) -> NDArray[np.bool_]:
    """Whether each record is sampled for an adaptive partition, or its person is [n] bool."""
    found = np.zeros(len(index), np.bool_)
    if config.unit == "subject":
        people = People.read(index, seed, ~index.test)
        able = able_among(config, index, ~index.test)
        found[np.isin(people.of, people.sample(able, config.sample_size))] = True
    else:
        found[sample_of(config, seed, index, config.sample_size)] = True
    return found
