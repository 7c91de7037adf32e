"""The house style: readable at one column, colours that everybody can tell apart, and the same
bytes for the same results.

Sizes are in inches and points. A figure says at its foot what it was measured on.
"""

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 3.4
"""One column of a two-column page."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette without its yellow, which is too light for a line on white."""
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D")
GREY = "#666666"
FOOT = 5.2
"""Points of the line at the foot."""
RULES: dict[str, Any] = {
    # comes with matplotlib, so that no machine's fonts enter the bytes
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    # labels of short and of long ticks at one height: 3.5 points of a long tick, 2 of a short one
    "xtick.major.pad": 3.5,
    "ytick.major.pad": 3.5,
    "xtick.minor.pad": 5.0,
    "ytick.minor.pad": 5.0,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "svg.hashsalt": "lmeraser_ray",
    "svg.fonttype": "path",
}
Format = Literal["png", "svg"]
FORMATS: tuple[Format, ...] = ("png", "svg")


@dataclass(frozen=True)
class Missing:
    """Why a figure was not drawn: what the results lack, and the command that adds it."""

    reason: str


@dataclass(frozen=True)
class Look:
    """How one system looks in every figure of a study."""

    colour: str
    line: str
    marker: str


def look(number: int) -> Look:
    """The look of the system that is `number`-th in its study; four times seven differ."""
    lap = number // len(COLOURS) % len(LINES)
    return Look(COLOURS[number % len(COLOURS)], LINES[lap], MARKERS[lap])


@contextmanager
def house_style() -> Iterator[None]:
    """Draw by the rules above and by nobody's matplotlibrc."""
    import matplotlib as mpl

    rules: dict[Any, Any] = {**mpl.rcParamsDefault, **RULES}
    del rules["backend"]  # pyplot's, which is not used here
    with mpl.rc_context(rules):
        yield


def new_figure(height: float, *, width: float = WIDTH) -> "Figure":
    """An empty figure of this size in inches. Not pyplot's: nothing global is touched but for the
    time of drawing (`house_style`)."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def foot(figure: "Figure", *sentences: str) -> None:
    """A line about where the numbers come from, below everything, wrapped to the width."""
    width = figure.get_size_inches()[0]
    text = "\n".join(
        line
        for sentence in sentences
        for line in textwrap.wrap(sentence, int(width * 72 / (0.54 * FOOT)))
    )
    figure.supxlabel(text, x=0.01, ha="left", fontsize=FOOT, color=GREY, linespacing=1.25)


def rendered(figure: "Figure", form: Format) -> bytes:
    """The figure's file. The same figure gives the same bytes: no date, no random ids."""
    sink = io.BytesIO()
    with house_style():
        figure.savefig(
            sink,
            format=form,
            metadata={"Date": None, "Creator": None} if form == "svg" else {"Software": None},
        )
    return sink.getvalue()


def percent(axis: Any, what: str) -> None:
    """Label an axis whose values are shares from 0 to 1, and write its ticks as percentages."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}"))
    axis.set_label_text(f"{what} (%)")


def as_percent(share: float) -> str:
    """A share in two or three figures: 97.5, 6.2, 0.04."""
    value = 100 * share
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def side_number(axes: "Axes", at: float, text: str) -> None:
    """Write the number of a lying bar into a column right of the axes."""
    axes.text(
        1.03,
        at,
        text,
        transform=axes.get_yaxis_transform(),
        fontsize=5.5,
        va="center_baseline",
        color=GREY,
    )


def only_x_grid(axes: Sequence["Axes"]) -> None:
    """For bars that lie: lines for their values alone."""
    for one in axes:
        one.grid(axis="y", visible=False)
        one.tick_params(axis="y", length=0)
