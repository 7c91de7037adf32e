"""Encoded pictures to pixels: the check of every source, and the input of the backbone.

    >>> from lmeraser_ray.data.sources.png import stored_png
    >>> image = stored_png(np.full((8, 6), 128, np.uint8))
    >>> options = {"input_size": 4, "resize": 4, "interpolation": "bilinear", "max_pixels": 100}
    >>> prepare_picture(image, **options).shape
    (3, 4, 4)

Place in the flow: before a record exists (`check_picture`), and in a worker (`prepare_picture`).
Invariants: a picture is decoded in exactly one right way or refused with the reason, so that no
conversion is a guess; the pixels are a function of the bytes and the options alone; hostile bytes
end in a `PictureError` and in nothing else; no setting of Pillow is changed.
"""

import contextlib
import io
import re
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError

from lmeraser_ray.data.spec import Interpolation
from lmeraser_ray.errors import ConfigError, PictureError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "PPM", "GIF", "TIFF")
"""What is read. Pillow knows more formats, whose decoders see far fewer hostile files."""

MAX_ASPECT = 100
"""Longer side over shorter side. A strip of 1 x 50,000,000 pixels passes the pixel limit; its
shorter side resized to 224 makes 2.5e12."""


_RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}
_SIGNATURES = (
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"RIFF", "WEBP"),
    (b"BM", "BMP"),
    (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    *((b"P%d" % kind, "PPM") for kind in range(1, 7)),
)
_MODES = {"1": "RGB", "L": "RGB", "P": "RGB", "RGB": "RGB", "LA": "RGBA", "RGBA": "RGBA"}
"""Pillow modes with one right conversion to RGB, those with alpha if every pixel is opaque."""
_PPM_GAP = rb"[ \t\n\v\f\r](?:[ \t\n\v\f\r]|#[^\r\n]*[\r\n])*"
_PPM_HEADER = re.compile(rb"P[2356]" + (_PPM_GAP + rb"(\d{1,10})") * 3 + rb"[ \t\n\v\f\r]")
_PILLOW = str(Path(PIL.__file__).parent)
_WARNINGS = threading.Lock()
"""Held while warnings are recorded: the list of warning filters belongs to the process and not to a
thread."""


def check_picture(image: bytes, *, max_pixels: int) -> None:
    """Decode the whole picture and discard the pixels. Errors: `PictureError` with the reason; the
    caller adds the file or row."""
    decode_picture(image, max_pixels=max_pixels)


def decode_picture(image: bytes, *, max_pixels: int) -> Image.Image:
    """The picture upright (EXIF orientation applied) in mode RGB, 8 bits a channel.

    `max_pixels` is compared with the header before any pixel is decoded; above twice
    `PIL.Image.MAX_IMAGE_PIXELS` Pillow refuses by itself. Colour profiles are not applied. Not
    detectable with Pillow: a JPEG whose damaged pixels still decode to its full size. Raises
    `PictureError`, and `ConfigError` where another library has set Pillow to accept truncated
    pictures.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ConfigError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is on, so truncated pictures would pass: "
            "whatever set it, set it to False."
        )
    if not image:
        raise PictureError(
            "the picture is empty (0 bytes): replace the file or leave the record out."
        )
    try:
        return _decoded(image, max_pixels)
    except (PictureError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise PictureError(
            f"the picture is larger than Pillow accepts ({error}): scale it down or leave it out."
        ) from error
    except UnidentifiedImageError as error:
        raise PictureError(_unidentified(image)) from error
    except Exception as error:  # hostile bytes lead Pillow into OSError, TypeError, struct.error, …
        raise PictureError(
            f"the picture is truncated or corrupt ({_reason(error)}): replace it or leave it out."
        ) from error


def prepare_picture(
    image: bytes, *, input_size: int, resize: int, interpolation: Interpolation, max_pixels: int
) -> NDArray[np.uint8]:
    """The picture as the backbone takes it: [3, input_size, input_size] uint8, C-contiguous.

    The shorter side is resized to `resize`, the aspect kept, and the centre cropped: bit for bit
    torchvision's `Resize` and `CenterCrop` of a PIL picture. Raises `ConfigError` if `resize` <
    `input_size`, otherwise what `decode_picture` raises.
    """
    if not 0 < input_size <= resize:
        raise ConfigError(
            f"backbone.resize is {resize} and input_size {input_size}: the crop needs 0 < "
            "input_size <= resize."
        )
    picture = decode_picture(image, max_pixels=max_pixels)
    short, long = min(picture.size), max(picture.size)
    scaled = int(resize * long / short)  # torchvision truncates
    size = (resize, scaled) if picture.width <= picture.height else (scaled, resize)
    picture = picture.resize(size, _RESAMPLING[interpolation])
    # round() takes halves to the even number, as torchvision does.
    left, top = (round((side - input_size) / 2) for side in size)
    pixels = np.asarray(picture, dtype=np.uint8)[top : top + input_size, left : left + input_size]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _decoded(image: bytes, max_pixels: int) -> Image.Image:
    """Header, refusals, pixels, conversion: in this order, so that nothing refused is decoded."""
    with _warnings_refused():
        picture = Image.open(io.BytesIO(image), formats=FORMATS)
        _check_size(picture.size, max_pixels)
        _check_kind(picture, image)
        # parsed here for the sake of its warnings: a corrupt orientation is an unknown one
        picture.getexif()
        if picture.format == "TIFF":
            picture.load()  # reads the remaining directories, with warnings
        if picture.format == "PNG":
            # Decoding ignores the checksums of the pixel data; a second look checks them all.
            Image.open(io.BytesIO(image), formats=("PNG",)).verify()
        # Until it is loaded the palette is the file's own; then Pillow fills it up to 256 colours
        # of its choice.
        colours = (
            len(picture.palette.palette) // 3
            if picture.format == "PNG" and picture.palette
            else 256
        )
    picture.load()  # outside of the lock: the decoders run in parallel
    if picture.mode == "P" and int(np.asarray(picture).max()) >= colours:
        raise PictureError(
            f"the PNG file has pixels beyond its palette of {colours} colours: replace it or "
            "leave it out."
        )
    upright = ImageOps.exif_transpose(picture)
    if upright.mode in ("LA", "RGBA") or upright.has_transparency_data:
        upright = upright.convert("RGBA")
        lowest, _ = upright.getchannel("A").getextrema()
        if lowest != 255:
            raise PictureError(
                "the picture has transparent pixels and no known background: flatten it onto one."
            )
    return upright.convert("RGB")


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise PictureError(f"the picture is {width} x {height} pixels: replace it or leave it out.")
    if width * height > max_pixels:
        raise PictureError(
            f"the picture is {width:,} x {height:,} pixels, at most {max_pixels:,} are accepted: "
            "scale it down or raise data.max_pixels."
        )
    if max(size) > MAX_ASPECT * min(size):
        raise PictureError(
            f"the picture is {width:,} x {height:,} pixels, sides may differ by {MAX_ASPECT} "
            "times at most: crop it."
        )


def _check_kind(picture: ImageFile.ImageFile, image: bytes) -> None:
    """Refuse what has no one right conversion to 8-bit RGB. Pillow makes 8 bits of some 16-bit
    files without a word."""
    if getattr(picture, "is_animated", False):
        raise PictureError(
            f"the {picture.format} file holds several pictures, expected one: extract the one "
            "that is meant."
        )
    if picture.format == "PNG":
        _check_png(picture, image)
    elif picture.format == "PPM":
        _check_ppm(image)
    elif picture.format == "GIF":
        _check_gif(picture)
    elif isinstance(picture, TiffImagePlugin.TiffImageFile):
        _check_tiff(picture)
    if picture.mode not in _MODES:
        raise PictureError(
            f"the picture's mode is {picture.mode} ({picture.format}), expected 8-bit grey or "
            "RGB: convert it to RGB."
        )


def _check_png(picture: ImageFile.ImageFile, image: bytes) -> None:
    if image[12:16] != b"IHDR":
        raise PictureError(
            "the PNG file does not begin with an IHDR chunk, so it is corrupt: replace it or "
            "leave it out."
        )
    depth = image[24]
    # What Pillow unpacks is looked at as well: of two headers it takes the second.
    if depth > 8 or ";16" in str(picture.tile[0].args):
        raise PictureError(
            "the PNG file has 16 bits a channel, expected at most 8: convert it to 8 bits."
        )
    # Pillow compares the transparent grey with pixels that it has scaled to 8 bits, so that the two
    # never meet.
    if depth in (2, 4) and picture.mode == "L" and "transparency" in picture.info:
        raise PictureError(
            f"the {depth}-bit grey PNG file declares a transparent grey and no background: "
            "flatten it."
        )


def _check_ppm(image: bytes) -> None:
    if image[:2] in (b"P1", b"P4"):
        return
    header = _PPM_HEADER.match(image)
    if header is None:
        raise PictureError(
            f"the PPM file begins with {image[:8]!r}, expected P1 to P6, width, height and "
            "maximum: convert it to PNG."
        )
    if int(header[3]) > 255:
        raise PictureError(
            f"the PPM file's maximum is {int(header[3])}, that is 16 bits a channel, expected at "
            "most 255: convert it."
        )


def _check_gif(picture: ImageFile.ImageFile) -> None:
    if picture.tile[0].extents != (0, 0, *picture.size):
        raise PictureError(
            "the GIF file's picture does not cover its canvas and no background is known: "
            "flatten it."
        )


def _check_tiff(picture: TiffImagePlugin.TiffImageFile) -> None:
    """By the tags BitsPerSample 258, PhotometricInterpretation 262, SamplesPerPixel 277 and
    SampleFormat 339."""
    tags = picture.tag_v2
    bits, formats = tuple(tags.get(258, (1,))), tuple(tags.get(339, (1,)))
    if max(bits) > 8 or set(formats) != {1}:
        raise PictureError(
            f"the TIFF file has {bits} bits a channel, format {formats}, expected 8 unsigned at "
            "most: convert it to 8 bits."
        )
    if tags.get(262) not in (0, 1, 2, 3):
        raise PictureError(
            f"the TIFF file's colour interpretation is {tags.get(262)}, expected grey, RGB or "
            "palette: convert it to RGB."
        )
    if tags.get(277, 1) != len(picture.getbands()):
        raise PictureError(
            f"the TIFF file has {tags.get(277)} channels, read as {picture.mode}: drop those of "
            "unknown meaning."
        )


@contextlib.contextmanager
def _warnings_refused() -> Iterator[None]:
    """Turn a warning that Pillow gives within into a `PictureError`, and pass on what other threads
    warn of meanwhile."""
    with _WARNINGS, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    ours = [w for w in caught if w.filename.startswith(_PILLOW)]
    for other in caught:
        if other not in ours:
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    # A size that Pillow warns of is one that max_pixels allows.
    reasons = [
        str(w.message) for w in ours if not issubclass(w.category, Image.DecompressionBombWarning)
    ]
    if reasons:
        raise PictureError(
            f"the picture is damaged ({' '.join(reasons[0].split())[:200]}): save it anew or "
            "leave it out."
        )


def _unidentified(image: bytes) -> str:
    for signature, name in _SIGNATURES:
        if image.startswith(signature):
            return (
                f"the picture begins like {name} but its header is truncated, corrupt or of zero "
                "size: replace it or leave it out."
            )
    return (
        f"it begins with {image[:8]!r} and is not a picture; expected {', '.join(FORMATS)}: "
        "convert it or remove it."
    )


def _reason(error: Exception) -> str:
    """Pillow's words on one line, without a memory address that would differ between two runs."""
    words = re.sub(r"<[^<>]*>", "the file", " ".join(str(error).split()))
    return words[:200] or type(error).__name__
