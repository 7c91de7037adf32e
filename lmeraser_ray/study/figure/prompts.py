"""Learned prompts as pictures: what each shard's prompt adds to a picture's pixels, around grey."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lmeraser_ray.operations.learned_prompts import Prompt, around_grey, scale_of
from lmeraser_ray.study.figure.sheets import bare
from lmeraser_ray.study.figure.style import WIDTH, foot, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 4


def prompt_pictures(prompts: Sequence[Prompt], source: str) -> "Figure":
    """A picture a prompt, at least one, all on one scale: grey adds nothing, full and no colour are
    the largest change, up and down."""
    scale = scale_of(prompts)
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
