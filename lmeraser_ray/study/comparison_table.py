"""The table of a comparison: the means of every system over seeds, as CSV and Markdown."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

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


COLUMNS = (
    Column("test accuracy", lambda run: run["accuracy"]["test"], "{:.3f}"),
    Column("retained accuracy", retained, "{:.3f}"),
    Column("shards", lambda run: run["shards"], "{:.0f}"),
    Column("records retrained, mean share", lambda run: run["cost"]["expected_share"], "{:.2%}"),
    Column("p99 share", lambda run: run["cost"]["p99_share"], "{:.2%}"),
    Column("worst share", lambda run: run["cost"]["worst_share"], "{:.2%}"),
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


def interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and the half width of its 95% interval by Student's t (None for one
    value)."""
    found = np.array(values, np.float64)
    if len(found) < 2:
        return float(found.mean()), None
    return float(found.mean()), float(
        student.ppf(0.975, len(found) - 1) * found.std(ddof=1) / np.sqrt(len(found))
    )


def summary(runs: Sequence[Run]) -> dict[str, dict[str, float | None]]:
    """Return each column over the seeds of one system: mean and half width of the 95% interval,
    None where the column does not apply."""
    found: dict[str, dict[str, float | None]] = {}
    for column in COLUMNS:
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


def to_markdown(systems: dict[str, dict[str, dict[str, float | None]]]) -> str:
    """Return the table, one row a system."""
    head = ["system", *(column.name for column in COLUMNS)]
    rows = [
        [name, *(shown(column, cells[column.name]) for column in COLUMNS)]
        for name, cells in systems.items()
    ]
    return markdown(head, rows)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def to_csv(systems: dict[str, dict[str, dict[str, float | None]]]) -> str:
    """Return the same figures unrounded, in two columns each: mean and half width of the 95%
    interval."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(
        ["system", *(f"{column.name}{part}" for column in COLUMNS for part in ("", " ±95%"))]
    )
    for name, cells in systems.items():
        writer.writerow(
            [
                name,
                *(cells[column.name][part] for column in COLUMNS for part in ("mean", "interval")),
            ]
        )
    return sink.getvalue()
