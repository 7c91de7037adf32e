"""Which side of a picture is up, by its EXIF data, which may be damaged elsewhere.

Place in the flow: between a picture's header and its pixels. Invariant: a picture is turned as a
readable orientation says, and refused where damage may have hidden the orientation: a corrupt
orientation is an unknown one.
"""

import re
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, TiffImagePlugin

from lmeraser_ray.errors import PictureError

ORIENTATION = 274
DAMAGED = "damaged EXIF data beside a readable orientation"
"""The remark on a picture that is read all the same."""
_TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_READS_EXIF = Path(TiffImagePlugin.__file__).name
_ERRORS = (OSError, SyntaxError, ValueError, TypeError, LookupError, OverflowError, struct.error)
"""What Pillow raises for EXIF data that are none."""
_BESIDE = re.compile(r"Skipping tag (?!274$)\d+$|Expecting to read 4 bytes ")
"""Pillow's words for a damage after which every entry of the directory was read but that one: a
value of another tag that is missing, or the pointer behind the last entry."""


def read_exif(picture: Image.Image) -> str | None:
    """Parse the EXIF data for their warnings. Returns why they cannot be parsed at all."""
    try:
        picture.getexif()
    except _ERRORS as error:
        return " ".join(str(error).split())[:100] or type(error).__name__
    return None


def of_exif(warning: warnings.WarningMessage) -> bool:
    """Whether Pillow's warning is about EXIF data, in a picture that is no TIFF file."""
    return Path(warning.filename).name == _READS_EXIF


def exif_remark(picture: Image.Image, damages: Sequence[str]) -> str | None:
    """What is to be said of EXIF data with these damages. Errors: `PictureError` where they may
    have hidden the orientation."""
    if not damages:
        return None
    if ORIENTATION not in picture.getexif() and not all(map(_BESIDE.search, damages)):
        raise PictureError(
            f"the picture is damaged ({' '.join(damages[0].split())[:200]}), and which side is up "
            "cannot be read: save it anew or leave it out."
        )
    return DAMAGED


def upright(picture: Image.Image) -> Image.Image:
    """The picture turned as its EXIF orientation says; as it is where that says nothing."""
    turn = _TURNS.get(picture.getexif().get(ORIENTATION))
    return picture if turn is None else picture.transpose(turn)
