"""What an attack finds: AUC of each method with its interval, and KLoM of the forgotten records
beside its null.

    STUDY/attack.json → a row a method, by forget set
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmeraser_ray.study.figure.results import machine_of
from lmeraser_ray.study.figure.style import (
    COLOURS,
    GREY,
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

METHODS = {"no-op": ("no-op (control)", COLOURS[1]), "exact": ("exact", COLOURS[0])}
"""Names of methods, and their colours; another one has its own name and `OTHER`."""
OTHER = COLOURS[4]


@dataclass(frozen=True)
class AttackedRow:
    """A method on a forget set, and the place of its row, from the top."""

    place: float
    records: str
    method: str
    found: Mapping[str, Any]

    @property
    def label(self) -> str:
        """What the row is called."""
        return METHODS.get(self.method, (self.method, OTHER))[0]

    @property
    def colour(self) -> str:
        """What it is drawn in."""
        return METHODS.get(self.method, (self.method, OTHER))[1]


def power_of_an_attack(data: Mapping[str, Any]) -> "Figure | Missing":
    """Draw what `lmeraser attack` wrote; without KLoM where it was left out."""
    rows = rows_of(data["sets"])
    if not rows:
        return Missing("nothing was attacked: run `lmeraser attack` again")
    panels = 2 if all(row.found["klom"] for row in rows) else 1
    figure = new_figure(1.15 + 0.19 * len(rows), width=WIDTH)
    axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    auc(axes[0], rows)
    if panels == 2:
        klom(axes[1], rows)
    axes[0].set_yticks([row.place for row in rows], [row.label for row in rows])
    axes[0].set_ylim(max(row.place for row in rows) + 0.6, -1.1)
    for row in rows:
        if row.method == next(iter(data["sets"][row.records])):
            axes[0].text(
                0,
                row.place - 0.75,
                f"{row.records} records",
                va="center",
                fontsize=6,
                fontweight="bold",
                transform=axes[0].get_yaxis_transform(),
            )
    only_x_grid(axes)
    foot(figure, *sentences(data, klom=panels == 2))
    return figure


def rows_of(sets: Mapping[str, Mapping[str, Any]]) -> list[AttackedRow]:
    """The rows from the top, a gap between forget sets."""
    found: list[AttackedRow] = []
    for at, (records, methods) in enumerate(sets.items()):
        found += [
            AttackedRow(len(found) + number + 1.2 * at, records, method, figures)
            for number, (method, figures) in enumerate(methods.items())
        ]
    return found


def auc(axes: "Axes", rows: Sequence[AttackedRow]) -> None:
    """AUC with its 95% interval, and the line of a coin."""
    axes.axvline(0.5, color=GREY, linestyle="--", linewidth=0.8)
    for row in rows:
        power = row.found["power"]
        (low, high), value = power["interval"], power["auc"]
        axes.errorbar(
            value,
            row.place,
            xerr=[[value - low], [high - value]],
            color=row.colour,
            marker="o",
            elinewidth=0.9,
            capsize=1.8,
        )
        side_number(axes, row.place, f"{value:.3f}")
    lowest = min(row.found["power"]["interval"][0] for row in rows)
    axes.set_xlim(min(0.4, lowest - 0.02), 1)
    axes.set_xlabel("AUC of the attack")


def klom(axes: "Axes", rows: Sequence[AttackedRow]) -> None:
    """KLoM of the forgotten records, and as an open mark what equal samples have."""
    for row in rows:
        found = row.found["klom"]["forget"]
        axes.plot([found["null"], found["mean"]], [row.place] * 2, color=row.colour, linewidth=0.9)
        axes.plot(found["null"], row.place, "o", color=row.colour, markerfacecolor="white")
        axes.plot(found["mean"], row.place, "o", color=row.colour)
        side_number(axes, row.place, f"{found['excess']:.2f}".replace("-", "−"))
    most = max(row.found["klom"]["forget"][kind] for row in rows for kind in ("mean", "null"))
    axes.set_xlim(0, 1.1 * most)
    axes.set_xlabel("KLoM, forgotten (nats)")


def sentences(data: Mapping[str, Any], *, klom: bool) -> tuple[str, ...]:
    """What the marks are, and where the numbers come from."""
    setting = data["setting"]
    marks = (
        "AUC: bars are 95% intervals; dashed: a coin. no-op (control): no unlearning, against "
        "models that lack one record only."
    )
    more = " KLoM: open: the null; numbers: the excess above it." if klom else ""
    models = f", {setting['models']} a side of KLoM" if klom else ""
    source = (
        f"lmeraser attack; {setting['system']}, {setting.get('data', 'digits')}, "
        f"{setting['backbone']}; {setting['shadows']} shadow models{models}, {setting['forget']} "
        f"records a set; seed {setting['identity']['seed']}; {machine_of(data)}"
    )
    return marks + more, source
