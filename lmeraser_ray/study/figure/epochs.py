"""Accuracy over epochs (Fig. 3 and 4 of the paper): a line a system, the mean over seeds, with a
band from the worst seed to the best."""

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
        "Mean of the seeds whose course was recorded, band from the worst to the best of "
        f"them{without}.{sliced}",
        study.source,
    )
    name_ends(axes, ends)
    return figure


def curves_of(variant: Measured) -> list[list[float]]:
    """The courses that were recorded: `compare --curves` records that of the first seed."""
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
