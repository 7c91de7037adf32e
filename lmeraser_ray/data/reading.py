"""Reading records back: from rows of buckets to the backbone's pixels. Needs no torch, so that a decoding worker stays small.

Invariant: only the pictures of the asked rows are read, and each is checked against its record's digest.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lmeraser_ray.data.buckets import Bucket, columns, read_pictures, read_rows
from lmeraser_ray.data.pictures import prepare_picture
from lmeraser_ray.data.spec import PictureSpec
from lmeraser_ray.state.store import Store, StoredObject

Pixels = NDArray[np.uint8]
KEPT_BYTES = 256 << 20
"""Rows of buckets (no pictures) that a reader keeps: a shard's members lie in all buckets, and the next shard's too."""


@dataclass(frozen=True)
class Rows:
    """Some rows of one bucket: `rows` [m] int64, ascending."""

    bucket: Bucket
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Read:
    """Rows as they were read. pixels: [m, 3, s, s] uint8; digests: [m, 32] uint8; labels: m names."""

    pixels: Pixels
    digests: NDArray[np.uint8]
    labels: tuple[str, ...]


def in_batches(parts: Iterable[Rows], size: int) -> list[Rows]:
    """Rows in pieces of at most `size`, none across two buckets."""
    return [Rows(part.bucket, part.rows[at : at + size]) for part in parts for at in range(0, len(part.rows), size)]


def prepare(image: bytes, spec: PictureSpec, max_pixels: int) -> Pixels:
    """An encoded picture as the backbone's pixels [3, s, s] uint8."""
    return prepare_picture(image, input_size=spec.input_size, resize=spec.resize, interpolation=spec.interpolation, max_pixels=max_pixels)


@dataclass
class Reader:
    """Reads and decodes records of one store for one backbone."""

    store: Store
    spec: PictureSpec
    max_pixels: int
    _kept: dict[StoredObject, pa.Table] = field(default_factory=dict, repr=False)

    def read(self, part: Rows) -> Read:
        """Read and decode rows of a bucket. Errors: `VerificationError` where the bytes are not what was stored."""
        table = self._rows(part.bucket).take(part.rows)
        size = self.spec.input_size
        pixels = np.empty((table.num_rows, 3, size, size), np.uint8)
        for at, image in enumerate(read_pictures(self.store, part.bucket, table)):
            pixels[at] = prepare(image, self.spec, self.max_pixels)
        labels, digests = columns(table, "label", "digest")
        return Read(pixels, np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32), tuple(labels))  # type: ignore[arg-type]

    def _rows(self, bucket: Bucket) -> pa.Table:
        """All rows of a bucket, from memory where they are kept."""
        rows = self._kept.get(bucket.records)
        if rows is None:
            rows = read_rows(self.store, bucket)
            if sum(table.nbytes for table in self._kept.values()) < KEPT_BYTES:
                self._kept[bucket.records] = rows
        return rows
