"""Pixels as PNG files that are the same bytes on every machine."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lmeraser_ray.data.sources.png import stored_png

Pixels = NDArray[np.uint8]


def made_of(seed: int, n: int, *shape: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), np.uint8)


class TestStoredPng:
    @pytest.mark.parametrize(
        "shape",
        [(8, 8), (32, 32, 3), (250, 250, 3), (147, 148, 3), (1, 65_534), (1, 65_535), (2, 65_535)],
    )
    def test_pixels_return(self, shape: tuple[int, ...]) -> None:
        pixels = made_of(1, shape[0], *shape[1:])
        picture = Image.open(io.BytesIO(stored_png(pixels)))
        picture.verify()
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(stored_png(pixels)))), pixels)

    def test_bytes_are_the_same_everywhere(self) -> None:
        image = stored_png(np.array([[[1, 2, 3], [250, 251, 252]]], np.uint8))
        header = "89504e470d0a1a0a0000000d49484452000000020000000108020000007b40e8dd"
        pixels = "00000012494441547801010700f8ff00010203fafbfc060302f80c82c049"
        assert image.hex() == header + pixels + "0000000049454e44ae426082"

    @pytest.mark.parametrize(
        "pixels", [np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2)), np.zeros((0, 2), np.uint8)]
    )
    def test_other_arrays_are_refused(self, pixels: Pixels) -> None:
        with pytest.raises(ValueError, match="expected uint8"):
            stored_png(pixels)
