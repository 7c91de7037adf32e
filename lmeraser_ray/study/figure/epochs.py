"""Accuracy over epochs (Fig. 3 of the paper): a line a system, the mean over seeds, with a band
from the worst seed to the best; and the average accuracy beside the runs that it is the average of
(Fig. 4)."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from lmeraser_ray.study.figure.labels import Named, name_ends
from lmeraser_ray.study.figure.results import Measured, Study, test_accuracy
from lmeraser_ray.study.figure.style import WIDTH, Missing, foot, new_figure, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def accuracy_over_epochs(study: Study) -> "Figure | Missing":
    """Test accuracy after each epoch; of systems without epochs, a dotted line at their
    accuracy."""
    from matplotlib.ticker import MaxNLocator

    drawn = [variant for variant in study.variants if curves_of(variant)]
    if not any(len(curve) > 1 for variant in drawn for curve in curves_of(variant)):
        return Missing(
            "no system has an accuracy after each of several epochs: run `lmeraser compare` with "
            "--curves"
        )
    figure = new_figure(max(2.4, 0.9 + 0.115 * len(drawn)), width=WIDTH)
    axes = figure.subplots()
    last = max(len(curve) for variant in drawn for curve in curves_of(variant))
    ends = [
        end
        for variant in drawn
        if (end := line(axes, variant, last, min(0.16, 1.6 / len(drawn)))) is not None
    ]
    axes.set_xlim(1 if last > 1 else 0, last)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    percent(axes.yaxis, "test accuracy")
    without = (
        "; dotted: no epochs" if any(len(curves_of(variant)[0]) == 1 for variant in drawn) else ""
    )
    sliced = (
        " Lines are as long as the systems have epochs; with slices these count through all stages."
        if len({end.x for end in ends}) > 1
        else ""
    )
    foot(
        figure,
        f"{course(len(curves_of(variant)) for variant in drawn)}{without}.{sliced}",
        study.source,
    )
    name_ends(axes, ends)
    return figure


def average_accuracy(study: Study) -> "Figure | Missing":
    """Test accuracy after each epoch of every run (left), and the average over the runs (right), of
    the systems of which several runs were recorded."""
    from matplotlib.ticker import MaxNLocator

    drawn = [variant for variant in study.variants if min(shape(curves_of(variant))) > 1]
    if not drawn:
        return Missing(
            "no system has an accuracy after each of several epochs under several seeds: run "
            "`lmeraser compare` with --curves COUNT"
        )
    figure = new_figure(2.4, width=WIDTH)
    runs, average = figure.subplots(1, 2, sharey=True, sharex=True)
    ends = []
    for variant in drawn:
        values = np.array(curves_of(variant))
        x, look = np.arange(1, values.shape[1] + 1), variant.look
        for curve in values:
            runs.plot(x, curve, color=look.colour, linestyle=look.line, linewidth=0.6, alpha=0.7)
        mean = values.mean(0)
        average.plot(x, mean, color=look.colour, linestyle=look.line)
        ends.append(Named(float(x[-1]), float(mean[-1]), variant.label, look.colour))
    runs.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (runs, average):
        axes.set_xlabel("epoch")
    runs.set_title("test accuracy, each run")
    average.set_title("average accuracy")
    percent(runs.yaxis, "test accuracy")
    counts = sorted({len(curves_of(variant)) for variant in drawn})
    foot(
        figure,
        "A run is a seed, with a split of its own; the average is over "
        f"{' or '.join(map(str, counts))} runs.",
        study.source,
    )
    name_ends(average, ends)
    return figure


def course(counts: Iterable[int]) -> str:
    """Say of how many runs the lines are: where one is of several, it is their mean."""
    found = sorted(set(counts))
    if found == [1]:
        return "A line is one run, that of the first seed"
    return (
        f"A line is the mean of {' or '.join(map(str, found))} runs, its band from the worst to "
        "the best of them"
    )


def shape(curves: list[list[float]]) -> tuple[int, int]:
    """How many runs were recorded, and over how many epochs; (0, 0) without any."""
    return len(curves), min(map(len, curves), default=0)


def curves_of(variant: Measured) -> list[list[float]]:
    """The courses that were recorded: `compare --curves COUNT` records those of the first seeds."""
    return [run["curve"] for run in variant.runs if run.get("curve")]


def line(axes: "Axes", variant: Measured, last: int, shade: float) -> Named | None:
    """Draw one variant, its band as dark as `shade`; returns where its line ends."""
    curves = curves_of(variant)
    epochs = min(len(curve) for curve in curves)
    look = variant.look
    if epochs == 1:
        found = variant.over(test_accuracy)
        if found is None:
            return None
        axes.plot([1, last], [found.mean] * 2, color=look.colour, linestyle=":", linewidth=0.8)
        return Named(last, found.mean, variant.label, look.colour)
    values = np.array([curve[:epochs] for curve in curves])
    x, mean = np.arange(1, epochs + 1), values.mean(0)
    axes.plot(x, mean, color=look.colour, linestyle=look.line, zorder=3)
    axes.fill_between(x, values.min(0), values.max(0), color=look.colour, alpha=shade, linewidth=0)
    return Named(epochs, float(mean[-1]), variant.label, look.colour)
