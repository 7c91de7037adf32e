"""The frontier: accuracy against the expected cost of a deletion. The points that no other beats in
both are connected.

The error is on a log scale, because good systems lie close together near 100%.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lmeraser_ray.study.figure.labels import Line, Named, name_points
from lmeraser_ray.study.figure.results import (
    Run,
    Spread,
    Study,
    expected_share,
    person_share,
    test_accuracy,
)
from lmeraser_ray.study.figure.style import GREY, WIDTH, Look, Missing, foot, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OVER_SEEDS = "Mean over seeds, bars from the worst to the best seed."
TICKS = (0.0, 0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)


@dataclass(frozen=True)
class FrontierPoint:
    """One choice. cost: of a deletion on average, as a share of a full training; ringed: whether a
    ring is drawn around it."""

    label: str
    look: Look
    cost: float
    accuracy: Spread
    ringed: bool = False


def frontier_of_systems(study: Study) -> "Figure | Missing":
    """Draw all systems and variants of a study by the cost of one record's deletion."""
    return frontier(points_of(study, expected_share), study.source, study.accuracy, study.share)


def frontier_of_people(study: Study) -> "Figure | Missing":
    """Draw all systems and variants of a study by the cost of forgetting a person."""
    points = points_of(study, person_share)
    cost = "work of forgetting a person (% of a training, mean)"
    return frontier(points, study.source, study.accuracy, cost)


def points_of(study: Study, cost_of: Callable[[Run], float | None]) -> list[FrontierPoint]:
    """Return the variants of a study that have both a cost and an accuracy."""
    points = []
    for variant in study.variants:
        cost, accuracy = variant.over(cost_of), variant.over(test_accuracy)
        if cost and accuracy:
            points.append(FrontierPoint(variant.label, variant.look, cost.mean, accuracy))
    return points


def pareto(points: Sequence[FrontierPoint]) -> list[FrontierPoint]:
    """Return the points that no other beats, from cheap to dear. A point beats another that costs
    no less and is no more accurate, if they differ."""
    found: list[FrontierPoint] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.accuracy.mean, p.label)):
        best = found[-1] if found else None
        if (
            best is None
            or point.accuracy.mean > best.accuracy.mean
            or (point.cost, point.accuracy.mean) == (best.cost, best.accuracy.mean)
        ):
            found.append(point)
    return found


def frontier(
    points: Sequence[FrontierPoint], source: str, what: str, cost: str, *, bars: str = OVER_SEEDS
) -> "Figure | Missing":
    """Draw points, connect the Pareto-optimal ones, and name each point where there is room. bars:
    a sentence on what the bars are; what: the kind of accuracy; cost: what the costs are."""
    if not points:
        return Missing(
            "no system has both a test accuracy and a cost: run `lmeraser compare` on data with "
            "test records"
        )
    figure = new_figure(min(2.9 + 0.035 * len(points), 5.0), width=WIDTH)
    axes = figure.subplots()
    floor = 0.5 * min(
        [1 - value for p in points for value in (p.accuracy.mean, p.accuracy.high) if value < 1],
        default=0.1,
    )
    top = 1 - floor
    points = [replace(point, accuracy=at_most(point.accuracy, top)) for point in points]
    costs = [p.cost for p in points if p.cost > 0]
    cheapest = min(costs, default=0.01) / 2
    scales(axes, points, floor=floor, cheapest=cheapest, dearest=max(costs, default=1.0))
    axes.set_ylabel(f"{what} (%)")
    axes.set_xlabel(cost)
    best = pareto(points)
    x, y = [max(p.cost, cheapest) for p in best], [p.accuracy.mean for p in best]
    axes.step(x, y, where="post", color=GREY, linewidth=0.8, zorder=2)
    for point in points:
        draw_point(axes, point, max(point.cost, cheapest), filled=point in best)
    right = " An accuracy of 100% stands at the top." if best[-1].accuracy.mean >= top else ""
    free = " A cost of 0 stands at the left edge." if min(p.cost for p in points) <= 0 else ""
    foot(
        figure,
        f"Filled and connected: no other is as cheap and as accurate. {bars}{free}{right}",
        source,
    )
    ordered = [*best[::-1], *(point for point in points if point not in best)]
    name_all(axes, ordered, cheapest, stairs(x, y))
    return figure


def at_most(spread: Spread, top: float) -> Spread:
    """Return an accuracy no higher than the scale goes."""
    mean, low, high = (min(value, top) for value in (spread.mean, spread.low, spread.high))
    return replace(spread, mean=mean, low=low, high=high)


def draw_point(axes: "Axes", point: FrontierPoint, x: float, *, filled: bool) -> None:
    """Draw a point at the cost `x` with its bar, and with its ring where it has one."""
    colour, y = point.look.colour, point.accuracy.mean
    axes.plot(
        [x, x], [point.accuracy.low, point.accuracy.high], color=colour, linewidth=0.6, zorder=2
    )
    style: dict[str, Any] = {"color": colour, "markeredgewidth": 0.8, "zorder": 4}
    axes.plot(x, y, point.look.marker, markerfacecolor=colour if filled else "white", **style)
    if point.ringed:
        axes.plot(x, y, "o", markerfacecolor="none", markersize=8, **style)


def name_all(axes: "Axes", points: Sequence[FrontierPoint], cheapest: float, line: Line) -> None:
    """Name points, the first ones first, off the line and rather off the bars; the title says how
    many have no room for a name."""
    title: dict[str, Any] = {"fontsize": 5, "color": GREY, "loc": "right"}
    axes.set_title(" ", **title)  # keeps the room
    named = [Named(max(p.cost, cheapest), p.accuracy.mean, p.label, p.look.colour) for p in points]
    spans = [
        [(name.x, point.accuracy.low), (name.x, point.accuracy.high)]
        for name, point in zip(named, points, strict=True)
    ]
    unnamed = name_points(axes, named, avoid=[line], rather_not=spans)
    if unnamed:
        axes.set_title(f"{len(unnamed)} of {len(points)} without room for a name", **title)


def stairs(x: Sequence[float], y: Sequence[float]) -> list[tuple[float, float]]:
    """Return the corners of a line that runs level from each point, and then up or down to the
    next."""
    corners = [
        corner
        for at, height, after in zip(x, y, x[1:], strict=False)
        for corner in ((at, height), (after, height))
    ]
    return [*corners, (x[-1], y[-1])]


def scales(
    axes: "Axes", points: Sequence[FrontierPoint], *, floor: float, cheapest: float, dearest: float
) -> None:
    """Scale the axes: log cost, and accuracy by the logarithm of the error, which is at least
    `floor`."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    def forward(accuracy: np.ndarray) -> np.ndarray:
        return -np.log10(np.maximum(1 - np.asarray(accuracy, np.float64), floor / 10))

    axes.set_yscale("function", functions=(forward, lambda height: 1 - 10.0**-height))
    values = [value for point in points for value in (point.accuracy.low, point.accuracy.high)]
    low, high = forward(np.array([min(values), max(values)]))
    room = 0.09 * max(high - low, 0.1)
    axes.set_ylim(1 - 10 ** -(low - room), 1 - 10 ** -(high + room))
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in TICKS if tick < 1 - floor]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}"))
    axes.set_xscale("log")
    axes.set_xlim(cheapest / 1.3, dearest * 1.6)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}"))
    few = dearest / cheapest < 30  # too few powers of ten to read a cost by them
    axes.xaxis.set_minor_formatter(
        FuncFormatter(
            lambda value, _: f"{100 * value:.3g}" if few and f"{value:e}"[0] in "25" else ""
        )
    )
    axes.tick_params(axis="x", which="minor", labelsize=6)
