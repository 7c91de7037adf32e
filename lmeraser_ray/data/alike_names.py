"""What a training says of names that differ by Unicode normalisation only.

    class folders as written, classes and subjects of the index → sentences for a person to read

Place in the flow: after ingest. Invariant: classes are named, subjects are not; they are counted.
"""

import os
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from lmeraser_ray.config import Config
from lmeraser_ray.data.ids import composed
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.lookalikes import difference, look, lookalikes

ALIKE = "differ by Unicode normalisation only"


def alike_sentences(config: Config, index: RecordIndex) -> tuple[str, ...]:
    """Return a sentence for each group of classes with names that look alike, and one for the
    subjects."""
    found = []
    folder = config.data.path if config.data.source == "folder" else None
    for names in lookalikes(written_in(folder) if folder else ()):
        if len({composed(name) for name in names}) == 1:
            found.append(f"the class folders {listed(names)} {ALIKE}: they are one class.")
    for names in lookalikes({name for part in index.columns for name in part.classes}):
        found.append(f"the classes {listed(names)} {ALIKE}: rename one if they are meant as one.")
    apart = beyond_ascii(index, "subject_id")
    plain = index.held("subject_id", {look(name) for name in apart})
    if people := lookalikes({*apart, *index.names("subject_id", np.flatnonzero(plain))}):
        found.append(
            f"{sum(map(len, people)):,} subjects have names that {ALIKE} (first in "
            f"{difference(*people[0][:2])}): each is found by its own spelling only."
        )
    return tuple(found)


def beyond_ascii(index: RecordIndex, column: str) -> set[str]:
    """Return the record ids or subject ids that are not ASCII: no two that are look alike."""
    found: set[str] = set()
    for part in index.columns:
        texts = part.texts[column]
        found.update(texts.filter(pc.invert(pc.string_is_ascii(texts))).to_pylist())
    return found


def written_in(folder: Path) -> list[str]:
    """Return the names in a folder of classes as the disk has them."""
    return os.listdir(folder) if folder.is_dir() else []


def listed(names: tuple[str, ...]) -> str:
    """Return names so that their difference is seen."""
    return " and ".join(map(ascii, names))
