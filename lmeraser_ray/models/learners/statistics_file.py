"""The file of a shard's statistics: what a later deletion subtracts from.

    safetensors:  counts [c], sums [c, d], squares [1] int64, by class
                  gram   [d (d + 1) / 2] int64: the upper triangle, row by row, where there is one
                  the classes in the metadata, as in a constituent

Place in the flow: count → statistics → constituent. Invariants: the bytes are a function of the set
of records; what is read is a file of statistics, or an error; no row of a record is in it.
"""

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.errors import VerificationError
from lmeraser_ray.models.learners.constituent import pack_labelled, read_labelled
from lmeraser_ray.models.learners.statistics import Statistics
from lmeraser_ray.storage.store import REPAIR, Store, StoredObject
from lmeraser_ray.storage.tensors import Arrays, require_kinds

KINDS = {"counts": ("int64", 1), "sums": ("int64", 2), "squares": ("int64", 1)}
GRAM = {"gram": ("int64", 1)}


def pack_statistics(statistics: Statistics) -> bytes:
    """The canonical file."""
    arrays: Arrays = {
        "counts": statistics.counts,
        "sums": statistics.sums,
        "squares": np.array([statistics.squares], np.int64),
    }
    if statistics.gram is not None:
        arrays["gram"] = np.concatenate([row[i:] for i, row in enumerate(statistics.gram)])
    return pack_labelled(statistics.classes, arrays, {})


def read_statistics(store: Store, item: StoredObject, *, gram: bool) -> Statistics:
    """Stored statistics. gram: whether they must have a Gram matrix. Errors: `VerificationError`
    where the object is missing, damaged, or of other arrays."""
    try:
        classes, arrays, _ = read_labelled(store.read(item))
        return statistics_of(classes, arrays, gram=gram)
    except ValueError as error:
        raise VerificationError(
            f"{item.name} is damaged: it does not hold the statistics of a shard ({error}). "
            f"{REPAIR}"
        ) from error


def statistics_of(classes: tuple[str, ...], arrays: Arrays, *, gram: bool) -> Statistics:
    """Statistics from the arrays of their file. Errors: `ValueError` where they do not fit."""
    require_kinds(arrays, KINDS | (GRAM if gram else {}))
    counts, sums, squares = (arrays[name] for name in KINDS)
    d = sums.shape[1]
    if list(classes) != sorted({*classes}) or not len(classes) == len(counts) == len(sums) > 0:
        raise ValueError("expected a row for each class")
    if counts.min() < 1 or squares.shape != (1,) or squares[0] < 0:
        raise ValueError("expected counts of records")
    if arrays.keys() - KINDS.keys() - (GRAM.keys() if gram else set()):
        raise ValueError("an array too many")
    if gram and arrays["gram"].shape != (d * (d + 1) // 2,):
        raise ValueError("expected a triangle of products")
    whole = symmetric(arrays["gram"], d) if gram else None
    return Statistics(classes, counts, sums, int(squares[0]), whole)


def symmetric(triangle: NDArray[np.int64], d: int) -> NDArray[np.int64]:
    """The matrix [d, d] of an upper triangle [d (d + 1) / 2], row after row."""
    found, at = np.empty((d, d), np.int64), 0
    for i in range(d):
        found[i, i:] = found[i:, i] = triangle[at : at + d - i]
        at += d - i
    return found
