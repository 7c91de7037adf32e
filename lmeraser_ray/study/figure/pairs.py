"""One choice against another: random partition against adaptive (Fig. 7 of the paper), one head
against many (Fig. 8).

Accuracy alone would say half: the price of a deletion stands beside it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lmeraser_ray.study.figure.results import (
    Measured,
    Run,
    Spread,
    Study,
    expected_share,
    test_accuracy,
)
from lmeraser_ray.study.figure.style import (
    WIDTH,
    Missing,
    as_percent,
    foot,
    new_figure,
    only_x_grid,
    percent,
    side_number,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ADAPTIVE = ("lmeraser", "paper")
RANDOM = ("random-hash", "random-mean")
ONE_HEAD = ("one-head",)


def random_against_adaptive(study: Study) -> "Figure | Missing":
    """Clusters against random shards, with the same learner (Fig. 7)."""
    return against(study, ADAPTIVE, RANDOM)


def one_head_against_many(study: Study) -> "Figure | Missing":
    """A head for each shard against one that all share (Fig. 8)."""
    return against(study, ADAPTIVE, ONE_HEAD)


def against(study: Study, ours: Sequence[str], theirs: Sequence[str]) -> "Figure | Missing":
    """Test accuracy and expected cost, a bar a variant, with 95% intervals over seeds; both sides
    are needed."""
    left, right = (
        as_they_are([v for v in study.of_systems(names) if v.over(test_accuracy)])
        for names in (ours, theirs)
    )
    if not left or not right:
        need = " and ".join(
            " or ".join(names) for names, found in ((ours, left), (theirs, right)) if not found
        )
        return Missing(
            f"there is no system {need} with a test accuracy in the study: run `lmeraser compare` "
            "with it"
        )
    shown = [*right[::-1], *left[::-1]]
    figure = new_figure(0.95 + 0.19 * len(shown), width=WIDTH)
    axes = figure.subplots(1, 2, sharey=True)
    bars(axes[0], shown, test_accuracy)
    bars(axes[1], shown, expected_share)
    percent(axes[0].xaxis, study.accuracy)
    percent(axes[1].xaxis, "cost of a deletion")
    axes[0].set_yticks(range(len(shown)), [variant.label for variant in shown])
    only_x_grid(axes)
    foot(
        figure,
        "Mean over seeds with its 95% interval (Student's t, cut at 0 and 100%). Cost: "
        f"{study.share}, re-clustering included.",
        study.source,
    )
    return figure


def as_they_are(variants: Sequence[Measured]) -> list[Measured]:
    """The variants in which nothing was varied; all of them where there is none."""
    return [variant for variant in variants if not variant.changes] or list(variants)


def bars(axes: "Axes", shown: Sequence[Measured], read: Callable[[Run], float | None]) -> None:
    """Lying bars of shares from 0 to 1, with their interval and, in a column at the right, their
    number."""
    for at, variant in enumerate(shown):
        found = variant.over(read)
        if found is None:
            continue
        axes.barh(at, found.mean, height=0.66, color=variant.look.colour, alpha=0.75, linewidth=0)
        low, high = within(found)
        if high > low:
            axes.errorbar(
                found.mean,
                at,
                xerr=[[found.mean - low], [high - found.mean]],
                color="black",
                elinewidth=0.8,
                capsize=1.8,
            )
        side_number(axes, at, as_percent(found.mean))
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])


def within(found: Spread) -> tuple[float, float]:
    """The ends of the 95% interval of a share, cut at 0 and 1."""
    half = found.half or 0.0
    return max(found.mean - half, 0.0), min(found.mean + half, 1.0)
