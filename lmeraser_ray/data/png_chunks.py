"""The texts and colour profiles of a PNG file that are larger than Pillow reads: left out, so that
the pixels beside them are read.

Place in the flow: before Pillow opens a PNG file. Invariants: no chunk that decides a pixel is left
out; where the picture's orientation may be in what is too large, the picture is refused.
"""

import zlib
from collections.abc import Iterator

from PIL import PngImagePlugin

from lmeraser_ray.errors import PictureError

PNG = b"\x89PNG"
LARGE_TEXTS = "texts or a colour profile larger than are read"
"""The remark on a picture that is read all the same."""
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_XMP = b"XML:com.adobe.xmp\0"
"""How the text begins that may say which side is up."""


def without_large_texts(image: bytes) -> bytes:
    """A PNG file without the compressed texts and the profile that come to more than Pillow's
    `MAX_TEXT_CHUNK`, and without any text where all of them come to more than its
    `MAX_TEXT_MEMORY`. Errors: `PictureError`."""
    texts, large = 0, set()
    for begin, kind, content in _chunks(image):
        if kind not in (*_TEXTS, b"iCCP"):
            continue
        size = _unpacked(kind, content)
        texts += size if kind in _TEXTS else 0
        if size > PngImagePlugin.MAX_TEXT_CHUNK and _compressed(kind, content):
            large.add(begin)
    if texts > PngImagePlugin.MAX_TEXT_MEMORY:
        large |= {begin for begin, kind, _ in _chunks(image) if kind in _TEXTS}
    return _without(image, large) if large else image


def _without(image: bytes, left_out: set[int]) -> bytes:
    """The file without the chunks that begin there."""
    parts, kept = [], 0
    for begin, kind, content in _chunks(image):
        if begin not in left_out:
            continue
        if content.startswith(_XMP) and b"rientation" in _text(kind, content):
            raise PictureError(
                "the PNG file's XMP text is larger than is read, and says which side is up: save "
                "the picture anew without it."
            )
        parts.append(image[kept:begin])
        kept = begin + 12 + len(content)
    return b"".join([*parts, image[kept:]])


def _chunks(image: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Where each whole chunk begins, its kind and its content."""
    at = 8
    while at + 12 <= len(image):
        length = int.from_bytes(image[at : at + 4], "big")
        if at + 12 + length > len(image):
            return
        yield at, image[at + 4 : at + 8], image[at + 8 : at + 8 + length]
        at += 12 + length


def _compressed(kind: bytes, content: bytes) -> bool:
    return kind != b"tEXt" and _packed_at(kind, content) is not None


def _packed_at(kind: bytes, content: bytes) -> int | None:
    """Where the compressed part of a text or profile begins; None where there is none."""
    key = content.find(b"\0")
    if key < 0:
        return None
    if kind != b"iTXt":  # keyword, 0, method
        return key + 2
    if content[key + 1 : key + 2] == b"\0":
        return None
    language = content.find(b"\0", key + 3)
    translated = content.find(b"\0", language + 1)
    return translated + 1 if language > 0 and translated > 0 else None


def _text(kind: bytes, content: bytes, limit: int = 64 << 20) -> bytes:
    """The text of a chunk, unpacked up to a limit; as far as it can be where it is damaged."""
    at = None if kind == b"tEXt" else _packed_at(kind, content)
    if at is None:
        return content
    try:
        return zlib.decompressobj().decompress(content[at:], limit)
    except zlib.error:
        return b""


def _unpacked(kind: bytes, content: bytes) -> int:
    """The length of a text or profile, counted to one more than Pillow's limit at most."""
    return len(_text(kind, content, PngImagePlugin.MAX_TEXT_CHUNK + 1))
