"""An evaluation as text, as JSON and as tables in files."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from math import isnan
from pathlib import Path
from typing import Any

from lmeraser_ray.cli.table import WIDTH, table
from lmeraser_ray.cli.verb import counted, share
from lmeraser_ray.operations.evaluate import Evaluation
from lmeraser_ray.operations.quality import Estimate, Quality
from lmeraser_ray.storage.whole_file import write_whole

CONFUSED, CLASSES = 5, 20
"""Pairs that the summary names, and rows or columns of a table on a terminal."""
NUMBERS = ("log loss", "calibration error")
"""Measures that are no shares."""


def text_of(done: Evaluation) -> str:
    """Return the summary: the accuracies, every measure, and what is confused most."""
    found = done.quality
    of_training = (
        f"{share(done.train.accuracy)} on the {done.train.records:,} training records that remain"
    )
    head = f"test accuracy {share(done.test.accuracy)} on {done.test.records:,} records"
    if found is None:
        return f"{head}, {of_training}"
    rows = [
        [name, shown(name, one.value), " to ".join(shown(name, end) for end in one[1:])]
        for name, one in found.measures.items()
    ]
    pairs = ", ".join(f"{a} taken for {b} {n:,}x" for a, b, n in found.confused(CONFUSED))
    people = f" of {counted(found.people, 'person')}" if found.people < found.records else ""
    return (
        f"{head}{people}, {of_training}\n\n{table(['on test records', '', '95% interval'], rows)}"
        f"\n\nconfused most: {pairs or 'nothing'}"
    ).replace(" persons", " people")


def shown(name: str, value: float) -> str:
    """Return a measure as text."""
    if isnan(value):
        return "n/a"
    return f"{value:.4f}" if name in NUMBERS else share(value)


def table_by(what: str, done: Evaluation) -> str:
    """Return a table by `class` or `shard`, or of `confusion`."""
    if what == "shard":
        rows = [
            [str(k), f"{size:,}", f"{queries:,}", share(accuracy)]
            for k, size, accuracy, queries in by_shard(done)
        ]
        return table(["shard", "size", "test queries", "accuracy"], rows)
    if done.quality is None:
        return "no test records"
    if what == "class":
        return table(CLASS_COLUMNS, ([text(cell) for cell in row] for row in by_class(done)))
    return confusions(done.quality)


def confusions(found: Quality) -> str:
    """Return the confusion matrix or, of many classes, the pairs that are confused most."""
    if len(found.classes) <= CLASSES:
        drawn = table(*matrix(found))
        if max(map(len, drawn.splitlines())) <= WIDTH:
            return drawn
    pairs = [[a, b, f"{n:,}"] for a, b, n in found.confused(CLASSES)]
    more = "the whole matrix is written with --output DIR"
    return f"{table(['true class', 'predicted', 'records'], pairs, left=2)}\n{more}"


def matrix(found: Quality) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of the confusion matrix."""
    rows = zip(found.classes, found.confusion.tolist(), strict=True)
    return ["true \\ predicted", *found.classes], [[name, *map(str, row)] for name, row in rows]


CLASS_COLUMNS = ("class", "records", "recall", "low", "high", "predicted", "precision", "F1")


def by_class(done: Evaluation) -> Iterable[Sequence[Any]]:
    """Yield the cells of each class."""
    for one in done.quality.by_class if done.quality else ():
        recall = one.recall or (None, None, None)
        yield one.name, one.records, *recall, one.predicted, one.precision, one.f1


def by_shard(done: Evaluation) -> list[tuple[int, int, float | None, int]]:
    """Return the place, size, accuracy and number of test queries of each shard that answers."""
    return [
        (k, size, *done.test.by_shard.get(k, (None, 0))) for k, size in enumerate(done.shard_sizes)
    ]


def text(cell: object) -> str:
    """Return a cell for a terminal: shares with their unit, numbers with their commas."""
    match cell:
        case float() | None:
            return share(cell)
        case int():
            return f"{cell:,}"
        case _:
            return str(cell)


def data_of(done: Evaluation) -> dict[str, Any]:
    """Return an evaluation as JSON; what is no number is null."""
    found = done.quality
    return {
        "accuracy": {"test": done.test.accuracy, "train": done.train.accuracy},
        "records": {"test": done.test.records, "train": done.train.records},
        "people": found.people if found else 0,
        "measures": {name: estimate(one) for name, one in found.measures.items()} if found else {},
        "per_class": done.test.by_class,
        "classes": [dict(zip(CLASS_COLUMNS, row, strict=True)) for row in by_class(done)],
        "confusion": {
            "classes": found.classes if found else [],
            "counts": found.confusion.tolist() if found else [],
        },
        "calibration": [vars(one) for one in found.bins] if found else [],
        "per_shard": [
            {"shard": k, "size": size, "queries": queries, "accuracy": accuracy}
            for k, size, accuracy, queries in by_shard(done)
        ],
        "quarantined": list(done.quarantined),
        "fingerprint": done.fingerprint,
    }


def estimate(one: Estimate) -> dict[str, float | None]:
    """Return an estimate as JSON."""
    return {name: None if isnan(value) else value for name, value in one._asdict().items()}


def write_tables(done: Evaluation, folder: Path) -> list[Path]:
    """Write the evaluation as JSON, and its tables as CSV. Returns the files."""
    tables: dict[str, list[Sequence[Any]]] = {
        "classes.csv": [CLASS_COLUMNS, *by_class(done)],
        "shards.csv": [("shard", "size", "accuracy", "test queries"), *by_shard(done)],
    }
    if done.quality:
        head, rows = matrix(done.quality)
        tables["confusion.csv"] = [head, *rows]
    if done.worst:
        tables["worst_errors.csv"] = [
            ("record", "true class", "predicted", "probability"),
            *((one.record, one.truth, one.said, one.probability) for one in done.worst),
        ]
    texts = {"evaluation.json": json.dumps(data_of(done), indent=1)}
    for name, lines in tables.items():
        sink = io.StringIO()
        csv.writer(sink, lineterminator="\n").writerows(lines)
        texts[name] = sink.getvalue()
    for name, content in texts.items():
        write_whole(folder / name, content.encode())
    return [folder / name for name in texts]
