"""A bucket's file of features: one row a record, and a check of each row, so that a task reads its
own rows and no others.

    safetensors:  features [m, d] float32
                  checks   [m, 8] uint8: the first bytes of SHA-256 over the record's digest and row

Place in the flow: records → features → partition, and the input of feature learners. Invariant:
what is read is checked, a whole file by the digest in its name, some rows by their checks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from lmeraser_ray.errors import DataError, VerificationError
from lmeraser_ray.storage.digests import digest
from lmeraser_ray.storage.store import REPAIR, Store, StoredObject
from lmeraser_ray.storage.tensors import LENGTH_BYTES, read_arrays, read_header

Features = NDArray[np.float32]
CHECK = 8
"""Bytes of a row's check: a row that was damaged passes once in 2^64 times."""
MAX_DIMENSION = 1 << 24
"""Of a feature: a head that claims more would have a row of it read."""
SHOWN = 5
"""Names of pictures in a message."""
HEAD = 512
"""Bytes in which a file's head is: it names two tensors."""


def require_finite(
    features: NDArray[np.floating[Any]], names: Callable[[NDArray[np.int64]], Sequence[str]]
) -> None:
    """Errors: `DataError` that names the pictures whose features [n, d] are not finite: no distance
    to them, and no sum with them, means anything. names: of some rows."""
    wrong = np.flatnonzero(~np.isfinite(features).all(1))
    if not len(wrong):
        return
    shown = ", ".join(repr(name) for name in names(wrong[:SHOWN]))
    more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    advice = (
        "so the weights are damaged or their numbers overflow: bring backbone.weights again, or "
        "choose others"
        if len(wrong) == len(features) > 1
        else "leave out what overflows (data.exclude), or choose other backbone.weights"
    )
    raise DataError(
        f"The backbone gives numbers that are not finite for {len(wrong)} of {len(features)} "
        f"pictures looked at ({shown}{more}): {advice}."
    )


def check_of(record: bytes, row: bytes) -> bytes:
    """The check of a row. record: its record's digest."""
    return digest("feature row", record, row)[:CHECK]


def pack_features(features: Features, digests: NDArray[np.uint8]) -> bytes:
    """The file of a bucket's features [m, d], whose records have these digests [m, 32]."""
    rows = np.ascontiguousarray(features, np.float32)
    checks = b"".join(
        check_of(record.tobytes(), row.tobytes()) for record, row in zip(digests, rows, strict=True)
    )
    return bytes(
        save({"features": rows, "checks": np.frombuffer(checks, np.uint8).reshape(-1, CHECK)})
    )


def read_features(store: Store, item: StoredObject) -> Features:
    """A bucket's features [m, d] float32, in the order of its rows."""
    found: Features = read_arrays(store, item, {"features": ("float32", 2)})["features"]
    return found


@dataclass(frozen=True)
class Layout:
    """The offsets in a file of features. rows, dimension: m and d; features: the offset of the
    first feature's first byte."""

    rows: int
    dimension: int
    features: int

    @property
    def checks(self) -> int:
        """Offset of the first check: behind the last feature."""
        return self.features + 4 * self.rows * self.dimension

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.checks + CHECK * self.rows

    @classmethod
    def of(cls, head: bytes) -> "Layout | None":
        """From a file's first bytes; None where they are no head of features, then checks, and
        nothing else."""
        start = LENGTH_BYTES + int.from_bytes(head[:LENGTH_BYTES], "little")
        try:
            about = read_header(head[LENGTH_BYTES:start])
            rows, dimension = about["features"].shape
        except (ValueError, KeyError):
            return None
        found = cls(rows, dimension, start)
        ends = (found.checks - start, found.size - start)
        right = {
            "features": ("F32", (rows, dimension), (0, ends[0])),
            "checks": ("U8", (rows, CHECK), ends),
        }
        said = {name: (one.dtype, one.shape, one.data_offsets) for name, one in about.items()}
        return found if said == right and dimension <= MAX_DIMENSION else None


def read_feature_rows(
    store: Store, item: StoredObject, rows: NDArray[np.int64], digests: NDArray[np.uint8]
) -> Features:
    """Some rows [k, d] float32 of a bucket's features, which are of records with these digests [k,
    32]; nothing else is read.

    Errors: `VerificationError` where the file is no file of features, or a row is not what was
    stored for its record.
    """
    [head] = store.read_ranges(item, [0], [HEAD])
    layout = Layout.of(head)
    if layout is None:
        raise VerificationError(
            f"{item.name} is damaged: it does not begin as a file of features and their checks "
            f"does. {REPAIR}"
        )
    width = 4 * layout.dimension
    found = store.read_ranges(item, *spans(layout.features, width, rows))
    checks = store.read_ranges(item, *spans(layout.checks, CHECK, rows))
    for record, row, check in zip(digests, found, checks, strict=True):
        if check_of(record.tobytes(), row) != check:
            raise VerificationError(
                f"{item.name} is damaged: a row does not have its check. {REPAIR}"
            )
    return np.frombuffer(b"".join(found), np.float32).reshape(len(rows), layout.dimension)


def spans(first: int, width: int, rows: NDArray[np.int64]) -> tuple[Sequence[int], Sequence[int]]:
    """Offsets and lengths of rows of a tensor whose first byte is at `first`."""
    return (first + width * rows).tolist(), [width] * len(rows)
