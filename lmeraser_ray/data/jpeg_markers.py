"""What a JPEG file's markers say, read without decoding: which bytes are the first picture, and how
many scans it has.

Place in the flow: before Pillow opens a JPEG file. Invariant: the pixels that Pillow decodes are
those of the first picture of the file, whatever previews or gain maps lie behind it.
"""

import re
from collections.abc import Iterator

from lmeraser_ray.errors import PictureError

MAX_SCANS = 32
"""Of a JPEG file. Encoders make 10; each further one of 49 million pixels took 0.1 s."""
JPEG = b"\xff\xd8\xff"
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
"""A JPEG marker but for restarts, which are within a scan as 0xff 0x00 is."""
_SCAN, _END, _BARE = b"\xda", b"\xd9", (b"\x01", b"\xd8")
"""Start of a scan; end of the picture; markers without a length."""
_INDEX = (b"\xe2", b"MPF\0")
"""The segment that lists the pictures of a file (CIPA DC-007), and how it begins."""


def first_picture(image: bytes) -> bytes:
    """A JPEG file without the index of its further pictures (previews of cameras, gain maps), so
    that whoever opens the file takes the first one."""
    parts, kept = [], 0
    for marker, begin, end in _segments(image):
        if marker == _SCAN:
            break
        if (marker, image[end[0] : end[0] + 4]) == _INDEX:
            parts.append(image[kept:begin])
            kept = end[1]
    return b"".join([*parts, image[kept:]]) if parts else image


def check_scans(image: bytes) -> None:
    """Count the scans of the first picture: a thumbnail within has scans of its own, and so has
    what lies behind the end. Errors: `PictureError`."""
    scans = 0
    for marker, _, _ in _segments(image):
        scans += marker == _SCAN
        if scans > MAX_SCANS:
            raise PictureError(
                f"the JPEG file has more than {MAX_SCANS} scans, each of which costs as much as "
                "a picture: save it anew."
            )


def _segments(image: bytes) -> Iterator[tuple[bytes, int, tuple[int, int]]]:
    """Each marker up to the end of the first picture, where it begins, and where its content does
    and ends."""
    at = 2
    while marker := _MARKER.search(image, at):
        at = marker.end()
        if marker[1] == _END:
            return
        length = 0 if marker[1] in _BARE else int.from_bytes(image[at : at + 2], "big")
        yield marker[1], marker.start(), (at + 2, at + length)
        at += length
