"""Pixel arrays as PNG files that are the same bytes on every machine: for the sources whose records
come without a file.

Invariant: the bytes are a function of the pixels alone. A compressor's output is not, between
versions of zlib, and a record's digest covers its bytes; hence PNG with its pixels stored and not
compressed.
"""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

BLOCK = 65_535
"""Bytes in one stored block of deflate at most (RFC 1951, 3.2.4)."""


def stored_png(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """A PNG file of `pixels`, [h, w] grey uint8 or uint16, or [h, w, 3] RGB uint8, uncompressed.
    Raises `ValueError` for other arrays."""
    deep = pixels.dtype == np.uint16 and pixels.ndim == 2
    if (
        (pixels.dtype != np.uint8 and not deep)
        or pixels.size == 0
        or pixels.ndim not in (2, 3)
        or pixels.shape[2:] not in ((), (3,))
    ):
        raise ValueError(
            f"pixels are {pixels.dtype} of shape {pixels.shape}, expected uint8 [h, w] or "
            "[h, w, 3], or uint16 [h, w]"
        )
    height, width = pixels.shape[:2]
    rows = b"".join(
        b"\0" + row.tobytes() for row in (pixels.astype(">u2") if deep else pixels)
    )  # each row behind its filter type, none
    packed = b"\x78\x01" + _stored(rows) + struct.pack(">I", zlib.adler32(rows))
    colour = 0 if pixels.ndim == 2 else 2
    header = struct.pack(">IIBBBBB", width, height, 16 if deep else 8, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", packed)
        + _chunk(b"IEND", b"")
    )


def _stored(data: bytes) -> bytes:
    """`data` as stored blocks of deflate, all full but the last."""
    starts = range(0, len(data), BLOCK)
    blocks = []
    for start in starts:
        block = data[start : start + BLOCK]
        blocks.append(
            struct.pack("<BHH", start == starts[-1], len(block), len(block) ^ 0xFFFF) + block
        )
    return b"".join(blocks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
