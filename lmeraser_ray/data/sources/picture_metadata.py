"""The file of metadata in a folder of pictures: `metadata.csv` or `metadata.jsonl`, one line a
picture, as data hubs have them.

    file_name,label          {"file_name": "0001.jpg", "label": "cat"}
    0001.jpg,cat

Place in the flow: before the entries of a folder. Invariants: a line names a picture below the
folder of its file and nothing else; a picture has one line.
"""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

from lmeraser_ray.data.ids import clean_name
from lmeraser_ray.data.sources.entry import place
from lmeraser_ray.data.sources.layout import METADATA
from lmeraser_ray.errors import DataError
from lmeraser_ray.storage.foreign_json import read_bounded

FILE_NAME = "file_name"
METADATA_BYTES = 1 << 30
Line = dict[str, object]
Lines = dict[str, Line]
"""The lines by the path of their picture below the folder of the file."""


def picture_metadata(folder: Path) -> Lines | None:
    """The metadata of a folder; None where it has no such file. Errors: `DataError` that names the
    file and the line."""
    files = [folder / name for name in METADATA if (folder / name).is_file()]
    if not files:
        return None
    if len(files) > 1:
        raise DataError(f"{place(folder)}: both {' and '.join(METADATA)} are there: keep one.")
    lines: Lines = {}
    for number, line in _lines(files[0]):
        where = f"{place(files[0])}, line {number}"
        if FILE_NAME not in line:
            raise DataError(f"{where}: no {FILE_NAME!r}, which names the picture: add it.")
        name = clean_name(line[FILE_NAME], what=FILE_NAME, where=where).removeprefix("./")
        if name in lines:
            raise DataError(f"{where}: {name!r} is there twice: keep one line.")
        lines[name] = line
    return lines


def _lines(file: Path) -> Iterator[tuple[int, Line]]:
    """The lines of a file with their numbers."""
    try:
        text = read_bounded(file, METADATA_BYTES).decode("utf-8-sig")
        if file.suffix == ".csv":
            rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
            for row in rows:
                _require(None not in row and None not in row.values(), rows.line_num, "whole")
                yield rows.line_num, {str(name): value for name, value in row.items()}
            return
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                found = json.loads(line)
                _require(isinstance(found, dict), number, "a JSON object")
                yield number, found
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise DataError(
            f"{place(file)}: the metadata cannot be read ({' '.join(str(error).split())[:200]}): "
            "correct the file."
        ) from error


def _require(right: bool, number: int, what: str) -> None:
    if not right:
        raise ValueError(f"line {number} is not {what}")
