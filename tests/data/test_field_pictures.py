"""Pictures as cameras, telephones and instruments write them: what is readable is read, and what is
not is named."""

import importlib.util
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from lmeraser_ray.config.options import load_config
from lmeraser_ray.data.exif import DAMAGED
from lmeraser_ray.data.fitting import prepare_picture
from lmeraser_ray.data.pictures import check_picture, decode_picture
from lmeraser_ray.data.png_chunks import LARGE_TEXTS
from lmeraser_ray.data.spec import PictureSpec
from lmeraser_ray.errors import ConfigError, PictureError

LIMIT = 1_000_000


def noise(width: int = 31, height: int = 23) -> Image.Image:
    values = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(image: bytes, window: tuple[int, int] | None = None) -> np.ndarray:
    return np.asarray(decode_picture(image, max_pixels=LIMIT, window=window))


def refusal(image: bytes, window: tuple[int, int] | None = None) -> str:
    with pytest.raises(PictureError) as caught:
        check_picture(image, max_pixels=LIMIT, window=window)
    return str(caught.value)


class TestSeveralPictures:
    def mpo(self) -> bytes:
        preview = noise(9, 7)
        return encoded(noise(), "MPO", save_all=True, append_images=[preview], quality=95)

    def test_the_first_of_a_camera_file_is_the_picture(self) -> None:
        first = self.mpo()
        assert Image.open(io.BytesIO(first)).format == "MPO"
        with Image.open(io.BytesIO(first)) as whole:
            expected = np.asarray(whole.convert("RGB"))
        np.testing.assert_array_equal(decoded(first), expected)

    @pytest.mark.parametrize("keep", [0.5, 0.8, 1.0])
    def test_whatever_the_index_or_the_preview_are_like(self, keep: float) -> None:
        whole = self.mpo()
        end = whole.index(b"\xff\xd9") + 2
        cut = whole[: end + int((len(whole) - end) * keep)]
        np.testing.assert_array_equal(decoded(cut), decoded(whole))
        at = whole.index(b"MPF\0") + 4
        damaged = whole[:at] + b"\xff" * 30 + whole[at + 30 :]
        np.testing.assert_array_equal(decoded(damaged), decoded(whole))

    def test_it_is_upright(self) -> None:
        exif = Image.Exif()
        exif[274] = 6
        whole = encoded(noise(), "MPO", save_all=True, append_images=[noise(9, 7)], exif=exif)
        assert decoded(whole).shape == (31, 23, 3)

    def test_a_truncated_first_picture_is_refused(self) -> None:
        assert "truncated" in refusal(self.mpo()[:600])

    def test_smaller_copies_of_a_tiff_page_are_no_pictures_of_their_own(self) -> None:
        def pages(**options: object) -> bytes:
            copy = noise(9, 7)
            copy.encoderinfo = {"tiffinfo": {254: 1}} if options.pop("reduced") else {}  # type: ignore[attr-defined]
            return encoded(noise(), "TIFF", save_all=True, append_images=[copy])

        np.testing.assert_array_equal(decoded(pages(reduced=True)), np.asarray(noise()))
        assert "several pictures" in refusal(pages(reduced=False))


class TestDamagedExif:
    """IFD entries: Orientation 6, then one of another tag whose value lies outside."""

    def exif(self, *entries: bytes, count: int | None = None, tail: bytes = bytes(4)) -> bytes:
        number = len(entries) if count is None else count
        directory = b"MM\0*\0\0\0\x08" + struct.pack(">H", number) + b"".join(entries) + tail
        return b"Exif\0\0" + directory

    turned = struct.pack(">HHIHH", 274, 3, 1, 6, 0)
    lost = struct.pack(">HHII", 271, 2, 400, 9_999)
    large = struct.pack(">HHII", 271, 2, 0x7FFFFFFF, 26)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
    @pytest.mark.parametrize("after", [True, False])
    def test_what_is_readable_is_read_and_it_is_said(self, kind: str, after: bool) -> None:
        for damage in (self.lost, self.large):
            entries = (self.turned, damage) if after else (damage, self.turned)
            image = encoded(noise(), kind, exif=self.exif(*entries))
            assert decoded(image).shape == (31, 23, 3)
            assert check_picture(image, max_pixels=LIMIT) == (DAMAGED,)

    def test_entries_that_are_cut_off_behind_the_orientation(self) -> None:
        image = encoded(noise(), "JPEG", exif=self.exif(self.turned, count=3, tail=b""))
        assert decoded(image).shape == (31, 23, 3)
        assert check_picture(image, max_pixels=LIMIT) == (DAMAGED,)

    def test_damage_beside_which_there_is_no_orientation(self) -> None:
        image = encoded(noise(), "JPEG", exif=self.exif(self.lost))
        assert decoded(image).shape == (23, 31, 3)
        missing_pointer = encoded(noise(), "JPEG", exif=self.exif(self.lost, tail=b""))
        assert decoded(missing_pointer).shape == (23, 31, 3)

    def test_damage_that_may_hide_the_orientation(self) -> None:
        lost = struct.pack(">HHII", 274, 3, 400, 9_999)
        cut = self.exif(self.lost, count=3, tail=b"")
        for exif in (self.exif(lost), cut):
            assert "which side is up cannot be read" in refusal(encoded(noise(), "JPEG", exif=exif))

    def test_sound_data_are_not_remarked_on(self) -> None:
        image = encoded(noise(), "JPEG", exif=self.exif(self.turned))
        assert check_picture(image, max_pixels=LIMIT) == ()


def with_chunk(kind: bytes, content: bytes) -> bytes:
    """A PNG file with a chunk behind its header."""
    image = encoded(noise(), "PNG")
    crc = struct.pack(">I", zlib.crc32(kind + content))
    return image[:33] + struct.pack(">I", len(content)) + kind + content + crc + image[33:]


LARGE = zlib.compress(bytes(range(256)) * 5_000)
"""1.28 MB."""


class TestLargeTexts:
    @pytest.mark.parametrize(
        ("kind", "content"),
        [
            (b"iCCP", b"profile\0\0" + LARGE),
            (b"zTXt", b"Comment\0\0" + LARGE),
            (b"iTXt", b"prompt\0\1\0en\0\0" + LARGE),
            (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LARGE),
        ],
    )
    def test_sound_pixels_are_read(self, kind: bytes, content: bytes) -> None:
        image = with_chunk(kind, content)
        np.testing.assert_array_equal(decoded(image), np.asarray(noise()))
        assert check_picture(image, max_pixels=LIMIT) == (LARGE_TEXTS,)

    def test_many_texts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_MEMORY", 1_000)
        image = with_chunk(b"tEXt", b"Comment\0" + b"a" * 2_000)
        np.testing.assert_array_equal(decoded(image), np.asarray(noise()))
        assert check_picture(image, max_pixels=LIMIT) == (LARGE_TEXTS,)

    def test_small_texts_are_no_matter(self) -> None:
        assert (
            check_picture(with_chunk(b"zTXt", b"a\0\0" + zlib.compress(b"b")), max_pixels=LIMIT)
            == ()
        )

    def test_a_text_that_may_say_which_side_is_up(self) -> None:
        xmp = zlib.compress(b"<x:xmpmeta tiff:Orientation='6'>" + b" " * 2_000_000)
        message = refusal(with_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + xmp))
        assert "which side is up" in message

    def test_damaged_pixels_beside_them_are_still_refused(self) -> None:
        image = bytearray(with_chunk(b"iCCP", b"profile\0\0" + LARGE))
        image[image.index(b"IEND") - 8] ^= 1
        assert "truncated or corrupt" in refusal(bytes(image))


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "a HEIC picture"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", "an AVIF picture"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "an AVIF picture"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp41", "a video"),
        (b"\xff\x0a\xfa\x1f", "a JPEG XL picture"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\n <!DOCTYPE HTML><html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (bytes(128) + b"DICM", "a DICOM file"),
    ],
)
def test_what_is_no_picture_is_named(
    start: bytes, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmeraser_ray.data.heif.PACKAGE", "not_installed")
    message = refusal(start + bytes(100))
    assert name in message and "is not a picture" in message


@pytest.mark.skipif(not importlib.util.find_spec("pillow_heif"), reason="needs pillow-heif")
def test_heic_is_read_where_the_package_is() -> None:
    from pillow_heif import from_pillow

    sink = io.BytesIO()
    from_pillow(Image.new("RGB", (64, 48), (200, 30, 60))).save(sink, quality=90)
    assert decoded(sink.getvalue()).shape == (48, 64, 3)
    assert abs(decoded(sink.getvalue())[20, 20].astype(int) - [200, 30, 60]).max() < 12
    assert Image.registered_extensions().get(".heic") is None, "Pillow is left as it was"


class TestWindow:
    values = np.array([[0, 1000, 2000], [3000, 65535, 1500]], np.uint16)
    expected = np.array([[0, 0, 128], [255, 255, 64]], np.uint8)

    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "PPM text", "PPM of 4095"])
    def test_greys_within_are_linear(self, kind: str) -> None:
        values, expected = self.values, self.expected
        if kind == "PPM of 4095":
            values = np.minimum(values, 4095)
            image = b"P5 3 2 4095\n" + values.astype(">u2").tobytes()
        elif kind == "PPM text":
            image = b"P2 3 2 65535\n" + " ".join(map(str, values.ravel())).encode()
        elif kind == "PPM":
            image = b"P5 3 2 65535\n" + values.astype(">u2").tobytes()
        else:
            image = encoded(Image.fromarray(values), kind)
        assert "16 bits" in refusal(image) and "data.window" in refusal(image)
        assert (decoded(image, (1000, 3000)) == expected[..., None]).all()

    def test_of_a_big_endian_tiff_and_turned(self) -> None:
        exif = Image.Exif()
        exif[274] = 6
        for kind in ("PNG", "TIFF"):
            image = encoded(Image.fromarray(self.values), kind, exif=exif)
            assert (decoded(image, (1000, 3000))[..., 0] == np.rot90(self.expected, -1)).all()

    def test_other_pictures_are_not_changed(self) -> None:
        image = encoded(noise().convert("L"), "PNG")
        np.testing.assert_array_equal(decoded(image, (10, 20)), decoded(image))
        colours = b"P6 1 1 65535\n" + bytes(6)
        assert "16 bits" in refusal(colours, (0, 65535))

    def test_a_window_that_is_none(self) -> None:
        for window in ("[5, 5]", "[9, 3]", "[-1, 3]", "[0, 70000]", "[1]"):
            with pytest.raises(ConfigError, match=r"data\.window|window"):
                load_config(None, [("data.window", window)])
        assert load_config(None, [("data.window", "[0, 4095]")]).data.window == (0, 4095)


class TestFit:
    image = encoded(noise(40, 20), "PNG")

    def fitted(self, image: bytes, fit: str, size: int = 20) -> np.ndarray:
        return prepare_picture(
            image,
            input_size=size,
            resize=size,
            interpolation="bilinear",
            max_pixels=LIMIT,
            fit=fit,  # type: ignore[arg-type]
        ).transpose(1, 2, 0)

    def test_crop_cuts_the_sides_off(self) -> None:
        np.testing.assert_array_equal(
            self.fitted(self.image, "crop"), np.asarray(noise(40, 20))[:, 10:30]
        )

    def test_pad_keeps_all_on_black(self) -> None:
        found = self.fitted(self.image, "pad")
        small = np.asarray(noise(40, 20).resize((20, 10), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(found[5:15], small)
        assert not found[:5].any() and not found[15:].any()

    def test_squash_keeps_all_and_bends_it(self) -> None:
        small = noise(40, 20).resize((20, 20), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(self.fitted(self.image, "squash"), np.asarray(small))

    @pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
    def test_a_strip_and_a_square(self, fit: str) -> None:
        assert self.fitted(encoded(noise(100, 1), "PNG"), fit, size=4).shape == (4, 4, 3)
        square = encoded(noise(20, 20), "PNG")
        np.testing.assert_array_equal(self.fitted(square, fit), np.asarray(noise(20, 20)))


def test_what_came_later_is_in_no_identity_at_its_default() -> None:
    plain = load_config(None, [])
    assert set(plain.data.identity()) == {"test_fraction", "buckets"}
    both = load_config(None, [("data.fit", "pad"), ("data.window", "[1, 2]")])
    assert both.data.identity() | {"fit": "pad", "window": [1, 2]} == both.data.identity()
    spec = PictureSpec(4, 4, "bilinear", (0.5,) * 3, (0.5,) * 3)
    assert set(spec.facts()) == {"input_size", "resize", "interpolation", "mean", "std"}
    wide = PictureSpec(4, 4, "bilinear", (0.5,) * 3, (0.5,) * 3, "pad", (1, 2))
    assert wide.facts()["fit"] == "pad" and wide.facts()["window"] == (1, 2)
