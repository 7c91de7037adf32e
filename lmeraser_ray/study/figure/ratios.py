"""Fig. 5 of the paper: accuracy against the share of records that is erased at once, and against
the number of prompts."""

from collections import defaultdict
from typing import TYPE_CHECKING, Literal

from lmeraser_ray.study.figure.labels import Named, name_ends
from lmeraser_ray.study.figure.results import Measured, Spread, Study, spread, test_accuracy
from lmeraser_ray.study.figure.style import Missing, foot, new_figure, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUMBERING = ("partition.shards", "partition.threshold")
"""The fields that say how many shards, and so prompts, there are."""
Line = list[tuple[float, Spread]]
RATIO = Missing(
    "no system was measured after erasing several shares: run `lmeraser compare` with --forget "
    "0,0.1,0.5"
)
PROMPTS = Missing(
    "no system was measured with several numbers of shards: run `lmeraser compare` with --vary "
    "partition.shards=10,20,40"
)


def ratio_and_prompts(study: Study) -> "Figure | Missing":
    """Two panels, or the one that there are results for."""
    ratio = [(variant, by_ratio(variant, "test")) for variant in study.variants]
    panels = {
        "ratio": [found for found in ratio if len(found[1]) > 1],
        "prompts": by_prompts(study),
    }
    there = {name: lines for name, lines in panels.items() if lines}
    if not there:
        return Missing(f"{RATIO.reason}; {PROMPTS.reason}")
    heights = [max(1.7, 0.45 + 0.105 * len(lines)) for lines in there.values()]
    figure = new_figure(sum(heights) + 0.35)
    axes = figure.subplots(len(there), squeeze=False, height_ratios=heights)[:, 0]
    foot(figure, "Mean over seeds, bars from the worst to the best seed.", study.source)
    for one, (name, lines) in zip(axes, there.items(), strict=True):
        against_ratio(one, "test accuracy") if name == "ratio" else against_prompts(one, lines)
        name_ends(one, [draw(one, variant, line) for variant, line in lines])
    return figure


def retained_accuracy(study: Study) -> "Figure | Missing":
    """Accuracy on the training records that remain, against the share that was erased."""
    lines = [
        (variant, line)
        for variant in study.variants
        if len(line := by_ratio(variant, "retained")) > 1
    ]
    if not lines:
        return RATIO
    figure = new_figure(max(2.2, 0.9 + 0.105 * len(lines)))
    axes = figure.subplots()
    foot(figure, "Mean over seeds, bars from the worst to the best seed.", study.source)
    against_ratio(axes, "retained accuracy")
    name_ends(axes, [draw(axes, variant, line) for variant, line in lines])
    return figure


def by_ratio(variant: Measured, kind: Literal["test", "retained"]) -> Line:
    """Accuracy at each share that was erased in every run."""
    values: dict[float, list[float]] = defaultdict(list)
    for run in variant.runs:
        for erased in run["forget"]:
            if erased["accuracy"][kind] is not None:
                values[erased["share"]].append(erased["accuracy"][kind])
    return [
        (share, spread(found))
        for share, found in sorted(values.items())
        if len(found) == len(variant.runs)
    ]


def by_prompts(study: Study) -> list[tuple[Measured, Line]]:
    """Accuracy at each number of shards, a line for each system and choice of the other fields."""
    groups: dict[
        tuple[str, tuple[tuple[str, str], ...]], list[tuple[Measured, tuple[float, Spread]]]
    ] = defaultdict(list)
    for variant in study.variants:
        others = tuple(
            (field, value) for field, value in variant.changes.items() if field not in NUMBERING
        )
        shards, accuracy = variant.over(lambda run: run["shards"]), variant.over(test_accuracy)
        if len(others) < len(variant.changes) and shards and accuracy:
            groups[variant.system, others].append((variant, (shards.mean, accuracy)))
    found = []
    for (system, others), members in groups.items():
        first = members[0][0]
        line = sorted((point for _, point in members), key=lambda point: point[0])
        if len({at for at, _ in line}) > 1:
            found.append((Measured(first.name, system, dict(others), first.runs, first.look), line))
    return found


def against_ratio(axes: "Axes", what: str) -> None:
    """The axes of an unlearning ratio."""
    percent(axes.xaxis, "training records erased at once")
    percent(axes.yaxis, what)


def against_prompts(axes: "Axes", lines: list[tuple[Measured, Line]]) -> None:
    """The axes of a number of prompts; logarithmic where it varies much."""
    numbers = sorted({at for _, line in lines for at, _ in line})
    if numbers[-1] >= 8 * numbers[0]:
        axes.set_xscale("log")
    if len(numbers) <= 8:
        axes.set_xticks(numbers, [f"{at:.4g}" for at in numbers])
        axes.minorticks_off()
    axes.set_xlabel("number of shards (prompts)")
    percent(axes.yaxis, "test accuracy")


def draw(axes: "Axes", variant: Measured, line: Line) -> Named:
    """Draw a line with its seeds' range; returns where it ends."""
    x, y = [at for at, _ in line], [found.mean for _, found in line]
    low, high = (
        [found.mean - found.low for _, found in line],
        [found.high - found.mean for _, found in line],
    )
    look = variant.look
    axes.errorbar(
        x,
        y,
        (low, high),
        color=look.colour,
        linestyle=look.line,
        marker=look.marker,
        elinewidth=0.6,
        markersize=2.5,
    )
    return Named(x[-1], y[-1], variant.label, look.colour)
