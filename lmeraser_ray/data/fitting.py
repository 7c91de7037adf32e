"""A picture into the square that the backbone takes.

    >>> from lmeraser_ray.data.sources.png import stored_png
    >>> image = stored_png(np.full((8, 6), 128, np.uint8))
    >>> options = {"input_size": 4, "resize": 4, "interpolation": "bilinear", "max_pixels": 100}
    >>> prepare_picture(image, **options).shape
    (3, 4, 4)
    >>> prepare_picture(image, **options, fit="pad")[0, 0].tolist()
    [128, 128, 128, 0]

Place in the flow: in a worker, before the backbone. Invariant: the pixels are a function of the
bytes and the options alone.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lmeraser_ray.data.pictures import decode_picture
from lmeraser_ray.data.spec import Fit, Interpolation, Window
from lmeraser_ray.errors import ConfigError

_RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}


def prepare_picture(
    image: bytes,
    *,
    input_size: int,
    resize: int,
    interpolation: Interpolation,
    max_pixels: int,
    fit: Fit = "crop",
    window: Window | None = None,
) -> NDArray[np.uint8]:
    """The picture as the backbone takes it: [3, input_size, input_size] uint8, C-contiguous.

    fit: `PictureSpec` says what each does; crop is bit for bit torchvision's `Resize` and
    `CenterCrop` of a PIL picture. Raises `ConfigError` if `resize` < `input_size`, otherwise what
    `decode_picture` raises.
    """
    if not 0 < input_size <= resize:
        raise ConfigError(
            f"backbone.resize is {resize} and input_size {input_size}: the crop needs 0 < "
            "input_size <= resize."
        )
    picture = decode_picture(image, max_pixels=max_pixels, window=window)
    resampling = _RESAMPLING[interpolation]
    if fit == "squash":
        picture = picture.resize((input_size, input_size), resampling)
    elif fit == "pad":
        picture = _padded(picture, input_size, resampling)
    else:
        picture = _cropped(picture, input_size, resize, resampling)
    return np.ascontiguousarray(np.asarray(picture, dtype=np.uint8).transpose(2, 0, 1))


def _cropped(
    picture: Image.Image, input_size: int, resize: int, resampling: Image.Resampling
) -> Image.Image:
    short, long = min(picture.size), max(picture.size)
    scaled = int(resize * long / short)  # torchvision truncates
    size = (resize, scaled) if picture.width <= picture.height else (scaled, resize)
    picture = picture.resize(size, resampling)
    # round() takes halves to the even number, as torchvision does.
    left, top = (round((side - input_size) / 2) for side in size)
    return picture.crop((left, top, left + input_size, top + input_size))


def _padded(picture: Image.Image, side: int, resampling: Image.Resampling) -> Image.Image:
    """The whole picture on black. A strip keeps one pixel of its shorter side."""
    long = max(picture.size)
    width, height = (max(1, (2 * side * n + long) // (2 * long)) for n in picture.size)
    whole = Image.new("RGB", (side, side))
    whole.paste(
        picture.resize((width, height), resampling), ((side - width) // 2, (side - height) // 2)
    )
    return whole
