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


def stored_png(pixels: NDArray[np.uint8]) -> bytes:
    """An 8-bit PNG file of `pixels`, [h, w] grey or [h, w, 3] RGB uint8, uncompressed. Raises
    `ValueError` for other arrays."""
    if (
        pixels.dtype != np.uint8
        or pixels.size == 0
        or pixels.ndim not in (2, 3)
        or pixels.shape[2:] not in ((), (3,))
    ):
        raise ValueError(
            f"pixels are {pixels.dtype} of shape {pixels.shape}, expected uint8 [h, w] or [h, w, 3]"
        )
    height, width = pixels.shape[:2]
    rows = b"".join(
        b"\0" + row.tobytes() for row in pixels
    )  # each row behind its filter type, none
    packed = b"\x78\x01" + _stored(rows) + struct.pack(">I", zlib.adler32(rows))
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if pixels.ndim == 2 else 2, 0, 0, 0)
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
