"""What a sweep writes: a table of all values, the recommendation with its reason, and a
configuration to train with.

    STUDY/VERB.json, VERB.csv, VERB.md        a row a value; VERB is sweep or recommend
    STUDY/choice.json                         what was chosen, and keyed digests of what it saw
    STUDY/best.yaml                           trains with the choice, and names choice.json

No table has seconds, so that neither the engine nor the number of workers changes a byte of it
(which values were stopped may differ).
"""

import csv
import io
import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmeraser_ray.config import Config
from lmeraser_ray.config.options import to_yaml
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.pipeline.choice import Choice
from lmeraser_ray.study.comparison_table import markdown
from lmeraser_ray.study.machine import describe
from lmeraser_ray.study.race import Stopped, point_of
from lmeraser_ray.study.recommendation import (
    Question,
    Recommendation,
    TrialPoint,
    front,
    recommended,
    standard_error,
)
from lmeraser_ray.study.study_folder import StudyFolder
from lmeraser_ray.study.variants import Variant

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = (
    "value",
    "accuracy",
    "standard error",
    "work, mean",
    "work, p99",
    "work, worst",
    "shards",
    "passes a query",
    "verdict",
)


PRINTED = ("value", "accuracy", "work, mean", "work, worst", "passes a query", "verdict")
"""The columns that are printed, the accuracy with its standard error; the files have all."""


@dataclass(frozen=True)
class Records:
    """How many records a sweep looked at. on: `sweep.on`; training, queries: records that it
    trained on and was judged by; erased: those that were erased while it ran, and that no figure
    has seen."""

    on: str
    training: int
    queries: int
    erased: int = 0


@dataclass(frozen=True)
class Sharing:
    """How trials shared constituents.

    needed: over all trials, one that two need counted twice; distinct: their keys = found (in the
    store at the beginning) + trained (as the trials reported: a trial that died reported nothing) +
    spared (by stopping); records_…: record passes of their training, all stages.
    """

    trials: int
    measured_before: int
    needed: int
    distinct: int
    found: int
    trained: int
    spared: int
    records_needed: int
    records_trained: int
    records_spared: int

    def sentence(self) -> str:
        """Return it in words."""
        text = (
            f"{self.needed:,} constituents needed by {self.trials} values, {self.distinct:,} of "
            f"them distinct: {self.trained:,} trained, {self.found:,} found in the store, "
            f"{self.spared:,} spared by stopping ({self.records_spared:,} records of training)."
        )
        return (
            f"{text} {self.measured_before} values were measured before."
            if self.measured_before
            else text
        )


@dataclass(frozen=True)
class SweepResult:
    """A sweep that has ended. results: the measurement of each measured value, in the order of the
    values; failed, untried: why the others cannot be, or were not, measured."""

    configs: Mapping[str, Config]
    results: Mapping[str, dict[str, Any]]
    stopped: Mapping[str, Stopped]
    failed: Mapping[str, str]
    untried: Mapping[str, str]
    records: Records
    sharing: Sharing
    question: Question

    @property
    def points(self) -> list[TrialPoint]:
        """The measured values."""
        return [point_of(name, result) for name, result in self.results.items()]

    @property
    def choice(self) -> Recommendation:
        """The recommended value."""
        return recommended(self.points, self.records.queries, self.question)


@dataclass(frozen=True)
class Written:
    """A sweep with its table (a dictionary a row) and its files."""

    result: SweepResult
    rows: list[dict[str, Any]]
    files: tuple[Path, ...]

    def __repr__(self) -> str:
        return f"Written({len(self.rows)} values, recommended {self.result.choice.point.name})"

    def to_pandas(self) -> "DataFrame":
        """Return the table: a row a value."""
        from pandas import DataFrame

        return DataFrame(self.rows, columns=list(COLUMNS))

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>{self.to_pandas().to_html()}"


def rows_of(result: SweepResult) -> list[dict[str, Any]]:
    """Return the table's rows, one a value, in the requested order."""
    best, chosen = {point.name for point in front(result.points)}, result.choice.point.name
    rows = []
    for name in result.configs:
        if name in result.results:
            found = result.results[name]
            accuracy, work = found["accuracy"]["test"], found["asked"]
            error = standard_error(accuracy, result.records.queries)
            shares = [work[f"{part}_share"] for part in ("mean", "p99", "worst")]
            verdict = "recommended" if name == chosen else "front" if name in best else "beaten"
            values = [
                name,
                accuracy,
                error,
                *shares,
                found["shards"],
                found["inference"]["backbone_passes"],
                verdict,
            ]
        elif name in result.stopped:
            most = result.stopped[name].at_most
            verdict = f"stopped: at most {most.accuracy:.3f}, beaten by {result.stopped[name].by}"
            values = [name, None, None, most.cost, None, None, None, most.passes, verdict]
        else:
            continue
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def at_most(result: SweepResult, name: str) -> float | None:
    """Return the accuracy that a stopped value could have reached at most; None for others."""
    return result.stopped[name].at_most.accuracy if name in result.stopped else None


def exact(result: SweepResult, name: str) -> bool | None:
    """Return whether a value's work is of all units that there are, and not of some that were
    drawn; None where it was stopped."""
    found = result.results.get(name)
    return None if found is None else bool(found["asked"]["exact"])


def to_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table for reading."""
    return markdown(COLUMNS, cells(rows))


def cells(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the rows as text, a cell for each of `COLUMNS`."""
    forms = ("{}", "{:.3f}", "{:.3f}", "{:.2%}", "{:.2%}", "{:.2%}", "{:.0f}", "{:.0f}", "{}")
    return [
        [
            "" if row[name] is None else form.format(row[name])
            for name, form in zip(COLUMNS, forms, strict=True)
        ]
        for row in rows
    ]


def printed(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the rows as a terminal shows them, a cell for each of `PRINTED`."""
    found = []
    for row, cell in zip(rows, cells(rows), strict=True):
        said = dict(zip(COLUMNS, cell, strict=True))
        near = f"{said['accuracy']} ± {said['standard error']}" if row["accuracy"] else ""
        said["accuracy"] = near
        found.append([said[name] for name in PRINTED])
    return found


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table, unrounded."""
    sink = io.StringIO()
    writer = csv.DictWriter(sink, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue()


def write(
    study: StudyFolder,
    verb: str,
    variants: Sequence[Variant],
    result: SweepResult,
    index: RecordIndex,
) -> Written:
    """Write all files but the figure. verb: which command asked; index: the records that the sweep
    has seen."""
    rows, choice = rows_of(result), result.choice
    name, changes = choice.point.name, {variant.name: variant.said for variant in variants}
    config = result.configs[name]
    [variant] = [variant for variant in variants if variant.name == name]
    chosen = variant.chosen(config)
    seen = Choice.of(config, chosen, None if config.sweep.on == "public" else index)
    data = {
        "machine": describe(),
        "subject": {"data": str(config.data.source), "backbone": config.backbone.name},
        "records": asdict(result.records),
        "asked": {"unit": result.question.unit.words, "budget": result.question.budget},
        "values": [
            {
                **row,
                "fields": changes[row["value"]],
                "at_most": at_most(result, row["value"]),
                "exact": exact(result, row["value"]),
            }
            for row in rows
        ],
        "failed": dict(result.failed),
        "untried": dict(result.untried),
        "sharing": asdict(result.sharing),
        "recommended": {
            "value": name,
            "fields": changes[name],
            "reason": choice.reason,
            "fits": choice.fits,
        },
    }
    table = f"{to_markdown(rows)}\n\n{choice.reason}\n\n{result.sharing.sentence()}\n"
    record = study.write("choice.json", seen.to_bytes())
    files = (
        study.write(f"{verb}.json", json.dumps(data, indent=1).encode()),
        study.write(f"{verb}.csv", to_csv(rows).encode()),
        study.write(f"{verb}.md", table.encode()),
        record,
        study.write("best.yaml", best_yaml(study.root, verb, config, record, choice).encode()),
    )
    return Written(result, rows, files)


def best_yaml(root: Path, verb: str, config: Config, record: Path, choice: Recommendation) -> str:
    """Return the configuration to train with, as YAML that opens with the command to use it."""
    section = config.sweep.model_copy(update={"record": record.resolve()})
    why = textwrap.wrap(f"Chosen by `lmeraser {verb}` on {config.sweep.on}. {choice.reason}", 130)
    head = [f"lmeraser train --config {root / 'best.yaml'} --workspace WORKSPACE", "", *why]
    return (
        "\n".join(f"# {line}".rstrip() for line in head)
        + "\n"
        + to_yaml(config.model_copy(update={"sweep": section}))
    )
