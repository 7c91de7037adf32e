"""What one deletion trains again (Fig. 6 of the paper): record passes and parameters, a bar a
system, on a log scale; re-clustering included."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lmeraser_ray.study.figure.results import Measured, Run, Study
from lmeraser_ray.study.figure.style import (
    WIDTH,
    Missing,
    foot,
    new_figure,
    only_x_grid,
    side_number,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Reading = Callable[[Run], float | None]


def repeated(which: str, *, in_passes: bool) -> Reading:
    """What a deletion trains again: record passes, mean or worst; in results of an earlier release
    the records of the shards that change."""

    def read(run: Run) -> float | None:
        if in_passes:
            work = run["cost"]["work"]["record"]
            passes: float | None = work["passes" if which == "mean" else "worst_passes"]
            return passes
        found = run["cost"]["expected_share" if which == "mean" else "worst_share"]
        return None if found is None else float(found * run["records"]["training"])

    return read


def parameters(kind: str) -> Reading:
    """Parameters that a deletion trains again: mean or worst."""

    def read(run: Run) -> float | None:
        found: float | None = run["cost"]["parameters"][kind]
        return found

    return read


def affected_by_a_deletion(study: Study) -> "Figure | Missing":
    """Bars of the mean over all deletions, a tick at the worst one; the cheapest system on top."""
    mean, worst = (repeated(which, in_passes=study.in_passes) for which in ("mean", "worst"))
    cost = {variant.name: found.mean for variant in study.variants if (found := variant.over(mean))}
    if not cost:
        return Missing("no system has a cost: run `lmeraser compare` again into a new study")
    shown = sorted(
        (variant for variant in study.variants if variant.name in cost),
        key=lambda variant: (-cost[variant.name], variant.name),
    )
    figure = new_figure(0.85 + 0.155 * len(shown), width=WIDTH)
    axes = figure.subplots(1, 2, sharey=True)
    bars(axes[0], shown, mean, worst)
    bars(axes[1], shown, parameters("mean"), parameters("worst"))
    axes[0].set_xlabel("record passes" if study.in_passes else "records")
    axes[1].set_xlabel("parameters")
    axes[0].set_yticks(range(len(shown)), [variant.label for variant in shown])
    only_x_grid(axes)
    foot(
        figure,
        "What one deletion trains again, re-clustering included; log scale. Bars and numbers: mean "
        "over all deletions and seeds; tick: the worst one."
        f"{'' if study.in_passes else ' Records: of the shards that change.'}",
        study.source,
    )
    return figure


def bars(axes: "Axes", shown: Sequence[Measured], mean: Reading, worst: Reading) -> None:
    """Lying bars from 1, with the means in a column right of them."""
    from matplotlib.ticker import LogLocator

    values = [found.mean if (found := variant.over(mean)) else None for variant in shown]
    most = [found.high if (found := variant.over(worst)) else None for variant in shown]
    known = [value for value in (*values, *most) if value]
    for at, (variant, value, high) in enumerate(zip(shown, values, most, strict=True)):
        text = "n/a" if value is None else "0" if value == 0 else short(value)
        if value:
            axes.barh(
                at,
                value - 1,
                left=1,
                height=0.66,
                color=variant.look.colour,
                alpha=0.75,
                linewidth=0,
            )
        if high:
            axes.plot([high, high], [at - 0.33, at + 0.33], color="black", linewidth=0.9)
        side_number(axes, at, text)
    axes.set_xscale("log")
    axes.set_xlim(1, max(known, default=10.0) * 1.5)
    axes.xaxis.set_major_locator(LogLocator(numticks=5))


def short(value: float) -> str:
    """A number in three figures: 0.42, 57, 1,437, 12.3k, 85.8M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            scaled = value / (1e3 if letter == "k" else size)
            return f"{scaled:.0f}{letter}" if scaled >= 100 else f"{scaled:.1f}{letter}"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
