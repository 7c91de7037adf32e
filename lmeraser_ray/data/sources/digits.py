"""The source `digits`: the 1,797 handwritten digits, 8 x 8 pixels in 17 greys, that come with scikit-learn. Needs no file.

Invariant: the bytes of a picture are a function of its pixels on every machine. A compressor's output is not, between versions of zlib,
and a record's digest covers its bytes; hence PNG with its pixels stored and not compressed.
"""

import functools
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.data.sources.entry import Entry


def digit_entries() -> Iterator[Entry]:
    """`digit-0000` to `digit-1796`, labels `0` to `9`."""
    from sklearn.datasets import load_digits  # takes a second, which other sources do not need

    digits = load_digits()
    greys = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    for number, (pixels, target) in enumerate(zip(greys, digits.target, strict=True)):
        name = f"digit-{number:04d}"
        yield Entry(name=name, label=str(target), subject=None, where=name, read=functools.partial(stored_png, pixels))


def stored_png(pixels: NDArray[np.uint8]) -> bytes:
    """An 8-bit grey PNG file of `pixels` [h, w] uint8, uncompressed. h (w + 1) < 65,536, one stored block of deflate (RFC 1951, 3.2.4)."""
    height, width = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)  # each row behind its filter type, none
    block = b"\x01" + struct.pack("<HH", len(rows), len(rows) ^ 0xFFFF) + rows
    packed = b"\x78\x01" + block + struct.pack(">I", zlib.adler32(rows))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
