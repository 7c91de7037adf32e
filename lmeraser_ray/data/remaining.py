"""The live records without some: the buckets that lose none stay the very same objects."""

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.data.buckets import Bucket, read_rows, without
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.storage.store import Store


def remaining(store: Store, index: RecordIndex, gone: NDArray[np.bool_]) -> list[Bucket]:
    """The buckets without the rows that go [n] bool."""
    listing = store.listing()
    left: list[Bucket] = []
    for i, bucket in enumerate(index.buckets):
        leaving = gone[index.of_bucket(i)]
        kept = without(store, listing, bucket, read_rows(store, bucket), ~leaving) if leaving.any() else bucket
        if kept:
            left.append(kept)
    return left
