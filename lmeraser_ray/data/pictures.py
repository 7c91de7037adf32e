"""Encoded pictures to pixels: the check of every source, and the input of the backbone.

    >>> from lmeraser_ray.data.sources.png import stored_png
    >>> image = stored_png(np.full((8, 6), 128, np.uint8))
    >>> decode_picture(image, max_pixels=100).size
    (6, 8)

Place in the flow: before a record exists (`check_picture`), and in a worker (`fitting`).
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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from lmeraser_ray.data.exif import exif_remark, of_exif, read_exif, upright
from lmeraser_ray.data.foreign_kinds import FORMATS, unidentified
from lmeraser_ray.data.heif import opened_heif
from lmeraser_ray.data.jpeg_markers import JPEG, check_scans, first_picture
from lmeraser_ray.data.libtiff import silence_libtiff
from lmeraser_ray.data.png_chunks import LARGE_TEXTS, PNG, without_large_texts
from lmeraser_ray.data.spec import Window
from lmeraser_ray.data.window import DEEP, ppm_maximum, refuse_depth, windowed
from lmeraser_ray.errors import ConfigError, PictureError

MAX_ASPECT = 100
"""Longer side over shorter side. A strip of 1 x 50,000,000 pixels passes the pixel limit; its
shorter side resized to 224 makes 2.5e12."""
MAX_COPIES = 16
"""Pages of a TIFF file that are looked at: a pyramid of halves has as many for 2^16 pixels."""
PICTURE_BYTES = 1 << 30
"""What a file of one picture has at most."""

_MODES = {"1": "RGB", "L": "RGB", "P": "RGB", "RGB": "RGB", "LA": "RGBA", "RGBA": "RGBA"}
"""Pillow modes with one right conversion to RGB, those with alpha if every pixel is opaque."""
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How TIFF files begin: their directories are the picture's, where those of other files are EXIF
data."""
_PILLOW = str(Path(PIL.__file__).parent)
_WARNINGS = threading.Lock()
"""Held while warnings are recorded: the list of warning filters belongs to the process and not to a
thread."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture upright in mode RGB, 8 bits a channel. remarks: what a person should know of its
    file, though the pixels are sound."""

    picture: Image.Image
    remarks: tuple[str, ...]


def check_picture(
    image: bytes, *, max_pixels: int, window: Window | None = None
) -> tuple[str, ...]:
    """Decode the whole picture and discard the pixels. Returns what a person should know of the
    file. Errors: `PictureError` with the reason; the caller adds the file or row."""
    return _decode(image, max_pixels, window).remarks


def decode_picture(image: bytes, *, max_pixels: int, window: Window | None = None) -> Image.Image:
    """The picture upright (EXIF orientation applied) in mode RGB, 8 bits a channel.

    `max_pixels` is compared with the header before any pixel is decoded; above twice
    `PIL.Image.MAX_IMAGE_PIXELS` Pillow refuses by itself. `window` makes 8 bits of 16-bit
    greyscale. Colour profiles are not applied. Not detectable with Pillow: a JPEG whose damaged
    pixels still decode to its full size. Raises `PictureError`, and `ConfigError` where another
    library has set Pillow to accept truncated pictures.
    """
    return _decode(image, max_pixels, window).picture


def _decode(image: bytes, max_pixels: int, window: Window | None) -> Decoded:
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
        return _decoded(image, max_pixels, window)
    except (PictureError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise PictureError(
            f"the picture is larger than Pillow accepts ({error}): scale it down or leave it out."
        ) from error
    except UnidentifiedImageError as error:
        raise PictureError(unidentified(image)) from error
    except Exception as error:  # hostile bytes lead Pillow into OSError, TypeError, struct.error, …
        raise PictureError(
            f"the picture is truncated or corrupt ({_reason(error)}): replace it or leave it out."
        ) from error


def _decoded(image: bytes, max_pixels: int, window: Window | None) -> Decoded:
    """Header, refusals, pixels, conversion: in this order, so that nothing refused is decoded."""
    remarks, image = _readable(image)
    with _warnings_refused(tiff=image[:4] in TIFF) as damages:
        picture = opened_heif(image) or Image.open(io.BytesIO(image), formats=FORMATS)
        if picture.format == "TIFF":
            silence_libtiff()
        _check_size(picture.size, max_pixels)
        _check_kind(picture, image, window)
        unread = read_exif(picture)
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
    remark = exif_remark(picture, [*damages, *([unread] if unread else [])])
    picture.load()  # outside of the lock: the decoders run in parallel
    if picture.mode == "P" and int(np.asarray(picture).max()) >= colours:
        raise PictureError(
            f"the PNG file has pixels beyond its palette of {colours} colours: replace it or "
            "leave it out."
        )
    turned = windowed(upright(picture), image, window)
    return Decoded(_opaque(turned), (*remarks, *([remark] if remark else [])))


def _readable(image: bytes) -> tuple[tuple[str, ...], bytes]:
    """The bytes that Pillow is given, and what is to be said of those that it is not given."""
    if image.startswith(JPEG):
        return (), first_picture(image)
    if image.startswith(PNG):
        kept = without_large_texts(image)
        return ((LARGE_TEXTS,) if kept is not image else ()), kept
    return (), image


def _opaque(picture: Image.Image) -> Image.Image:
    """In mode RGB. Errors: `PictureError` where a pixel is transparent."""
    if picture.mode in ("LA", "RGBA") or picture.has_transparency_data:
        picture = picture.convert("RGBA")
        lowest, _ = picture.getchannel("A").getextrema()
        if lowest != 255:
            raise PictureError(
                "the picture has transparent pixels and no known background: flatten it onto one."
            )
    # A conversion to the mode that is there copies every pixel.
    return picture if picture.mode == "RGB" else picture.convert("RGB")


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


def _check_kind(picture: ImageFile.ImageFile, image: bytes, window: Window | None) -> None:
    """Refuse what has no one right conversion to 8-bit RGB. Pillow makes 8 bits of some 16-bit
    files without a word."""
    if _several(picture):
        raise PictureError(
            f"the {picture.format} file holds several pictures, expected one: extract the one "
            "that is meant."
        )
    if picture.format == "PNG":
        _check_png(picture, image, window)
    elif picture.format == "JPEG":
        check_scans(image)
    elif picture.format == "PPM":
        _check_ppm(image, window)
    elif picture.format == "GIF":
        _check_gif(picture)
    elif isinstance(picture, TiffImagePlugin.TiffImageFile):
        _check_tiff(picture, image, window)
    if picture.mode not in (*_MODES, *DEEP):
        raise PictureError(
            f"the picture's mode is {picture.mode} ({picture.format}), expected 8-bit grey or "
            "RGB: convert it to RGB."
        )


def _several(picture: ImageFile.ImageFile) -> bool:
    """Whether the file holds several pictures of which none is the first by its kind: a HEIC file
    has its primary one, and the further pages of a TIFF file may be smaller copies."""
    if picture.format == "HEIF" or not getattr(picture, "is_animated", False):
        return False
    pages = getattr(picture, "n_frames", 1)
    if not isinstance(picture, TiffImagePlugin.TiffImageFile) or pages > MAX_COPIES:
        return True
    copies = True
    for page in range(1, pages):
        picture.seek(page)
        copies = copies and bool(picture.tag_v2.get(254, 0) & 1)  # NewSubfileType, reduced
    picture.seek(0)
    return not copies


def _check_png(picture: ImageFile.ImageFile, image: bytes, window: Window | None) -> None:
    if image[12:16] != b"IHDR":
        raise PictureError(
            "the PNG file does not begin with an IHDR chunk, so it is corrupt: replace it or "
            "leave it out."
        )
    depth = image[24]
    # What Pillow unpacks is looked at as well: of two headers it takes the second.
    if depth > 8 or ";16" in str(picture.tile[0].args):
        grey = depth == 16 and picture.mode in DEEP and "transparency" not in picture.info
        refuse_depth("the PNG file has", grey=grey, window=window)
    # Pillow compares the transparent grey with pixels that it has scaled to 8 bits, so that the two
    # never meet.
    if depth in (2, 4) and picture.mode == "L" and "transparency" in picture.info:
        raise PictureError(
            f"the {depth}-bit grey PNG file declares a transparent grey and no background: "
            "flatten it."
        )


def _check_ppm(image: bytes, window: Window | None) -> None:
    if image[:2] in (b"P1", b"P4"):
        return
    maximum = ppm_maximum(image)
    if maximum > 255:
        kind = f"the PPM file's maximum is {maximum}, that is"
        refuse_depth(kind, grey=image[:2] in (b"P2", b"P5") and maximum < 65_536, window=window)


def _check_gif(picture: ImageFile.ImageFile) -> None:
    if picture.tile[0].extents != (0, 0, *picture.size):
        raise PictureError(
            "the GIF file's picture does not cover its canvas and no background is known: "
            "flatten it."
        )


def _check_tiff(
    picture: TiffImagePlugin.TiffImageFile, image: bytes, window: Window | None
) -> None:
    """By the tags BitsPerSample 258, Compression 259, PhotometricInterpretation 262,
    SamplesPerPixel 277 and SampleFormat 339."""
    tags = picture.tag_v2
    bits, formats = tuple(tags.get(258, (1,))), tuple(tags.get(339, (1,)))
    if (bits, formats, tags.get(262)) == ((16,), (1,), 1) and picture.mode in DEEP:
        refuse_depth("the TIFF file has (16,) bits, that is", grey=True, window=window)
    elif max(bits) > 8 or set(formats) != {1}:
        raise PictureError(
            f"the TIFF file has {bits} bits a channel, format {formats}, expected 8 unsigned at "
            "most: convert it to 8 bits."
        )
    if tags.get(262) not in (0, 1, 2, 3):
        raise PictureError(
            f"the TIFF file's colour interpretation is {tags.get(262)}, expected grey, RGB or "
            "palette: convert it to RGB."
        )
    if tags.get(259) == 7 and b"\xff\xc2" in image:
        raise PictureError("the TIFF file holds a progressive JPEG: convert it to a JPEG file.")
    if tags.get(277, 1) != len(picture.getbands()):
        raise PictureError(
            f"the TIFF file has {tags.get(277)} channels, read as {picture.mode}: drop those of "
            "unknown meaning."
        )


@contextlib.contextmanager
def _warnings_refused(*, tiff: bool) -> Iterator[list[str]]:
    """Turn a warning that Pillow gives within into a `PictureError`, and pass on what other threads
    warn of meanwhile. Yields what is, at the end, all that Pillow warned of in the EXIF data of a
    picture that is no TIFF file: the caller judges that."""
    exif: list[str] = []
    with _WARNINGS, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield exif
    ours = [w for w in caught if w.filename.startswith(_PILLOW)]
    for other in caught:
        if other not in ours:
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    # A size that Pillow warns of is one that max_pixels allows.
    judged = [w for w in ours if not issubclass(w.category, Image.DecompressionBombWarning)]
    if not tiff:
        exif += [str(w.message) for w in judged if of_exif(w)]
    reasons = [str(w.message) for w in judged if tiff or not of_exif(w)]
    if reasons:
        raise PictureError(
            f"the picture is damaged ({' '.join(reasons[0].split())[:200]}): save it anew or "
            "leave it out."
        )


def _reason(error: Exception) -> str:
    """Pillow's words on one line, without a memory address that would differ between two runs."""
    words = re.sub(r"<[^<>]*>", "the file", " ".join(str(error).split()))
    return words[:200] or type(error).__name__
