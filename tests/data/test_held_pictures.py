"""Pictures that a program holds: no pixel changes, and nothing is guessed."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image

from lmeraser_ray.data.pictures import decode_picture
from lmeraser_ray.data.sources.held_pictures import encoded, held
from lmeraser_ray.errors import DataError, PictureError
from tests.support.world import picture

RGB = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
GREY = RGB[:, :, 0]


def pixels(image: object, column: str | None = None) -> list[object]:
    return np.asarray(decode_picture(encoded(image, column), max_pixels=10_000)).tolist()


@pytest.mark.parametrize(
    "image",
    [
        RGB,
        Image.fromarray(RGB),
        Image.fromarray(RGB).convert("RGBA"),
        np.dstack([RGB, np.full((6, 5), 255, np.uint8)]),
        RGB / 255,
        (RGB / 255).astype(np.float32),
        torch.from_numpy(RGB).permute(2, 0, 1),
        torch.from_numpy(RGB).permute(2, 0, 1) / 255,
        (Image.fromarray(RGB), 3),
        {"image": RGB, "label": 1},
        {"label": 1, "pixel_values": RGB},
        {"bytes": encoded(RGB), "path": None},
        np.asfortranarray(RGB),
    ],
)
def test_colours_stay_what_they_are(image: object) -> None:
    assert pixels(image) == RGB.tolist()


@pytest.mark.parametrize(
    "image",
    [GREY, GREY[:, :, None], Image.fromarray(GREY), torch.from_numpy(GREY)[None], GREY / 255],
)
def test_grey_stays_what_it_is(image: object) -> None:
    assert pixels(image) == np.repeat(GREY[:, :, None], 3, 2).tolist()


@pytest.mark.parametrize("turned", range(1, 9))
def test_a_pil_picture_is_upright_as_its_file_is(turned: int) -> None:
    """PNG would lose the orientation, and the picture lie on its side."""
    exif = Image.Exif()
    exif[0x0112] = turned
    sink = io.BytesIO()
    Image.fromarray(RGB).save(sink, "JPEG", exif=exif)
    assert pixels(Image.open(sink)) == pixels(sink.getvalue())


@pytest.mark.parametrize("mode", ["1", "P", "LA", "L"])
def test_modes_with_one_meaning_are_read_as_their_files_are(mode: str) -> None:
    held_one = Image.fromarray(GREY).convert(mode)
    sink = io.BytesIO()
    held_one.save(sink, "PNG")
    assert pixels(held_one) == pixels(sink.getvalue())


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (RGB.astype(np.int64), "the numbers are int64"),
        (RGB.astype(np.float32), "run from 0 to 248"),
        (RGB / 255 - 0.5, "before it is normalised"),
        (np.full((6, 5), np.nan), "run from nan to nan"),
        (RGB.transpose(2, 0, 1), r"transpose\(1, 2, 0\)"),
        (torch.from_numpy(RGB), "permute it"),
        (np.zeros((0, 4), np.uint8), "shape"),
        (Image.fromarray(RGB).convert("CMYK"), "of mode CMYK"),
        (Image.fromarray(GREY.astype(np.float32)), "of mode F"),
        ({"image": None, "label": 1}, "no picture in the row"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(image: object, said: str) -> None:
    with pytest.raises(PictureError, match=said):
        encoded(image)


def test_frames_and_transparency_are_refused() -> None:
    sink = io.BytesIO()
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    frames[0].save(sink, "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(PictureError, match="several frames"):
        encoded(Image.open(sink))
    clear = Image.fromarray(RGB).convert("RGBA")
    clear.putalpha(7)
    with pytest.raises(PictureError, match="transparent"):
        pixels(clear)


@pytest.mark.parametrize("image", [3, None, object()])
def test_what_is_no_picture(image: object) -> None:
    with pytest.raises(TypeError, match="is no picture"):
        encoded(image)


class Data:
    """A data set as torch has it: a length and items, no iterator."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, at: int) -> tuple[object, int]:
        if at > 1:
            raise KeyError(at)  # and not IndexError, by which Python would know the end
        return RGB, at


@pytest.mark.parametrize(
    "images",
    [
        [RGB, RGB],
        (RGB for _ in range(2)),
        np.stack([RGB, RGB]),
        torch.from_numpy(np.stack([RGB, RGB])).permute(0, 3, 1, 2),
        Data(),
        pd.DataFrame({"id": [1, 2], "image": [encoded(RGB)] * 2}),
        pd.DataFrame({"only": [RGB] * 2}),
        pa.table({"img": [encoded(RGB)] * 2, "label": [0, 1]}),
    ],
    ids=lambda images: type(images).__name__,
)
def test_what_holds_several(images: object) -> None:
    assert [pixels(image) for image in held(images)] == [RGB.tolist()] * 2


@pytest.mark.parametrize(
    "image", [RGB, GREY, Image.fromarray(RGB), torch.from_numpy(RGB), Path("a.png"), picture(0)]
)
def test_a_single_picture_is_not_taken_for_its_rows(image: object) -> None:
    with pytest.raises(TypeError, match="give a list, even of one"):
        list(held(image))


def test_the_column_of_a_table() -> None:
    frame = pd.DataFrame({"face": [encoded(RGB)], "id": [1]})
    assert [pixels(image) for image in held(frame, "face")] == [RGB.tolist()]
    for column in (None, "fase"):
        with pytest.raises(DataError, match="among face, id"):
            list(held(frame, column))
