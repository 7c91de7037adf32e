"""What is taken for what, and how far probabilities can be believed: the confusion matrix and the
reliability diagram of an evaluation."""

from typing import TYPE_CHECKING

import numpy as np

from lmeraser_ray.operations.quality import Quality
from lmeraser_ray.study.figure.style import COLOURS, GREY, WIDTH, foot, new_figure, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 30
"""Classes of a picture at most: names of more would lie over each other."""
NUMBERED = 15
"""Classes up to which each cell has its number."""
LETTERS = 18
"""Of a class's name; the middle of a longer one is left out: names of one kind begin alike."""


def confusion_matrix(quality: Quality, source: str) -> "Figure":
    """A row a true class, a column what was said; the shade is the share of the row. Of many
    classes those with the most mistakes are shown."""
    everything = quality.confusion
    wrong = everything.sum(0) + everything.sum(1) - 2 * everything.diagonal()
    shown = np.sort(np.argsort(-wrong, kind="stable")[:SHOWN])
    counts = everything[np.ix_(shown, shown)]
    shares = counts / np.maximum(everything[shown].sum(1, keepdims=True), 1)
    names = [shortened(quality.classes[at]) for at in shown.tolist()]
    side = max(2.2, 0.2 * len(shown) + 0.9) if len(shown) <= NUMBERED else 4.6
    figure = new_figure(side + 0.35, width=max(WIDTH, side + 0.3))
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(shown)), names, rotation=90 if longest(names) > 2 else 0)
    axes.set_yticks(range(len(shown)), names)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    if len(shown) <= NUMBERED:
        for row, column in np.argwhere(counts).tolist():
            colour = "white" if shares[row, column] > 0.5 else "black"
            text = f"{counts[row, column]:,}"
            axes.text(column, row, text, ha="center", va="center", fontsize=5, color=colour)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.outline.set_visible(False)
    percent(bar.ax.yaxis, "of the true class")
    left = len(quality.classes) - len(shown)
    note = f" The {len(shown)} classes with the most mistakes of {len(quality.classes)}." * (
        left > 0
    )
    foot(figure, f"{quality.records:,} test records.{note} {source}")
    return figure


def shortened(name: str, letters: int = LETTERS) -> str:
    """A name as a tick shows it."""
    half = letters // 2
    return name if len(name) <= letters else f"{name[: letters - half - 1]}…{name[-half:]}"


def longest(names: list[str]) -> int:
    """How many letters the longest name has."""
    return max(map(len, names))


def reliability_diagram(quality: Quality, source: str) -> "Figure":
    """The share that is right against the probability that was said, above how many predictions
    said it. Probabilities that can be believed lie on the diagonal."""
    figure = new_figure(3.3)
    above, below = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    above.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=0.8, label="as it should be")
    confidence = [one.confidence for one in quality.bins]
    accuracy = [one.accuracy for one in quality.bins]
    above.plot(confidence, accuracy, marker="o", color=COLOURS[0], label="as it is")
    for one in quality.bins:
        above.vlines(one.confidence, *sorted((one.confidence, one.accuracy)), color=COLOURS[1])
        below.bar(
            (one.low + one.high) / 2, one.count, width=0.9 * (one.high - one.low), color=COLOURS[0]
        )
    error = quality.measures["calibration error"]
    above.set_title(f"calibration error {error.value:.3f}", loc="left")
    above.set_xlim(0, 1)
    above.set_ylim(0, 1.02)
    above.legend(loc="upper left", frameon=False, fontsize=6)
    percent(above.yaxis, "right")
    percent(below.xaxis, "probability of the predicted class")
    below.set_ylabel("records")
    foot(
        figure,
        f"{quality.records:,} test records in {len(quality.bins)} bins of equal width; an orange "
        f"line is the gap that the calibration error (ECE) averages. {source}",
    )
    return figure
