"""16-bit greyscale (radiographs, depth, astronomy) to 8 bits, through the window that
`data.window` sets.

    >>> seen(np.array([[0, 1000, 2000, 3000]]), (1000, 3000)).tolist()
    [[0, 0, 128, 255]]

Place in the flow: between a picture's pixels and its conversion to RGB. Invariants: in whole
numbers, so that every machine makes the same bytes; without a window such a picture is refused,
since no conversion is a guess.
"""

import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lmeraser_ray.data.spec import Window
from lmeraser_ray.errors import PictureError

DEEP = ("I;16", "I;16B", "I;16L", "I")
"""Pillow's modes of 16-bit greyscale; I of a PGM file, whose values Pillow brings to 65,535."""
_PPM_GAP = rb"[ \t\n\v\f\r](?:[ \t\n\v\f\r]|#[^\r\n]*[\r\n])*"
_PPM_HEADER = re.compile(rb"P[2356]" + (_PPM_GAP + rb"(\d{1,10})") * 3 + rb"[ \t\n\v\f\r]")


def windowed(picture: Image.Image, image: bytes, window: Window | None) -> Image.Image:
    """A 16-bit grey picture in mode L; any other one as it is. image: the file."""
    if picture.mode not in DEEP or window is None:
        return picture
    values = np.asarray(picture).astype(np.int64)
    if picture.mode == "I":
        maximum = ppm_maximum(image)
        values = (values * maximum * 2 + 65_535) // (2 * 65_535)
    return Image.fromarray(seen(values, window))


def seen(values: NDArray[np.int64], window: Window) -> NDArray[np.uint8]:
    """Values [h, w] as greys [h, w]: the window's first value and below are 0, its last and above
    255, halves go up."""
    low, high = window
    inside = np.clip(values, low, high) - low
    return ((inside * 510 + (high - low)) // (2 * (high - low))).astype(np.uint8)


def refuse_depth(kind: str, *, grey: bool, window: Window | None) -> None:
    """Errors: `PictureError` for 16 bits a channel, unless they are greys and there is a window.
    kind: "the PNG file has", …"""
    if not grey:
        raise PictureError(f"{kind} 16 bits a channel, expected at most 8: convert it to 8 bits.")
    if window is None:
        raise PictureError(
            f"{kind} 16 bits a channel, expected at most 8: set data.window to the greys that "
            "become black and white, or convert it to 8 bits."
        )


def ppm_maximum(image: bytes) -> int:
    """The value that is white in a file of the PPM family with greys or colours. Errors:
    `PictureError`."""
    header = _PPM_HEADER.match(image)
    if header is None:
        raise PictureError(
            f"the PPM file begins with {image[:8]!r}, expected P1 to P6, width, height and "
            "maximum: convert it to PNG."
        )
    return int(header[3])
