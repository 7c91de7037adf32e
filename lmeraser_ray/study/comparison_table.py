"""The table of a comparison: the means of every system over seeds, as CSV and Markdown."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lmeraser_ray.operations.work_units import interval

Run = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """One figure of a run. of: reads it from a run's JSON, None where it does not apply; form: how
    it is written."""

    name: str
    of: Callable[[Run], float | None]
    form: str


def single(field: str) -> Callable[[Run], float | None]:
    """Return a reader of the mean of a field over the single deletions of a run."""

    def read(run: Run) -> float | None:
        found = [
            deletion[field] for deletion in run["deletion"]["single"] if deletion[field] is not None
        ]
        return float(np.mean(found)) if found else None

    return read


def together(run: Run) -> float | None:
    """Read the seconds of the joint deletion."""
    found = run["deletion"]["together"]
    return found["seconds"] if found else None


def retained(run: Run) -> float | None:
    """Read the accuracy on the remaining training records after the joint deletion."""
    found = run["deletion"]["together"]
    return found["accuracy"]["retained"] if found else None


def work(unit: str, figure: str) -> Callable[[Run], float | None]:
    """Return a reader of a figure of a unit's work, a share of a full training's."""

    def read(run: Run) -> float | None:
        found: float | None = run["cost"]["work"][unit][figure]
        return found

    return read


UNITS = {
    "record": "one record",
    "person": "a person of ten",
    "batch 1%": "a batch of 1%",
    "batch 10%": "a batch of 10%",
    "adding 1%": "adding 1%",
}
"""What the table has the work of, by its name in a run's JSON. A person has the records of one
subject; where nobody knows whose records they are, ten by hash."""
ACCURACY = Column("accuracy", lambda run: run["accuracy"]["test"], "{:.3f}")
COLUMNS = (
    ACCURACY,
    Column("retained accuracy", retained, "{:.3f}"),
    Column("shards", lambda run: run["shards"], "{:.0f}"),
    *(
        Column(f"work of {words}, {figure}", work(unit, f"{figure}_share"), "{:.2%}")
        for unit, words in UNITS.items()
        for figure in ("mean", "worst")
    ),
    Column("parameters retrained, mean", lambda run: run["cost"]["parameters"]["mean"], "{:,.0f}"),
    Column("seconds for one deletion", single("seconds"), "{:.2f}"),
    Column("seconds for several at once", together, "{:.2f}"),
    Column("storage, MB", lambda run: sum(run["storage"].values()) / 1e6, "{:.2f}"),
    Column(
        "backbone passes a query, at most",
        lambda run: run["inference"]["backbone_passes"],
        "{:.0f}",
    ),
    Column(
        "ms a query, features known",
        lambda run: 1000 * run["inference"]["seconds_per_query"],
        "{:.1f}",
    ),
    Column("training, features known, s", lambda run: run["training"]["seconds"], "{:.1f}"),
)


def columns_on(on: str) -> tuple[Column, ...]:
    """Return the columns; the first one's name says on which records accuracy is: test or
    validation."""
    return (replace(ACCURACY, name=f"{on} accuracy"), *COLUMNS[1:])


def summary(runs: Sequence[Run], on: str) -> dict[str, dict[str, float | None]]:
    """Return each column over the seeds of one system: mean and half width of the 95% interval,
    None where the column does not apply."""
    found: dict[str, dict[str, float | None]] = {}
    for column in columns_on(on):
        values = [value for run in runs if (value := column.of(run)) is not None]
        mean, half = interval(values) if values else (None, None)
        found[column.name] = {"mean": mean, "interval": half, "seeds": len(values)}
    return found


def shown(column: Column, cell: dict[str, float | None]) -> str:
    """Return a cell as text, accuracies with their interval."""
    if cell["mean"] is None:
        return "n/a"
    text = column.form.format(cell["mean"])
    wide = "accuracy" in column.name and cell["interval"] is not None
    return f"{text} ± {column.form.format(cell['interval'])}" if wide else text


def to_markdown(systems: dict[str, dict[str, dict[str, float | None]]], on: str) -> str:
    """Return the table, one row a system. Work is a share of that of a full training."""
    columns = columns_on(on)
    head = ["system", *(column.name for column in columns)]
    rows = [
        [name, *(shown(column, cells[column.name]) for column in columns)]
        for name, cells in systems.items()
    ]
    return markdown(head, rows)


def caption(runs: Iterable[Run], on: str) -> str:
    """Return what the columns are of: the records of accuracy, the unit of work, and who a person
    is."""
    people = dict.fromkeys(str(run["cost"]["work"]["person"]["what"]) for run in runs)
    return (
        f"Accuracy is on {on} records. Work is record passes, as a share of those of a full "
        f"training, feature passes included. A person of ten: {'; '.join(people)}."
    )


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def to_csv(systems: dict[str, dict[str, dict[str, float | None]]], on: str) -> str:
    """Return the same figures unrounded, in two columns each: mean and half width of the 95%
    interval."""
    columns = columns_on(on)
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(
        ["system", *(f"{column.name}{part}" for column in columns for part in ("", " ±95%"))]
    )
    for name, cells in systems.items():
        writer.writerow(
            [
                name,
                *(cells[column.name][part] for column in columns for part in ("mean", "interval")),
            ]
        )
    return sink.getvalue()
