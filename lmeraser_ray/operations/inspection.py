"""`inspect`: what a training would read at a path, and what it would refuse. No backbone, no
workspace, nothing written but what is asked for.

Place in the flow: before a first training, over the same stream of records (`data/sources`).
Memory holds counts, 16 bytes a picture, and the few pictures of the sheet.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from PIL import Image, ImageDraw

from lmeraser_ray.config import Config
from lmeraser_ray.config.options import load_config
from lmeraser_ray.data.ids import read_ids
from lmeraser_ray.data.pictures import decode_picture
from lmeraser_ray.data.record import Record
from lmeraser_ray.data.sources.declared_classes import declared_classes
from lmeraser_ray.data.sources.faults import Faults
from lmeraser_ray.data.sources.layout import source_of
from lmeraser_ray.data.sources.read_source import survey
from lmeraser_ray.errors import DataError
from lmeraser_ray.storage.digests import digest
from lmeraser_ray.storage.whole_file import whole_file, write_whole

SAMPLES, CLASSES, THUMB, NAME = 8, 40, 96, 160
"""Pictures of a class on a sheet, classes on it, pixels of a picture, and of a class's name."""
EXAMPLES = 20
"""Pairs of records with equal pictures that are named."""


@dataclass(slots=True)
class Inspection:
    """What a source holds. classes: training and test records of each class, of those that can be
    used; empty: classes that are declared and have no usable training record; people: subjects;
    size: bytes of all pictures; sizes: of the pictures, [width, height], with how many have each;
    equal: records whose picture another one has too, and examples of both ids; samples: some
    pictures of each class; named: gets each record."""

    config: Config
    records: int = 0
    test_records: int = 0
    size: int = 0
    classes: dict[str, list[int]] = field(default_factory=dict)
    empty: tuple[str, ...] = ()
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    faults: Faults = field(default_factory=Faults)
    equal: int = 0
    equal_examples: list[tuple[str, str]] = field(default_factory=list)
    samples: dict[str, list[bytes]] = field(default_factory=dict)
    named: Callable[[Record], None] | None = None
    _people: set[bytes] = field(default_factory=set)
    _seen: dict[bytes, str] = field(default_factory=dict)

    @property
    def people(self) -> int:
        """How many subjects there are."""
        return len(self._people)

    @property
    def refused(self) -> bool:
        """Whether a training with this configuration would stop at what was found."""
        return self.faults.refused(self.config.data.on_error)

    def add(self, record: Record) -> None:
        """Count a record."""
        if self.named:
            self.named(record)
        self.records += 1
        self.test_records += record.test
        self.size += len(record.image)
        self.classes.setdefault(record.label, [0, 0])[record.test] += 1
        self._people.add(digest("person", record.subject_id.encode())[:16])
        pixels = decode_picture(
            record.image, max_pixels=self.config.data.max_pixels, window=self.config.data.window
        ).size
        self.sizes[pixels] += 1
        first = self._seen.setdefault(digest("picture", record.image)[:16], record.record_id)
        if first != record.record_id:
            self.equal += 1
            if len(self.equal_examples) < EXAMPLES:
                self.equal_examples.append((first, record.record_id))
        shown = self.samples.setdefault(record.label, [])
        if len(shown) < SAMPLES and len(self.samples) <= CLASSES:
            shown.append(record.image)


def inspected(path: Path, overrides: tuple[tuple[str, str], ...] = ()) -> Config:
    """The configuration by which what lies at a path is read: the source is found by looking.
    Errors: `ConfigError`, `DataError`."""
    if not path.exists():
        raise DataError(f"{path}: does not exist: give a folder of pictures or Parquet files.")
    given = dict(overrides)
    where = [("data.source", source_of(path)), ("data.path", str(path))]
    return load_config(None, [pair for pair in where if pair[0] not in given] + [*overrides])


def inspection(config: Config, named: Callable[[Record], None] | None = None) -> Inspection:
    """Read the whole source and report on it. named: gets each record that can be used. Errors:
    `ConfigError`."""
    found = Inspection(config, named=named)
    excluded = read_ids(config.data.exclude, "data.exclude")
    for record in survey(
        config.data, seed=config.seed, skip=excluded.__contains__, faults=found.faults
    ):
        found.add(record)
    trained = {label for label, (training, _) in found.classes.items() if training}
    every = {*declared_classes(config.data), *found.classes}
    found.empty = tuple(sorted(every - trained))
    found.classes = dict(sorted(found.classes.items()))
    return found


def starting_configuration(found: Inspection, command: str) -> str:
    """A YAML file that `train --config` takes: where the records are and how they are read; all
    else is left to the defaults."""
    given = found.config.data.model_dump(mode="json", exclude_defaults=True)
    if found.config.data.path is not None:
        given["path"] = str(found.config.data.path.absolute())
    given["buckets"] = max(found.config.data.buckets, found.records // 4_000)
    head = (
        f"# {command}\n#\n# {found.records:,} records in {len(found.classes):,} classes of "
        f"{found.people:,} people. What is not here has its default.\n"
    )
    return head + str(yaml.safe_dump({"data": given}, sort_keys=False, allow_unicode=True))


def write_sheet(found: Inspection, file: Path) -> None:
    """Write a PNG file with some pictures of each class, a row a class, in the order of their
    names. Errors: `ExecutionError` where it cannot be written."""
    rows = sorted(found.samples.items())[:CLASSES]
    size = (NAME + SAMPLES * THUMB, max(1, len(rows)) * THUMB)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for at, (label, images) in enumerate(rows):
        training, test = found.classes[label]
        draw.text((4, at * THUMB + 30), f"{label[:24]}\n{training:,} + {test:,} test", "black")
        for column, image in enumerate(images):
            picture = decode_picture(
                image, max_pixels=found.config.data.max_pixels, window=found.config.data.window
            )
            picture.thumbnail((THUMB - 4, THUMB - 4))
            sheet.paste(picture, (NAME + column * THUMB, at * THUMB))
    sink = io.BytesIO()
    sheet.save(sink, "PNG")
    write_whole(file, sink.getvalue())


@contextmanager
def list_of_ids(file: Path | None) -> Iterator[Callable[[Record], None] | None]:
    """A CSV file of each record's id, subject, label and side, where one is asked for. Errors:
    `ExecutionError` where it cannot be written."""
    if file is None:
        yield None
        return
    with whole_file(file) as sink:
        text = io.TextIOWrapper(sink, "utf-8", newline="")
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["record_id", "subject_id", "label", "side"])

        def named(record: Record) -> None:
            side = "test" if record.test else "train"
            rows.writerow([record.record_id, record.subject_id, record.label, side])

        yield named
        text.detach()  # flushed; `whole_file` has yet to give it its name
