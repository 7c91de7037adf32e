"""A random order of records that anybody can draw again."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.storage.digests import keyed_hashes, seeded_key


def hashed_order(names: Sequence[str], seed: int, domain: str) -> NDArray[np.int64]:
    """Return the positions [n] int64 of names in the order of their keyed hashes. domain: another
    domain is another, independent order.

    >>> hashed_order(["a", "b", "c", "d"], seed=0, domain="example")
    array([3, 2, 0, 1])
    """
    hashes = keyed_hashes(seeded_key(seed, domain), names)
    return np.array(sorted(range(len(hashes)), key=hashes.__getitem__), np.int64)
