"""What a decoding task does. A module of its own, without torch: 2 s and 500 MB less in each of its workers."""

import pickle
from typing import Any

import numpy as np

from lmeraser_ray.data.reading import Reader

Row = dict[str, Any]


def decode(row: Row, reader: Reader, batch: int) -> Row:
    """One batch's pixels, padded to the fixed batch shape. part: its rows → pixels [batch, 3, s, s] uint8 and count."""
    pixels = reader.pixels(pickle.loads(row["part"]))  # noqa: S301 - pickled by our own driver
    padded = np.zeros((batch, *pixels.shape[1:]), np.uint8)
    padded[: len(pixels)] = pixels
    return {"at": row["at"], "count": len(pixels), "pixels": padded}
