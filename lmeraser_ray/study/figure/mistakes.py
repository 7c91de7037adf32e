"""The surest mistakes of an evaluation as a sheet of pictures, each under what it is and what was
said."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lmeraser_ray.operations.evaluate import Mistake
from lmeraser_ray.study.figure.confusion import shortened
from lmeraser_ray.study.figure.sheets import THUMB, bare, thumbnail
from lmeraser_ray.study.figure.style import COLOURS, Missing, foot, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 6
LETTERS = 14
"""Of a class's name."""
CELL = (0.95, 1.35)
"""Width and height of a picture with its lines, in inches."""


def worst_errors(worst: Sequence[Mistake], source: str) -> "Figure | Missing":
    """Show mistakes in their order, `COLUMNS` a row."""
    if not worst:
        return Missing("no test record was predicted wrongly")
    rows, columns = -(-len(worst) // COLUMNS), max(3, min(COLUMNS, len(worst)))
    figure = new_figure(0.35 + rows * CELL[1], width=columns * CELL[0])
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        bare(axes)
        axes.set_yticks([])
    for axes, one in zip(grid.flat, worst, strict=False):
        axes.imshow(thumbnail(one.picture, min(one.picture.shape[-1], THUMB)))
        axes.set_title(f"is {shortened(one.truth, LETTERS)}", fontsize=6, pad=2)
        axes.set_xlabel(
            f"said {shortened(one.said, LETTERS)}\n{one.probability:.0%} sure",
            fontsize=6,
            labelpad=2,
            color=COLOURS[1],
        )
    foot(
        figure,
        f"Wrong predictions ({len(worst)}), the surest first; pictures as the "
        f"backbone sees them. {source} Private records.",
    )
    return figure
