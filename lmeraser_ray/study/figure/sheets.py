"""Sheets of pictures: members of shards, a row a shard (Fig. 9 of the paper), above random groups
of the same sizes (Fig. 10)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.data.reader import Pixels
from lmeraser_ray.study.figure.style import WIDTH, foot, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

THUMB = 96
"""Pixels of a picture on a sheet at most: a column has room for no more."""
CELL = 0.3
"""Inches of a picture with its gap at most: a sheet of few columns is no tower."""
GAP = 0.08
"""White between pictures, as a share of a picture."""


@dataclass(frozen=True)
class SheetRow:
    """One group: its name and some members' pictures [m, 3, s, s] uint8, 1 ≤ m."""

    label: str
    pictures: Pixels


def sheets(shards: Sequence[SheetRow], groups: Sequence[SheetRow], source: str) -> "Figure":
    """Both sheets, one above the other: at least one row each, with as many members in row i of
    both."""
    columns = max(len(row.pictures) for row in (*shards, *groups))
    height = (len(shards) + len(groups)) * min(CELL, (WIDTH - 0.85) / columns)
    figure = new_figure(height + 0.85)
    above, below = figure.subplots(2, 1, height_ratios=[len(shards), len(groups)])
    sheet(above, shards, columns)
    sheet(below, groups, columns)
    above.set_title("shards, with their number of records", loc="left")
    below.set_title("random groups", loc="left")
    foot(figure, source)
    return figure


def sheet(axes: "Axes", rows: Sequence[SheetRow], columns: int) -> None:
    """Draw rows of pictures as one picture, their names left of them."""
    whole = mosaic([row.pictures for row in rows], columns)
    axes.imshow(whole, interpolation="none", extent=(0, columns, len(rows), 0))
    axes.set_anchor("W")  # beside the names
    axes.set_yticks(np.arange(len(rows)) + 0.5, [row.label for row in rows])
    bare(axes)


def bare(axes: "Axes") -> None:
    """Axes of a picture: no frame, no ticks but the names."""
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def mosaic(rows: Sequence[Pixels], columns: int) -> NDArray[np.uint8]:
    """Pictures side by side on white. rows: each [m, 3, s, s] uint8, m ≤ columns → [h, w, 3]
    uint8."""
    size = min(rows[0].shape[-1], THUMB)
    gap = max(1, round(GAP * size))
    whole = np.full((len(rows) * (size + gap), columns * (size + gap), 3), 255, np.uint8)
    for at, row in enumerate(rows):
        for column, picture in enumerate(row):
            top, left = at * (size + gap), column * (size + gap)
            whole[top : top + size, left : left + size] = thumbnail(picture, size)
    return whole


def thumbnail(picture: Pixels, size: int) -> NDArray[np.uint8]:
    """A picture [3, s, s] uint8 as [size, size, 3] uint8, size ≤ s."""
    from PIL import Image

    upright = np.ascontiguousarray(picture.transpose(1, 2, 0))
    if upright.shape[0] == size:
        return upright
    return np.asarray(Image.fromarray(upright).resize((size, size), Image.Resampling.BOX))
