"""Pictures that a program holds, as encoded files: PIL pictures, arrays, tensors, rows of tables.

    >>> encoded(np.zeros((8, 6, 3), np.uint8))[:4]
    b'\\x89PNG'

Place in the flow: before `pictures`, which then checks and decodes them as any other file.
Invariants: no pixel changes; equal pixels are equal bytes, whatever holds them: PNG with its pixels
stored (`sources.png`), and a file is the bytes that it is; what could be read in two ways is
refused with how to say which. torch and pandas are known by their look, so that neither is imported
here.
"""

import io
from collections import UserString
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lmeraser_ray.data.pictures import decode_picture
from lmeraser_ray.data.sources.folder import read_file
from lmeraser_ray.data.sources.png import stored_png
from lmeraser_ray.errors import DataError, PictureError

NAMES = ("image", "img", "picture", "pixel_values")
"""Where a row has its picture, if nobody says."""


def encoded(image: object, column: str | None = None) -> bytes:
    """Return one picture as the bytes of a file.

    image: bytes, a path, a PIL picture, an array [h, w], [h, w, 1 | 3 | 4], a tensor [1 | 3, h, w]
    or [h, w], a row (a mapping, of which `column` is the picture), or a pair of picture and label.
    Numbers are uint8 (16-bit greyscale: uint16), or floats from 0 to 1 as torchvision's `ToTensor`
    makes them.
    Errors: `PictureError` where the picture cannot be used, `TypeError` where it is none.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | Path):
        return read_file(str(image))
    if isinstance(image, Image.Image):
        return _of_pil(image)
    if isinstance(image, np.ndarray):
        return _of_array(image)
    if is_tensor(image):
        return _of_tensor(image)
    if isinstance(image, Mapping | tuple | list) and image:
        return _of_row(image, column)
    raise TypeError(
        f"{type(image).__name__} is no picture: give bytes, a path, a PIL picture, an array or a "
        "tensor."
    )


def is_tensor(image: object) -> bool:
    """Whether an object is a tensor of torch."""
    return type(image).__module__ == "torch" and hasattr(image, "numpy")


def held(images: Any, column: str | None = None) -> Iterator[object]:
    """Yield the pictures of what holds several, in its order: an iterable, an array [n, …], a data
    set of torch or Hugging Face, a data frame or an Arrow table (then those of `column`).

    Errors: `TypeError` for a single picture, whose rows or letters would pass for pictures.
    """
    single = isinstance(images, str | UserString | bytes | bytearray | Path | Image.Image | Mapping)
    shape = getattr(images, "shape", None)
    if hasattr(images, "column_names") and hasattr(images, "to_batches"):  # Arrow
        names = list(images.column_names)
        for batch in images.select([column_of(names, column)]).to_batches():
            yield from batch.column(0).to_pylist()
    elif hasattr(images, "columns") and hasattr(images, "itertuples"):  # pandas
        yield from images[column_of(list(images.columns), column)]
    elif single or (shape is not None and len(shape) < 4 and images.dtype != object):
        raise TypeError(
            f"images is a bare {type(images).__name__}, expected several values: give a list, "
            "even of one."
        )
    elif isinstance(images, Iterable):
        yield from images
    elif hasattr(images, "__getitem__") and hasattr(images, "__len__"):  # a data set of torch
        yield from (images[at] for at in range(len(images)))
    else:
        raise TypeError(
            f"images is a {type(images).__name__}, expected several pictures: give a list of them."
        )


def column_of(names: Iterable[Any], column: str | None) -> str:
    """Return the name of the column of pictures. Errors: `DataError` where none is meant."""
    known = list(names)
    if column is not None and column in known:
        return column
    found = [name for name in NAMES if name in known] or (known if len(known) == 1 else [])
    if column is None and found:
        return str(found[0])
    wanted = f"{column!r}" if column else f"{NAMES[0]!r}"
    raise DataError(
        f"there is no column {wanted} of pictures among {', '.join(map(str, known))[:300]}: name "
        "it with image_column."
    )


def _of_row(row: Mapping[str, Any] | Sequence[Any], column: str | None) -> bytes:
    """The picture of a row: the first of a pair, a column, or Hugging Face's {bytes, path}."""
    if not isinstance(row, Mapping):
        return encoded(row[0], column)
    if "bytes" in row and (column is None or column not in row):
        value = row["bytes"] if row["bytes"] is not None else row.get("path")
    else:
        value = row[column_of(row, column)]
    if value is None:
        raise PictureError("there is no picture in the row: fill it in, or leave it out.")
    return encoded(value, column)


def _of_pil(picture: Image.Image) -> bytes:
    """A PIL picture as its pixels, upright: the orientation in its EXIF data would be lost."""
    if getattr(picture, "is_animated", False) and picture.format != "MPO":
        raise PictureError(
            f"the {picture.format} picture holds several frames, expected one: give a copy of the "
            "one that is meant."
        )
    try:
        upright = ImageOps.exif_transpose(picture)
        if upright.mode in ("L", "RGB") and not upright.has_transparency_data:
            return stored_png(np.asarray(upright))
        if upright.mode.startswith("I"):
            return _of_array(np.asarray(upright))
        sink = io.BytesIO()
        upright.save(sink, "PNG", compress_level=0, icc_profile=None)
    except (OSError, ValueError, SyntaxError) as error:  # a lazy file, or a mode that PNG lacks
        raise PictureError(
            f"the picture of mode {picture.mode} cannot be used ({error}): give 8-bit grey or RGB, "
            'as convert("RGB") makes it.'
        ) from error
    opaque = decode_picture(sink.getvalue(), max_pixels=upright.width * upright.height)
    return stored_png(np.asarray(opaque))


def _of_tensor(tensor: Any) -> bytes:
    """A tensor of torchvision's shape, [c, h, w] or [h, w]."""
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    if array.ndim == 3 and array.shape[0] in (1, 3, 4):
        return _of_array(np.ascontiguousarray(array.transpose(1, 2, 0)))
    if array.ndim == 2:
        return _of_array(array)
    raise PictureError(
        f"the tensor's shape is {list(array.shape)}, expected [1 or 3, height, width]: permute it."
    )


def _of_array(array: NDArray[Any]) -> bytes:
    """An array [h, w] or [h, w, c] of uint8 or of floats from 0 to 1."""
    if array.size == 0 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)):
        raise PictureError(
            f"the array's shape is {list(array.shape)}, expected [height, width] or [height, "
            "width, 1 or 3]: transpose(1, 2, 0) puts the channels last."
        )
    pixels = _as_bytes(array)
    if pixels.shape[2:] == (4,):
        return _of_pil(Image.fromarray(np.ascontiguousarray(pixels), "RGBA"))
    return stored_png(pixels[:, :, 0] if pixels.shape[2:] == (1,) else pixels)


def _as_bytes(array: NDArray[Any]) -> NDArray[Any]:
    """The pixels as uint8, or uint16 where they are 16-bit greyscale. Errors: `PictureError` where
    their scale is a guess."""
    if array.dtype == np.uint8 or (array.dtype == np.uint16 and array.shape[2:] in ((), (1,))):
        return array
    if np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if 0 <= low <= high <= 1:  # false for what is not finite, too
            return np.round(array.astype(np.float64) * 255).astype(np.uint8)
        raise PictureError(
            f"the numbers run from {low:.4g} to {high:.4g}, expected uint8, or floats from 0 to 1: "
            "give the picture as it is before it is normalised."
        )
    raise PictureError(
        f"the numbers are {array.dtype}, expected uint8, or floats from 0 to 1: convert them."
    )
