"""Sufficient statistics of labelled integer features: all that class means and a ridge regression
need to know of a set of records.

They are integers and they add up, so these hold bit for bit, for all sets A and B of records that
share none:

    statistics(A ∪ B) == statistics(A) + statistics(B)    in any order and any grouping
    statistics(A - B) == statistics(A) - statistics(B)    for B within A: no need to count again

    >>> x = np.array([[1, 2], [3, 4], [5, 6]], np.int16)
    >>> every, last = (Statistics.of(x[at:], list("aab"[at:]), gram=True) for at in (0, 2))
    >>> (every - last).sums, (every - last).gram[0]
    (array([[4, 6]]), array([10, 14]))

A class is in the statistics as long as it has a record. int64 suffices: an entry of the Gram matrix
is below 2^30 n, so n < 2^33.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.errors import DataError
from lmeraser_ray.models.learners.quantize import BLOCK, Integers, doubles, squared_norms


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Of n records x: [d] int16 with labels.

    classes: the c labels that occur, sorted; counts: [c] int64, none zero; sums: [c, d] int64, Σ x
    by class; squares: Σ |x|²; gram: [d, d] int64, Σ x xᵀ, or None where it is not needed.
    """

    classes: tuple[str, ...]
    counts: NDArray[np.int64]
    sums: NDArray[np.int64]
    squares: int
    gram: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, integers: Integers, labels: Sequence[str], *, gram: bool) -> "Statistics":
        """Count and sum. integers: [n, d] int16, within ±32,767; labels: n names; gram: whether to
        sum the outer products too."""
        classes = tuple(sorted(set(labels)))
        number = {name: i for i, name in enumerate(classes)}
        codes = np.fromiter((number[name] for name in labels), np.int32, len(labels))
        members = [np.flatnonzero(codes == i) for i in range(len(classes))]
        sums = np.zeros((len(classes), integers.shape[1]), np.int64)
        for row, rows in enumerate(members):
            sums[row] = integers[rows].sum(axis=0, dtype=np.int64)
        counts = np.array([len(rows) for rows in members], np.int64)
        return cls(
            classes,
            counts,
            sums,
            int(squared_norms(integers).sum()),
            gram_of(integers) if gram else None,
        )

    @property
    def records(self) -> int:
        """n."""
        return int(self.counts.sum())

    def __add__(self, other: "Statistics") -> "Statistics":
        """Of both sets of records. They must have no record in common, or it counts twice."""
        return self._joined(other, 1)

    def __sub__(self, other: "Statistics") -> "Statistics":
        """Of the records that remain without the others. Errors: `DataError` where they cannot have
        been among these."""
        return self._joined(other, -1)

    def _joined(self, other: "Statistics", sign: int) -> "Statistics":
        if self.sums.shape[1] != other.sums.shape[1] or (self.gram is None) != (other.gram is None):
            raise ValueError(
                "statistics of different features, or of which only one has a Gram matrix"
            )
        classes = tuple(sorted({*self.classes, *other.classes}))
        row = {name: i for i, name in enumerate(classes)}
        counts, sums = (
            np.zeros(len(classes), np.int64),
            np.zeros((len(classes), self.sums.shape[1]), np.int64),
        )
        for part, factor in ((self, 1), (other, sign)):
            rows = [row[name] for name in part.classes]
            counts[rows] += factor * part.counts
            sums[rows] += factor * part.sums
        gram = None if self.gram is None or other.gram is None else self.gram + sign * other.gram
        squares, kept = self.squares + sign * other.squares, counts > 0
        if (counts < 0).any() or squares < 0 or sums[~kept].any():
            raise DataError(
                "The records to take away are not all among those that were counted: count again "
                "from the records."
            )
        return Statistics(
            tuple(name for name, keep in zip(classes, kept, strict=True) if keep),
            counts[kept],
            sums[kept],
            squares,
            gram,
        )


def gram_of(integers: Integers) -> NDArray[np.int64]:
    """Σ x xᵀ over the rows, exact. integers: [n, d] int16 → [d, d] int64.

    In blocks of 4,096 rows, each by float64 BLAS: at most 2^12 products of at most 2^30 each, so no
    partial sum is above 2^42 and none rounds (`quantize`). The blocks are added as int64.
    """
    total = np.zeros((integers.shape[1],) * 2, np.int64)
    for at in range(0, len(integers), BLOCK):
        rows = doubles(integers[at : at + BLOCK])
        total += (rows.T @ rows).numpy().astype(np.int64)
    return total
