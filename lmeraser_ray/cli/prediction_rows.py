"""Predictions as rows that are written as they come: text, CSV, JSON lines, Parquet.

Invariants: a row for each picture that was asked, in its order, with the reason where a picture
could not be used; the columns are settled by the first chunk, and do not depend on what was asked;
memory holds one chunk.
"""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from lmeraser_ray.data.sources.entry import place
from lmeraser_ray.errors import DataError
from lmeraser_ray.operations.predict import Predicting, Unreadable
from lmeraser_ray.storage.whole_file import whole_file

SHOWN = 3
"""Classes on a line of text, unless somebody asks for more."""
Entry = dict[str, Any]
Sink = Callable[[Predicting], None]


def entries_of(done: Predicting, top_k: int | None) -> Iterator[Entry]:
    """Yield the entries of a chunk in the order of its pictures: the label, the probabilities of
    all classes in their order or, with `top_k`, of the most probable ones, and the shards that
    answered; of what could not be used, the reason."""
    found, left = done.predictions, {one.at: one for one in done.unreadable}
    best, row = done.top(top_k or 1), 0
    for number in range(done.start, done.start + len(done.names) + len(left)):
        if number in left:
            yield unread(left[number])
            continue
        label, probability = best[row][0]
        every = zip(found.classes, found.probabilities[row].tolist(), strict=True)
        yield {
            "image": done.names[row],
            "label": label,
            "probability": probability,
            "probabilities": {name: round(p, 6) for name, p in (best[row] if top_k else every)},
            "shards": shards_of(done, row),
            "error": None,
        }
        row += 1


def unread(one: Unreadable) -> Entry:
    """Return the entry of a picture that could not be used."""
    nothing = dict.fromkeys(("label", "probability"))
    return {"image": one.name, **nothing, "probabilities": {}, "shards": [], "error": one.reason}


def shards_of(done: Predicting, row: int) -> list[Entry]:
    """Return the shards that answered a picture, with their weights."""
    routes = done.predictions.routes
    return [
        {
            "shard": int(k),
            "key": done.manifest.shards[k].constituent.key,
            "weight": round(float(weight), 6),
        }
        for k, weight in zip(routes.shards[row], routes.weights[row], strict=True)
        if weight > 0
    ]


def text_line(entry: Entry) -> str:
    """Return an entry as a line for people."""
    if entry["error"]:
        return place(f"{entry['image']}: not predicted: {entry['error']}")
    probabilities = ", ".join(f"{name} {p:.3f}" for name, p in entry["probabilities"].items())
    shards = ", ".join(str(part["shard"]) for part in entry["shards"])
    return place(f"{entry['image']}: {entry['label']} ({probabilities}) answered by shard {shards}")


@dataclass
class RowColumns:
    """The columns of a table of predictions. top_k: None for a column a class, else the pairs
    `label_1`, `probability_1`, …"""

    top_k: int | None
    classes: tuple[str, ...] = field(default=())

    @property
    def names(self) -> list[str]:
        """The names of all columns."""
        middle = (
            [f"{what}_{at}" for at in range(1, self.top_k + 1) for what in ("label", "probability")]
            if self.top_k
            else ["label", "probability", *(f"probability:{name}" for name in self.classes)]
        )
        return ["image", *middle, "shards", "error"]

    def cells(self, entry: Entry) -> Entry:
        """Return an entry's cells by column. Errors: `DataError` where it has a class that the
        first had not: the workspace was trained meanwhile."""
        found = entry["probabilities"]
        same = {"image": entry["image"], "error": entry["error"]}
        same["shards"] = " ".join(str(part["shard"]) for part in entry["shards"]) or None
        if self.top_k:
            best = [*found.items(), *[(None, None)] * self.top_k][: self.top_k]
            for at, (name, p) in enumerate(best, 1):
                same |= {f"label_{at}": name, f"probability_{at}": p}
            return same
        if not found.keys() <= set(self.classes):
            raise DataError(
                "The workspace was trained on new classes while it was asked: run the command "
                "again."
            )
        each = {f"probability:{name}": found.get(name, 0.0) for name in self.classes}
        nothing = dict.fromkeys(each) if entry["error"] else each
        return same | {"label": entry["label"], "probability": entry["probability"]} | nothing


@contextmanager
def opened(form: str, output: Path | None, top_k: int | None, last: list[str]) -> Iterator[Sink]:
    """Open what takes chunks: a file, which is there whole or not at all, or stdout, whose last
    line is left in `last`: the report ends with it."""
    columns = RowColumns(top_k)
    if output is None:
        yield to_stdout(lines_of(form, columns), last)
        return
    with whole_file(output) as file:
        if form == "parquet":
            with closing_table(file, columns) as sink:
                yield sink
        else:
            lines = lines_of(form, columns)
            yield lambda done: file.writelines(f"{line}\n".encode() for line in lines(done))


def to_stdout(lines: Callable[[Predicting], Iterator[str]], last: list[str]) -> Sink:
    """Write lines to stdout as they come, but for the last one."""

    def write(done: Predicting) -> None:
        last.extend(lines(done))
        sys.stdout.writelines(f"{line}\n" for line in last[:-1])
        del last[:-1]

    return write


@contextmanager
def in_memory(top_k: int | None, kept: list[Entry], texts: list[str]) -> Iterator[Sink]:
    """Keep all entries, and their lines for people: one JSON object holds them all."""

    def keep(done: Predicting) -> None:
        kept.extend(entries_of(done, top_k))
        texts.extend(map(text_line, entries_of(done, top_k or SHOWN)))

    yield keep


def lines_of(form: str, columns: RowColumns) -> Callable[[Predicting], Iterator[str]]:
    """Return what makes lines of a chunk, the first of CSV with the names of the columns."""

    def rows(done: Predicting) -> Iterator[str]:
        if not columns.classes:
            columns.classes = done.predictions.classes
            yield csv_line(columns.names)
        for entry in entries_of(done, columns.top_k):
            cells = columns.cells(entry)
            yield csv_line([cells[name] for name in columns.names])

    shown = columns.top_k or (SHOWN if form == "text" else None)

    def each(line: Callable[[Entry], str]) -> Callable[[Predicting], Iterator[str]]:
        return lambda done: map(line, entries_of(done, shown))

    match form:
        case "csv":
            return rows
        case "jsonl":
            return each(lambda entry: json.dumps(entry, ensure_ascii=False))
        case _:
            return each(text_line)


def csv_line(cells: list[Any]) -> str:
    """Return cells as one line of CSV."""
    sink = io.StringIO()
    csv.writer(sink, lineterminator="").writerow(cells)
    return sink.getvalue()


@contextmanager
def closing_table(file: BinaryIO, columns: RowColumns) -> Iterator[Sink]:
    """Write entries as row groups of a Parquet file, one a chunk."""
    writer: Any = None

    def write(done: Predicting) -> None:
        nonlocal writer
        columns.classes = columns.classes or done.predictions.classes
        schema = pa.schema(
            (name, pa.float64() if name.startswith("probability") else pa.string())
            for name in columns.names
        )
        writer = writer or pq.ParquetWriter(file, schema)
        rows = [columns.cells(entry) for entry in entries_of(done, columns.top_k)]
        writer.write_table(pa.Table.from_pylist(rows, schema=schema))

    yield write
    if writer is not None:
        writer.close()
