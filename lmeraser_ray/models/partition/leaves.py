"""A bound on every shard: a cell with more records than the bound is divided by the next bit of a
keyed hash, and so on. The parts, the leaves of a binary trie, are the shards.

    cell 3: 23 records, bound 10 → bit 0: 9 records, a leaf
                                   bit 1: 14 records → bits 10: 8, bits 11: 6, two leaves

    >>> cells, hashes = np.zeros(3, np.int32), np.array([0, 2**31, 2**31 + 2**30], np.uint32)
    >>> divided(cells, hashes, bound=1, k=1)
    array([1, 5, 6], dtype=int32)
    >>> divided(cells, hashes, bound=3, k=1)
    array([0, 0, 0], dtype=int32)

Place in the flow: after every record has its cell (`stage`). Invariants: the leaves are a function
of the set of records; a deletion changes the leaf of its record, or merges leaves that fit together
again, which then have no more than `bound` records; a leaf's number depends on its cell and its
bits alone. Records of one person share all bits where the unit is the person, so that they stay
together: a person with more records than the bound has a leaf above it, and so may the records
whose first `depth_limit` bits are equal, where there are so many.
"""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.models.partition.adaptive import Labels

NUMBERS = 1 << 20
"""All numbers of shards are below this."""
Hashes = NDArray[np.uint32]


def depth_limit(k: int) -> int:
    """How many bits may divide a cell, so that the numbers of the leaves of k cells are below
    `NUMBERS`: 19 for one cell, 12 for 70."""
    return max(0, (NUMBERS // max(k, 1)).bit_length() - 2)


def cell_of(number: int, k: int) -> int:
    """The cell of a leaf, of k cells. A cell that is not divided has its own number.

    The number is (path - 1) k + cell, where a path is 1 and then its bits: 1, 10, 11, 100, …
    """
    return number % k


def divided(cells: Labels, hashes: Hashes, *, bound: int | None, k: int) -> Labels:
    """The leaf of each record [n] int32. cells: [n] int32, the cell of each, -1 for none; hashes:
    [n] uint32, of whose bits the highest divides first; k: how many cells there are."""
    number = cells.astype(np.int32)
    if bound is None:
        return number
    path, open_ = np.ones(len(cells), np.int64), np.flatnonzero(cells >= 0)
    for level in range(depth_limit(k)):
        _, at, sizes = np.unique(number[open_], return_inverse=True, return_counts=True)
        open_ = open_[sizes[at] > bound]
        if len(open_) == 0:
            break
        path[open_] = 2 * path[open_] + (hashes[open_] >> np.uint32(31 - level) & np.uint32(1))
        number[open_] = (path[open_] - 1) * k + cells[open_]
    return number


def leaf_among(cells: Labels, hashes: Hashes, leaves: Collection[int], *, k: int) -> Labels:
    """The leaf of each record [n] int32, where the numbers of all leaves are known: of some records
    of a state, without the others."""
    known = np.zeros(NUMBERS, np.bool_)
    known[list(leaves)] = True
    number = cells.astype(np.int32)
    path, open_ = np.ones(len(cells), np.int64), np.flatnonzero(cells >= 0)
    for level in range(depth_limit(k)):
        open_ = open_[~known[number[open_]]]
        if len(open_) == 0:
            break
        path[open_] = 2 * path[open_] + (hashes[open_] >> np.uint32(31 - level) & np.uint32(1))
        number[open_] = (path[open_] - 1) * k + cells[open_]
    return number
