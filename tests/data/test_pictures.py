"""Pictures: each accepted kind gives the right pixels, each refused kind says why, and no bytes do
anything else."""

import contextlib
import io
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile
from torchvision.transforms import v2

from lmeraser_ray.data.fitting import prepare_picture
from lmeraser_ray.data.foreign_kinds import FORMATS
from lmeraser_ray.data.pictures import check_picture, decode_picture
from lmeraser_ray.errors import ConfigError, PictureError

LIMIT = 1_000_000


def noise(width: int = 31, height: int = 23) -> Image.Image:
    return Image.fromarray(
        np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    )


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png(depth: int, colour: int, row: bytes, *, width: int = 2, height: int = 2) -> bytes:
    """A PNG file of `height` equal rows, for what Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress((b"\0" + row) * height))
        + chunk(b"IEND", b"")
    )


def translucent(mode: str = "RGBA", alpha: int = 254) -> Image.Image:
    picture = noise().convert("RGBA")
    picture.putpixel((3, 3), (1, 2, 3, alpha))
    return picture.convert(mode)


def two_colours() -> Image.Image:
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((1, 0), 1)
    return picture


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_pixels_of_an_upright_picture_are_not_copied(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversion to RGB, or a turn, of what is RGB and upright has the same pixels."""
    image = encoded(noise(), kind)
    wanted = np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))
    for copies in ("convert", "copy", "transpose"):
        monkeypatch.setattr(Image.Image, copies, lambda *_, name=copies: pytest.fail(name))
    assert np.array_equal(pixels(image), wanted)


def refusal(image: bytes, *, max_pixels: int = LIMIT) -> str:
    with pytest.raises(PictureError) as caught:
        check_picture(image, max_pixels=max_pixels)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pixels(image: bytes) -> np.ndarray:
    picture = decode_picture(image, max_pixels=LIMIT)
    assert picture.mode == "RGB"
    return np.asarray(picture)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P"])
def test_lossless_kinds_give_their_pixels(kind: str, mode: str) -> None:
    picture = noise().convert(mode)
    if (kind, mode) == ("PPM", "P"):
        pytest.skip("PPM has no palettes")
    np.testing.assert_array_equal(
        pixels(encoded(picture, kind)), np.asarray(picture.convert("RGB"))
    )


def test_opaque_alpha_is_dropped() -> None:
    picture = noise()
    for kind in ("PNG", "TIFF"):
        np.testing.assert_array_equal(
            pixels(encoded(picture.convert("RGBA"), kind)), np.asarray(picture)
        )
    np.testing.assert_array_equal(
        pixels(encoded(picture.convert("LA"), "PNG")),
        np.asarray(picture.convert("L").convert("RGB")),
    )
    np.testing.assert_array_equal(
        pixels(encoded(picture.convert("RGBA"), "WEBP", lossless=True)), np.asarray(picture)
    )
    # A colour that is declared transparent and that no pixel has.
    black = Image.new("RGB", (4, 4))
    assert pixels(encoded(black, "PNG", transparency=(0, 0, 1))).max() == 0


def test_jpeg_and_gif_are_read() -> None:
    assert pixels(encoded(noise(), "JPEG")).shape == (23, 31, 3)
    assert pixels(encoded(noise(), "GIF")).shape == (23, 31, 3)
    assert pixels(encoded(noise().convert("L"), "JPEG")).shape == (23, 31, 3)


def test_ppm_with_a_smaller_maximum_is_scaled() -> None:
    assert pixels(b"P6 1 1 15\n" + bytes([0, 15, 5])).tolist() == [[[0, 255, 85]]]
    assert pixels(b"P3 1 # a comment\n 1 255 1 2 3").tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied_once(kind: str) -> None:
    upright = Image.new("RGB", (16, 32), "black")
    upright.paste("white", (0, 0, 16, 16))
    exif = Image.Exif()
    exif[274] = 6  # to be turned clockwise by 90 degrees
    turned = pixels(encoded(upright.transpose(Image.Transpose.ROTATE_90), kind, exif=exif))
    assert turned.shape == (32, 16, 3)
    assert turned[:14].min() > 200
    assert turned[18:].max() < 50


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (b"", "empty"),
        (b"cat,dog\n", "is not a picture"),
        (b"<svg/>", "is not a picture"),
        (encoded(noise(), "ICO"), "is not a picture"),
        (encoded(noise(), "PNG")[:12], "begins like PNG"),
        (b"P6 0 0 255\n", "zero size"),
        (encoded(noise().convert("CMYK"), "JPEG"), "CMYK"),
        (encoded(noise().convert("CMYK"), "TIFF"), "colour interpretation is 5"),
        (encoded(noise().convert("YCbCr"), "TIFF"), "colour interpretation is 6"),
        (encoded(noise().convert("LAB"), "TIFF"), "colour interpretation is 8"),
        (encoded(noise().convert("F"), "TIFF"), "(32,) bits"),
        (encoded(noise().convert("I"), "TIFF"), "(32,) bits"),
        (encoded(noise().convert("I;16"), "TIFF"), "(16,) bits"),
        (encoded(noise().convert("I;16"), "PNG"), "16 bits"),
        (png(16, 0, b"\1\2" * 2), "16 bits"),
        (png(16, 2, b"\1\2" * 6), "16 bits"),
        (png(16, 4, b"\1\2\xff\xff" * 2), "16 bits"),
        (png(16, 6, b"\1\2\1\2\1\2\xff\xff" * 2), "16 bits"),
        (b"P6 1 1 65535\n" + bytes(6), "maximum is 65535"),
        (b"P5 1 1 256\n" + bytes(2), "maximum is 256"),
        (b"P2 1 1 1000\n 999", "maximum is 1000"),
        (b"P6 1 1 2#\n55\n123", "expected P1 to P6"),  # Pillow reads on across the comment: 255
        (encoded(noise().convert("F"), "PPM"), "expected P1 to P6"),
        (encoded(translucent(), "PNG"), "transparent pixels"),
        (encoded(translucent("LA"), "PNG"), "transparent pixels"),
        (encoded(translucent(), "TIFF"), "transparent pixels"),
        (encoded(translucent(), "WEBP"), "transparent pixels"),
        (encoded(two_colours(), "PNG", transparency=1), "transparent pixels"),
        (encoded(two_colours(), "PNG", transparency=bytes([255, 128])), "transparent pixels"),
        (encoded(Image.new("P", (4, 4), 1), "PNG"), "beyond its palette of 1 colours"),
        (encoded(Image.new("P", (4, 4), 0), "GIF", transparency=0), "transparent pixels"),
        (
            encoded(Image.new("RGB", (4, 4), "red"), "PNG", transparency=(255, 0, 0)),
            "transparent pixels",
        ),
        (encoded(Image.new("L", (4, 4), 7), "PNG", transparency=7), "transparent pixels"),
        (encoded(Image.new("1", (4, 4), 1), "PNG", transparency=1), "transparent pixels"),
        (encoded(Image.new("L", (1000, 5)), "PNG"), "100 times"),
    ],
)
def test_refused(image: bytes, words: str) -> None:
    assert words in refusal(image)


def test_a_16_bit_rgb_tiff_is_refused_though_pillow_would_reduce_it() -> None:
    values = {256: 1, 257: 1, 258: None, 259: 1, 262: 2, 273: None, 277: 3, 278: 1, 279: 6}
    bits_at = 8 + 2 + 12 * len(values) + 4
    values[258], values[273] = bits_at, bits_at + 6
    entries = b"".join(
        struct.pack("<HHII", tag, 3 if tag == 258 else 4, 3 if tag == 258 else 1, value)
        for tag, value in values.items()
    )
    image = (
        b"II*\0"
        + struct.pack("<IH", 8, len(values))
        + entries
        + bytes(4)
        + struct.pack("<HHH", 16, 16, 16)
        + b"\1\2" * 3
    )
    assert Image.open(io.BytesIO(image)).mode == "RGB"
    assert "(16, 16, 16) bits" in refusal(image)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_several_pictures_in_one_file_are_refused(kind: str) -> None:
    image = encoded(
        noise(), kind, save_all=True, append_images=[noise().transpose(Image.Transpose.ROTATE_180)]
    )
    assert "several pictures" in refusal(image)


def test_gif_that_leaves_canvas_uncovered_is_refused() -> None:
    image = bytearray(encoded(Image.new("P", (8, 8), 0), "GIF"))
    image[6:10] = struct.pack("<HH", 16, 16)
    assert "does not cover its canvas" in refusal(bytes(image))


@pytest.mark.parametrize("kind", FORMATS)
def test_truncated(kind: str) -> None:
    image = encoded(noise(), kind)
    for share in (0.5, 0.9, 0.98):
        assert "truncated or corrupt" in refusal(image[: int(len(image) * share)])


def test_png_with_a_wrong_checksum_is_refused() -> None:
    image = bytearray(encoded(noise(), "PNG"))
    at = image.index(b"IEND") - 8  # the checksum of the last pixel data
    image[at] ^= 1
    assert "truncated or corrupt" in refusal(bytes(image))


def corrupt_exif(tag: int = 274) -> bytes:
    exif = Image.Exif()
    exif[tag] = 6
    image = encoded(noise(), "JPEG", exif=exif)
    start = b"MM\0*\0\0\0\x08\0"
    assert start + b"\1" in image
    return image.replace(start + b"\1", start + b"\2")  # two entries, of which one is there


def test_what_pillow_only_warns_of_is_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "which side is up cannot be read" in refusal(corrupt_exif(tag=40961))


def test_warnings_of_other_threads_blame_no_picture_and_are_not_lost() -> None:
    good, bad, stop = encoded(noise(), "PNG"), corrupt_exif(40961), threading.Event()

    def outcome(image: bytes) -> bool:
        try:
            check_picture(image, max_pixels=LIMIT)
        except PictureError:
            return False
        return True

    def chatter() -> None:
        while not stop.wait(0.0002):
            warnings.warn("not of a picture", UserWarning, stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = warnings.filters[:]
        other = threading.Thread(target=chatter)
        other.start()
        try:
            with ThreadPoolExecutor(4) as pool:
                outcomes = list(pool.map(outcome, [good, bad] * 100))
        finally:
            stop.set()
            other.join()
        assert warnings.filters == before
    assert outcomes == [True, False] * 100


def test_bombs_are_refused_before_a_pixel_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    image = encoded(Image.new("1", (1001, 1000)), "PNG")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    assert "1,001 x 1,000 pixels, at most 1,000,000" in refusal(image)


def test_pillows_own_limit_neither_escapes_nor_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    image = encoded(noise(), "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 23 * 31 - 1)
        check_picture(image, max_pixels=LIMIT)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
        assert "larger than Pillow accepts" in refusal(image)


def test_a_process_that_accepts_truncated_pictures_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ConfigError, match="LOAD_TRUNCATED_IMAGES"):
        check_picture(encoded(noise(), "PNG"), max_pixels=LIMIT)


VALID = [
    *(encoded(noise(9, 7), kind) for kind in FORMATS),
    encoded(noise(9, 7).convert("P"), "PNG"),
    encoded(noise(9, 7), "TIFF", compression="tiff_lzw"),
    encoded(noise(9, 7).convert("L"), "WEBP", lossless=True),
    b"P3 2 1 255\n1 2 3 4 5 6\n",
    corrupt_exif(),
    corrupt_exif(40961),
]


@settings(max_examples=600, deadline=None)
@given(
    image=st.sampled_from(VALID),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
    keep=st.one_of(st.just(1.0), st.floats(0, 1)),
    header=st.booleans(),
)
def test_hostile_bytes_are_refused_or_decoded(
    image: bytes, flips: list[tuple[float, int]], keep: float, header: bool
) -> None:
    hostile = bytearray(image)
    for share, value in flips:
        hostile[int(share * (min(64, len(hostile)) if header else len(hostile)))] = value
    hostile = hostile[: int(keep * len(hostile))]
    try:
        picture = decode_picture(bytes(hostile), max_pixels=LIMIT)
    except PictureError as error:
        assert "\n" not in str(error)
        assert " at 0x" not in str(error)
    else:
        assert picture.mode == "RGB"
        assert 0 < picture.width * picture.height <= LIMIT


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(
        [
            b"",
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff",
            b"RIFF\x20\0\0\0WEBPVP8 ",
            b"BM",
            b"GIF89a",
            b"II*\0",
            b"P6 ",
        ]
    ),
    st.binary(),
)
def test_random_bytes_are_refused(start: bytes, rest: bytes) -> None:
    with contextlib.suppress(PictureError):
        check_picture(start + rest, max_pixels=LIMIT)


@pytest.mark.parametrize("size", [(31, 23), (23, 31), (50, 50), (100, 7), (224, 224)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize(("resize", "input_size"), [(32, 32), (40, 33), (17, 8)])
def test_prepared_as_torchvision_does(
    size: tuple[int, int], interpolation: str, resize: int, input_size: int
) -> None:
    picture = noise(*size)
    got = prepare_picture(
        encoded(picture, "PNG"),
        input_size=input_size,
        resize=resize,
        interpolation=interpolation,
        max_pixels=LIMIT,
    )
    theirs = v2.Compose(
        [
            v2.Resize(resize, v2.InterpolationMode(interpolation)),
            v2.CenterCrop(input_size),
            v2.PILToTensor(),
        ]
    )(picture)
    assert got.dtype == np.uint8
    assert got.shape == (3, input_size, input_size)
    assert got.flags.c_contiguous
    np.testing.assert_array_equal(got, theirs.numpy())


def test_a_crop_larger_than_the_picture_is_refused() -> None:
    with pytest.raises(ConfigError, match="resize is 31 and input_size 32"):
        prepare_picture(
            encoded(noise(), "PNG"),
            input_size=32,
            resize=31,
            interpolation="bilinear",
            max_pixels=LIMIT,
        )
