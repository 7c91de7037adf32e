"""The geometry of the page's figures, in units of their view boxes; the template draws them.

Place in the flow: between `page_facts` and the template. Invariant: numbers in, numbers out, so
that a figure is a function of what it shows; prompts are the only pictures, as PNG in the page.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from lmeraser_ray.operations.learned_prompts import Prompt, around_grey, scale_of
from lmeraser_ray.operations.quality import Bin

WIDTH, HEIGHT = 320.0, 200.0
"""Of the area of a figure in which values are drawn."""
MOST_BARS = 160
"""Of a figure; of more shards each bar is the mean of some that are next to each other in size."""


@dataclass(frozen=True)
class Bar:
    """A rectangle, `y` down from the top; of a bin also the height `at` which its probability
    is."""

    x: float
    y: float
    width: float
    height: float
    at: float = 0.0


def reliability_boxes(bins: Sequence[Bin]) -> list[Bar]:
    """Return a bar for each bin, as high as its share that is right, from 0 to 1."""
    return [
        Bar(
            round(one.low * WIDTH + 1, 1),
            round((1 - one.accuracy) * HEIGHT, 1),
            round((one.high - one.low) * WIDTH - 2, 1),
            round(one.accuracy * HEIGHT, 1),
            round((1 - one.confidence) * HEIGHT, 1),
        )
        for one in bins
    ]


def size_boxes(sizes: Sequence[int]) -> list[Bar]:
    """Return a bar for each shard, the largest first, as high as its share of the largest one."""
    ordered, most = sorted(sizes, reverse=True), max(sizes, default=0)
    step = -(-len(ordered) // MOST_BARS) or 1
    groups = [ordered[at : at + step] for at in range(0, len(ordered), step)]
    wide = WIDTH / max(len(groups), 1)
    heights = [sum(group) / len(group) / max(most, 1) * HEIGHT for group in groups]
    return [
        Bar(round(at * wide, 2), round(HEIGHT - high, 1), round(wide * 0.86, 2), round(high, 1))
        for at, high in enumerate(heights)
    ]


@dataclass(frozen=True)
class PromptPicture:
    """A prompt as a picture: its name, and a PNG file as the text of a `data:` address."""

    label: str
    address: str


def prompt_pictures_in(prompts: Sequence[Prompt]) -> list[PromptPicture]:
    """Return prompts as pictures, all on one scale: grey adds nothing."""
    scale = scale_of(prompts)
    return [PromptPicture(each.label, address_of(each, scale)) for each in prompts]


def address_of(prompt: Prompt, scale: float) -> str:
    """Return a prompt's picture as a `data:` address."""
    sink = io.BytesIO()
    Image.fromarray(around_grey(prompt.change, scale)).save(sink, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(sink.getvalue()).decode()}"
