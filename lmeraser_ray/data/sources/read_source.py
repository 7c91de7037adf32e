"""The configured source as a stream of checked records.

    entries of a source → ids, subjects, sides → pictures read and checked, some ahead → records

Place in the flow: first, called by `ingest`. Invariants: ids are unique; every yielded picture
decodes; its bytes are unchanged; the order is the source's own. Memory holds at most `WINDOW`
pictures. Of a record that `skip` names only the id and the label are read, so that the picture of
an erased record may be damaged.
"""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from lmeraser_ray.config.data import TORCHVISION, DataConfig
from lmeraser_ray.data.duplicates import DuplicateFinder
from lmeraser_ray.data.ids import clean_name
from lmeraser_ray.data.pictures import check_picture
from lmeraser_ray.data.record import Record
from lmeraser_ray.data.sources.digits import digit_entries
from lmeraser_ray.data.sources.entry import SourceEntry, place
from lmeraser_ray.data.sources.folder import folder_entries
from lmeraser_ray.data.sources.parquet import parquet_entries, parquet_files
from lmeraser_ray.data.sources.torchvision import torchvision_entries
from lmeraser_ray.data.subjects import SubjectResolver, is_test_subject, subject_resolver
from lmeraser_ray.errors import ConfigError, DataError, PictureError

TEST_PREFIX = "test/"
"""Before the ids of the records of `data.test_path` and of torchvision's test splits, whose
training records have `train/`."""
WINDOW = 32
"""Pictures that are read ahead and checked at a time."""
WORKERS = 4
"""Threads that check pictures at most; Pillow decodes outside of the interpreter's lock."""


def read_source(config: DataConfig, *, seed: int, skip: Callable[[str], bool]) -> Iterator[Record]:
    """The records of the configured source. Test records are those of the source's own test split
    or of `data.test_path`, else of the subjects that a keyed hash under `seed` holds out.

    skip(record_id): true leaves a record out, its picture unread; its label still counts as a
    class. Errors: `ConfigError` at once; `DataError` or `PictureError` that names the file or row
    when the stream arrives there; too few classes at the end.
    """
    _check_disjoint(config)
    return _checked(
        _Plan(config=config, seed=seed, skip=skip, resolve=subject_resolver(config)).run(),
        config.max_pixels,
    )


@dataclass(frozen=True, slots=True)
class _Planned:
    """A record in all but its picture."""

    record_id: str
    subject_id: str
    test: bool
    entry: SourceEntry


@dataclass(frozen=True, slots=True)
class _Side:
    """Entries of one origin. `prefix` goes before their names; `test` is None where the split is by
    keyed hash."""

    entries: Iterator[SourceEntry]
    prefix: str
    test: bool | None
    where: str


@dataclass(slots=True)
class _Plan:
    """One pass over the entries of both sides: ids, subjects and sides settled, pictures unread."""

    config: DataConfig
    seed: int
    skip: Callable[[str], bool]
    resolve: SubjectResolver
    ids: DuplicateFinder = field(default_factory=DuplicateFinder)
    sides: dict[str, bool] = field(default_factory=dict)

    def run(self) -> Iterator[_Planned]:
        for side in _sides(self.config):
            labels: set[str] = set()
            for entry in side.entries:
                labels.add(entry.label)
                record_id = self._new_id(side.prefix + entry.name, entry.where)
                if not self.skip(record_id):
                    yield self._planned(record_id, entry, side)
            _check_classes(labels, side.where, training=not side.test)
        refuse_twice(self.ids.settle())

    def _new_id(self, record_id: str, where: str) -> str:
        record_id = clean_name(record_id, what="record id", where=where)
        refuse_twice(self.ids.add(record_id, where))
        return record_id

    def _planned(self, record_id: str, entry: SourceEntry, side: _Side) -> _Planned:
        subject = self.resolve(record_id, entry.where) if entry.subject is None else entry.subject
        if side.test is None:
            return _Planned(
                record_id,
                subject,
                is_test_subject(self.seed, subject, self.config.test_fraction),
                entry,
            )
        if self.sides.setdefault(subject, side.test) != side.test:
            both = (
                "data.path and in data.test_path"
                if self.config.test_path
                else "the training and in the test split"
            )
            raise DataError(
                f"{entry.where}: the subject {subject!r} has records in {both}: keep a person on "
                "one side."
            )
        return _Planned(record_id, subject, side.test, entry)


def refuse_twice(found: tuple[str, str] | None) -> None:
    """Errors: `DataError` where an id came twice."""
    if found:
        raise DataError(
            f"{found[1]}: the record id {found[0]!r} is there twice: rename one, or drop it."
        )


def _sides(config: DataConfig) -> Iterator[_Side]:
    """The sides of the source, the training side first. Nothing is read before the first entry of
    a side is taken."""
    if config.path is None:
        yield _Side(digit_entries(), "", None, "digits")
    elif config.source in TORCHVISION:
        for split, test in (("train", False), ("test", True)):
            yield _Side(
                torchvision_entries(config, test=test),
                f"{split}/",
                test,
                f"{place(config.path)} ({config.source}, {split})",
            )
    else:
        yield _Side(
            _entries(config, config.path),
            "",
            None if config.test_path is None else False,
            place(config.path),
        )
        if config.test_path is not None:
            yield _Side(
                _entries(config, config.test_path), TEST_PREFIX, True, place(config.test_path)
            )


def _entries(config: DataConfig, path: Path) -> Iterator[SourceEntry]:
    if config.source == "folder":
        return folder_entries(path, flatten=config.flatten)
    return parquet_entries(path, config=config)


def _check_classes(labels: set[str], where: str, *, training: bool) -> None:
    if not labels:
        raise DataError(f"{where}: no records at all: correct the path, or fill it.")
    if training and len(labels) == 1:
        raise DataError(
            f"{where}: all records have the label {next(iter(labels))!r}, expected two classes at "
            "least: add another class."
        )


def _check_disjoint(config: DataConfig) -> None:
    """Errors: `ConfigError` where a file is on both sides: it would be trained on and tested
    with."""
    if config.path is None or config.test_path is None:
        return
    path, test_path = config.path.resolve(), config.test_path.resolve()
    shared = path.is_relative_to(test_path) or test_path.is_relative_to(path)
    # One folder within the other is no overlap for Parquet: files are not searched for in depth.
    if shared and config.source == "parquet":
        shared = not {f.resolve() for f in parquet_files(path)}.isdisjoint(
            f.resolve() for f in parquet_files(test_path)
        )
    if shared:
        raise ConfigError(
            f"data.path {config.path} and data.test_path {config.test_path} overlap: give each "
            "its own files."
        )


def _checked(planned: Iterator[_Planned], max_pixels: int) -> Iterator[Record]:
    """The planned records with their pictures, read and checked some ahead on a few threads, in
    order."""
    with ThreadPoolExecutor(
        min(WORKERS, os.cpu_count() or 1), thread_name_prefix="pictures"
    ) as pool:
        ahead = deque(
            pool.submit(_record, one, max_pixels) for one in itertools.islice(planned, WINDOW)
        )
        try:
            while ahead:
                yield ahead.popleft().result()
                ahead.extend(
                    pool.submit(_record, one, max_pixels) for one in itertools.islice(planned, 1)
                )
        finally:
            _cancel(ahead)


def _cancel(ahead: "deque[Future[Record]]") -> None:
    """Drop what is not begun, after an error or where the caller stops early."""
    for future in ahead:
        future.cancel()


def _record(planned: _Planned, max_pixels: int) -> Record:
    image = planned.entry.read()
    try:
        check_picture(image, max_pixels=max_pixels)
    except PictureError as error:
        raise PictureError(f"{planned.entry.where}: {error}") from error
    return Record(planned.record_id, planned.subject_id, planned.entry.label, planned.test, image)
