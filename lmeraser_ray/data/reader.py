"""Reading stored records back: from rows of buckets to the backbone's pixels, or to features.

Place in the flow: in a worker, before a learner or the backbone. Needs no torch, so that a decoding
worker stays small. Invariant: only the pictures, or the features, of the asked rows are read, and
each is checked. Where `Rows.about` is given, nothing else is read; without it (a pass over whole
buckets, for features) the buckets' rows are read too.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lmeraser_ray.data.buckets import About, pictures_of, read_rows
from lmeraser_ray.data.feature_file import Features, read_feature_rows
from lmeraser_ray.data.fitting import prepare_picture
from lmeraser_ray.data.spec import PictureSpec
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.storage.store import Store, StoredObject

Pixels = NDArray[np.uint8]
KEPT_BYTES = 256 << 20
"""Rows of buckets (no pictures) that a reader keeps: the next batch of features is of the same
bucket."""


@dataclass(frozen=True)
class Rows:
    """Some rows of one bucket. rows: [m] int64, ascending; about: what reading their pictures needs
    to know; None has the reader read the bucket's rows."""

    bucket: Bucket
    rows: NDArray[np.int64]
    about: About | None = None

    def pieces(self, size: int) -> "Iterator[tuple[int, Rows]]":
        """The rows in pieces of `size` without `about`, each with the place of its first row; the
        last piece may be smaller."""
        return (
            (at, Rows(self.bucket, self.rows[at : at + size]))
            for at in range(0, len(self.rows), size)
        )


@dataclass(frozen=True)
class Read:
    """m records as they were read. inputs: pictures [m, 3, s, s] uint8 or features [m, d] float32;
    digests: [m, 32] uint8; labels: m names."""

    inputs: Pixels | Features
    digests: NDArray[np.uint8]
    labels: tuple[str, ...]


def pixel_hashes(pixels: Pixels) -> list[bytes]:
    """SHA-256 of each picture's pixels. pixels: [n, 3, s, s] uint8 → n times 32 bytes."""
    return [hashlib.sha256(np.ascontiguousarray(picture).tobytes()).digest() for picture in pixels]


def prepare(image: bytes, spec: PictureSpec, max_pixels: int) -> Pixels:
    """An encoded picture as the backbone's pixels [3, s, s] uint8."""
    return prepare_picture(
        image,
        input_size=spec.input_size,
        resize=spec.resize,
        interpolation=spec.interpolation,
        max_pixels=max_pixels,
        fit=spec.fit,
        window=spec.window,
    )


@dataclass
class Reader:
    """Reads and decodes records of one store for one backbone."""

    store: Store
    spec: PictureSpec
    max_pixels: int
    _kept: dict[int, tuple[StoredObject, pa.Table]] = field(default_factory=dict, repr=False)

    def read(
        self, part: Rows, features: StoredObject | None = None, *, decode: bool = True
    ) -> Read:
        """Rows of a bucket with their pictures or, given the bucket's file of features, with these.
        decode: False checks the pictures and returns none of them, [0, 3, s, s].

        Errors: `VerificationError` where the bytes are not what was stored.
        """
        about = self.about(part)
        if features is not None:
            return Read(
                read_feature_rows(self.store, features, part.rows, about.digests),
                about.digests,
                about.labels,
            )
        pixels = self._pixels(part.bucket, about, decode=decode)
        return Read(pixels, about.digests, about.labels)

    def pixels(self, part: Rows) -> Pixels:
        """The decoded pictures of rows of a bucket [m, 3, s, s] uint8."""
        return self._pixels(part.bucket, self.about(part))

    def _pixels(self, bucket: Bucket, about: About, *, decode: bool = True) -> Pixels:
        size = self.spec.input_size
        pixels = np.empty((len(about) if decode else 0, 3, size, size), np.uint8)
        for at, image in enumerate(pictures_of(self.store, bucket, about)):
            if decode:
                pixels[at] = prepare(image, self.spec, self.max_pixels)
        return pixels

    def about(self, part: Rows) -> About:
        """What reading these rows needs to know: as given, else from the bucket's rows."""
        return part.about or About.of(self._rows(part.bucket).take(part.rows))

    def _rows(self, bucket: Bucket) -> pa.Table:
        """All rows of a bucket, from memory where this version of the bucket was the last one that
        was asked for."""
        item, rows = self._kept.pop(bucket.number, (None, None))
        if item != bucket.records:
            rows = read_rows(self.store, bucket)
        if sum(table.nbytes for _, table in self._kept.values()) < KEPT_BYTES:
            self._kept[bucket.number] = (bucket.records, rows)
        return rows
