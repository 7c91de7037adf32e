"""What a decoding task does. A module of its own, without torch, which would cost each of its
workers 2 s and 500 MB."""

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np

from lmeraser_ray.data.reader import Reader

Row = dict[str, Any]


def decode(row: Row, reader: Reader, batch: int) -> Iterator[Row]:
    """Yield the pixels of some rows, batch by batch, each padded to the fixed batch shape.

    row: `rows`, a pickled piece of the part `at`, whose first row is `first`. Yields `pixels`
    [batch, 3, s, s] uint8, how many of them `count`, and the batch's own `first`.
    """
    for first, piece in pickle.loads(row["rows"]).pieces(batch):  # noqa: S301 - pickled by our own driver
        pixels = reader.pixels(piece)
        padded = np.zeros((batch, *pixels.shape[1:]), np.uint8)
        padded[: len(pixels)] = pixels
        yield {
            "at": row["at"],
            "first": row["first"] + first,
            "count": len(pixels),
            "pixels": padded,
        }
