"""Learned prompts as pictures: what each shard's prompt adds to a picture's pixels, around grey."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.study.figure.sheets import bare
from lmeraser_ray.study.figure.style import WIDTH, foot, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 4


@dataclass(frozen=True)
class Prompt:
    """One shard's prompt: its name and what it adds to the pixels [3, h, w] float32, in units of a
    pixel's 0 to 255."""

    label: str
    change: NDArray[np.float32]


def in_pixels(prompt: NDArray[np.float32], std: tuple[float, float, float]) -> NDArray[np.float32]:
    """A prompt [3, h, w], which is added to (x / 255 - mean) / std, as what it adds to x."""
    return (prompt * np.array(std, np.float32)[:, None, None] * 255).astype(np.float32)


def prompt_pictures(prompts: Sequence[Prompt], source: str) -> "Figure":
    """A picture a prompt, at least one, all on one scale: grey adds nothing, full and no colour are
    the largest change, up and down."""
    scale = max(float(np.abs(prompt.change).max()) for prompt in prompts) or 1.0
    rows = math.ceil(len(prompts) / COLUMNS)
    figure = new_figure(rows * (WIDTH / COLUMNS + 0.12) + 0.45)
    places = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes, prompt in zip(places, prompts, strict=False):
        axes.imshow(around_grey(prompt.change, scale), interpolation="none")
        axes.set_title(prompt.label, fontsize=5.5, pad=2)
        axes.set_yticks([])
        bare(axes)
    for axes in places[len(prompts) :]:
        axes.set_axis_off()
    foot(
        figure,
        f"What each prompt adds to a picture: grey nothing, full red, green or blue {scale:.0f} "
        f"of 255, none of it −{scale:.0f}.",
        source,
    )
    return figure


def around_grey(change: NDArray[np.float32], scale: float) -> NDArray[np.uint8]:
    """[3, h, w] from -scale to scale as [h, w, 3] uint8; 0 is 128."""
    level: NDArray[np.float32] = np.rint(127.5 + 127.5 * change.transpose(1, 2, 0) / scale + 1e-3)
    found: NDArray[np.uint8] = np.clip(level, 0, 255).astype(np.uint8)
    return found
