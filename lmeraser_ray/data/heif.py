"""HEIC pictures, as telephones make them, by the package `pillow-heif` where it is installed.

Place in the flow: where Pillow does not know a picture. Invariant: nothing is registered with
Pillow; the picture is the file's primary one, upright as its container says."""

import importlib
import io
from typing import cast

from PIL import ImageFile

from lmeraser_ray.data.foreign_kinds import HEIC, foreign_kind

PACKAGE = "pillow_heif"


def opened_heif(image: bytes) -> ImageFile.ImageFile | None:
    """The header of a HEIC picture; None where the bytes are something else or the
    package is not installed. Errors: those of Pillow."""
    if foreign_kind(image) != HEIC:
        return None
    try:
        reader = importlib.import_module(PACKAGE).HeifImageFile
    except ImportError:
        return None
    return cast(ImageFile.ImageFile, reader(io.BytesIO(image)))
