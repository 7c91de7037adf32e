"""The front of a sweep or a recommendation: accuracy against the mean work of the asked unit, the
recommended value ringed.

    STUDY/sweep.json, recommend.json → one point a value
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmeraser_ray.study.figure.frontier import FrontierPoint, frontier
from lmeraser_ray.study.figure.results import Spread, machine_of, values_of
from lmeraser_ray.study.figure.style import GREY, Look, Missing, look
from lmeraser_ray.study.variants import SYSTEM

STOPPED = Look(GREY, "-", "v")
"""Of a value that was stopped."""

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def front_of_a_sweep(data: Mapping[str, Any], verb: str) -> "Figure | Missing":
    """Draw what `lmeraser sweep`, or another verb, wrote; values that were stopped at the accuracy
    that they could reach at most."""
    chosen, points = data["recommended"]["value"], []
    for row in data["values"]:
        fields, cost = row["fields"], row["work, mean"]
        name = row["value"] if SYSTEM in fields else " ".join(values_of(fields))
        accuracy = row["accuracy"]
        if accuracy is None:
            most = row["at_most"]
            points.append(FrontierPoint(name, STOPPED, cost, Spread(most, most, most, None)))
            continue
        error = row["standard error"]
        high = max(
            accuracy, min(accuracy + error, 1 - 0.5 / data["records"]["queries"])
        )  # an error below half a record's is none
        spread = Spread(accuracy, max(0.0, accuracy - error), high, error)
        points.append(FrontierPoint(name, look(0), cost, spread, ringed=row["value"] == chosen))
    stopped = any(point.look is STOPPED for point in points)
    bars = (
        "Bars: one standard error. Ringed: "
        f"recommended.{' Grey: stopped, at most this accurate.' if stopped else ''}"
    )
    work = f"work of deleting {data['asked']['unit']} (% of a training, mean)"
    return frontier(points, source_of(data, verb), bars=bars, what="accuracy", cost=work)


def source_of(data: Mapping[str, Any], verb: str) -> str:
    """One sentence: what wrote the numbers, from what, on which machine."""
    subject, records = data["subject"], data["records"]
    counts = (
        f"{records['training']:,} records to train on, {records['queries']:,} to judge by "
        f"({records['on']})"
    )
    about = f"{subject['data']}, {subject['backbone']}"
    return f"lmeraser {verb}; {about}; {counts}; {machine_of(data)}"
