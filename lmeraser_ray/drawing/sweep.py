"""The front of a sweep: accuracy against the expected cost of a deletion, the recommended value ringed.

STUDY/sweep.json → a point a measured value
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmeraser_ray.drawing.frontier import Point, frontier
from lmeraser_ray.drawing.results import Spread
from lmeraser_ray.drawing.style import Missing, look

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def front_of_a_sweep(data: Mapping[str, Any]) -> "Figure | Missing":
    """Draw what `lmeraser sweep` wrote. Values that were stopped have no accuracy and are not drawn."""
    chosen, points = data["recommended"]["value"], []
    for row in data["values"]:
        accuracy, error = row["accuracy"], row["standard error"]
        if accuracy is not None:
            most = max(accuracy, min(accuracy + error, 1 - 0.5 / data["records"]["queries"]))  # an error below half a record's is none
            spread = Spread(accuracy, max(0.0, accuracy - error), most, error)
            points.append(Point(label(row["fields"]), look(0), row["one deletion, mean"], spread, ringed=row["value"] == chosen))
    stopped = sum(row["accuracy"] is None for row in data["values"])
    bars = f"Bars: one standard error. Ringed: recommended.{f' {stopped} stopped.' if stopped else ''}"
    on = {"validation": "validation accuracy", "test": "test accuracy", "public": "accuracy on public pictures"}[data["records"]["on"]]
    return frontier(points, source_of(data), bars=bars, what=on)


def label(fields: Mapping[str, str]) -> str:
    """The values, with the last parts of their fields' names."""
    return " ".join(f"{field.rpartition('.')[2]}={value}" for field, value in fields.items())


def source_of(data: Mapping[str, Any]) -> str:
    """One sentence: what wrote the numbers, from what, on which machine."""
    machine, subject, records = data["machine"], data["subject"], data["records"]
    on = f"{machine['gpu']}, {machine['cpu']}" if machine.get("gpu") else f"{machine['cpu']}, {machine['cores']} cores"
    counts = f"{records['training']:,} records to train on and {records['queries']:,} to judge by"
    return f"lmeraser sweep; {subject['data']}, {subject['backbone']}; {counts}; {on}; torch {machine['torch']}"
