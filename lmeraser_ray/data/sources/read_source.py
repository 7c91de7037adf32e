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
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TypeVar

from lmeraser_ray.config.data import TORCHVISION, DataConfig
from lmeraser_ray.data.duplicates import DuplicateFinder
from lmeraser_ray.data.ids import clean_name
from lmeraser_ray.data.permanent import PermanentSubjects
from lmeraser_ray.data.pictures import check_picture
from lmeraser_ray.data.record import Record
from lmeraser_ray.data.sources.digits import digit_entries
from lmeraser_ray.data.sources.entry import SourceEntry, place
from lmeraser_ray.data.sources.faults import Fault, Faults, OnError
from lmeraser_ray.data.sources.folder import folder_entries
from lmeraser_ray.data.sources.layout import TRAIN, SplitPart, folder_parts, parquet_parts
from lmeraser_ray.data.sources.memory import WHERE, HeldRecords, memory_entries
from lmeraser_ray.data.sources.parquet import parquet_entries, row_names
from lmeraser_ray.data.sources.rows import RowNames
from lmeraser_ray.data.sources.torchvision import torchvision_entries
from lmeraser_ray.data.subjects import SubjectResolver, is_test_subject, subject_resolver
from lmeraser_ray.errors import ConfigError, DataError, PictureError

T = TypeVar("T")
WINDOW = 32
"""Pictures that are read ahead and checked at a time."""
WORKERS = 4
"""Threads that check pictures at most; Pillow decodes outside of the interpreter's lock."""


def read_source(
    config: DataConfig,
    *,
    seed: int,
    skip: Callable[[str], bool],
    faults: Faults | None = None,
    emptied: bool = False,
    held: HeldRecords | None = None,
) -> Iterator[Record]:
    """The records of the configured source. Test records are those of the source's own test split
    or of `data.test_path`, else of the subjects that a keyed hash under `seed` holds out.

    skip(record_id): true leaves a record out, its picture unread. faults: gets what cannot be used
    and what was remarked. emptied: a side without records is no mistake, since records were erased.
    held: what the source `memory` reads.
    One class is as good as many: the law obliges people to remove records, and whatever is left can
    be trained. Errors: `ConfigError` at once; when the whole stream was looked at, `DataError` or
    `PictureError` that names each file or row that cannot be used, unless `data.on_error` leaves it
    out. From the first of these on no further record comes.
    """
    faults = Faults() if faults is None else faults
    usable = survey(config, seed=seed, skip=skip, faults=faults, emptied=emptied, held=held)
    return _unless_refused(usable, faults, config.on_error)


def survey(
    config: DataConfig,
    *,
    seed: int,
    skip: Callable[[str], bool],
    faults: Faults,
    emptied: bool = False,
    held: HeldRecords | None = None,
) -> Iterator[Record]:
    """The records that can be used, whatever else there is; that goes into `faults`. Errors:
    `ConfigError`."""
    check_disjoint(config)
    planned = SourcePlan(config, seed, skip, subject_resolver(config), emptied, held).run()
    return _gathered(_checked(planned, config), faults)


def _gathered(
    found: "Iterator[tuple[Record, tuple[str, ...]] | Fault]", faults: Faults
) -> Iterator[Record]:
    for one in found:
        if isinstance(one, Fault):
            faults.add(one)
        else:
            faults.remarks.update(one[1])
            yield one[0]


def _unless_refused(
    usable: Iterator[Record], faults: Faults, on_error: OnError
) -> Iterator[Record]:
    with closing(usable):  # type: ignore[type-var]
        for record in usable:
            if not faults.refused(on_error):
                yield record
    faults.raise_refused(on_error)


@dataclass(frozen=True, slots=True)
class _Planned:
    """A record in all but its picture."""

    record_id: str
    subject_id: str
    test: bool
    permanent: bool
    entry: SourceEntry


@dataclass(frozen=True, slots=True)
class Side:
    """Entries of one origin. `prefix` goes before their names; `test` is None where the split is by
    keyed hash."""

    entries: Iterator[SourceEntry | Fault]
    prefix: str
    test: bool | None
    where: str


@dataclass(slots=True)
class SourcePlan:
    """One pass over the entries of both sides: ids, subjects and sides settled, pictures unread."""

    config: DataConfig
    seed: int
    skip: Callable[[str], bool]
    resolve: SubjectResolver
    emptied: bool = False
    held: HeldRecords | None = None
    ids: DuplicateFinder = field(default_factory=DuplicateFinder)
    sides: dict[str, bool] = field(default_factory=dict)
    permanent: PermanentSubjects = field(init=False)

    def __post_init__(self) -> None:
        self.permanent = PermanentSubjects.of(self.config)

    def run(self) -> Iterator[_Planned | Fault]:
        """Each record that is not skipped, in order, and each thing that cannot be one."""
        for side in _caught(sides(self.config, self.held)):
            if isinstance(side, Fault):
                yield side
            else:
                yield from self._side(side)
        yield from faults_of(lambda: self._refuse_twice(self.ids.settle()))

    def _side(self, side: Side) -> Iterator[_Planned | Fault]:
        whole, empty = True, not self.emptied
        one = self.config.source in TORCHVISION  # the files of both splits are one data set
        for entry in side.entries if one else _caught(side.entries):
            if isinstance(entry, Fault):
                whole = whole and entry.alone and self.config.on_error == "skip"
                yield entry
                continue
            empty = False
            try:
                record_id = self._new_id(side.prefix + entry.name, entry.where)
                planned = None if self.skip(record_id) else self._planned(record_id, entry, side)
            except DataError as error:
                yield Fault(error, alone=False)
                continue
            if planned is not None:
                yield planned
        if whole and empty:
            yield from faults_of(lambda: refuse_empty(side.where))

    def _new_id(self, record_id: str, where: str) -> str:
        record_id = clean_name(record_id, what="record id", where=where)
        self._refuse_twice(self.ids.add(record_id, where))
        return record_id

    def _refuse_twice(self, found: tuple[str, str] | None) -> None:
        """Errors: `DataError` where an id came twice."""
        if not found:
            return
        advice = "rename one, or drop it"
        if self.config.source in ("parquet", "memory") and self.config.id_column is None:
            advice += ", or set data.ids content, which makes a row's id of its content"
        raise DataError(f"{found[1]}: the record id {found[0]!r} is there twice: {advice}.")

    def _planned(self, record_id: str, entry: SourceEntry, side: Side) -> _Planned:
        subject = self.resolve(record_id, entry.where) if entry.subject is None else entry.subject
        stays = self.permanent.says(subject, entry.permanent, entry.where)
        if side.test is None:
            test = is_test_subject(self.seed, subject, self.config.test_fraction)
            return _Planned(record_id, subject, test, stays, entry)
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
        return _Planned(record_id, subject, side.test, stays, entry)


def faults_of(check: Callable[[], None]) -> Iterator[Fault]:
    """What a check of several records raises, as a fault."""
    try:
        check()
    except DataError as error:
        yield Fault(error, alone=False)


def _caught(entries: "Iterator[T | Fault]") -> "Iterator[T | Fault]":
    """Entries up to where they cannot be read on, which is a fault."""
    try:
        yield from entries
    except DataError as error:
        yield Fault(error, alone=False)


def sides(config: DataConfig, held: HeldRecords | None = None) -> Iterator[Side]:
    """The sides of the source, the training side first. Nothing is read before the first entry of
    a side is taken. held: of the source `memory`. Errors: `ConfigError` where it is not given."""
    if config.source == "memory":
        yield from _sides_in_memory(config, held)
    elif config.path is None:
        yield Side(digit_entries(), "", None, "digits")
    elif config.source in TORCHVISION:
        for split, test in (("train", False), ("test", True)):
            yield Side(
                torchvision_entries(config, test=test),
                f"{split}/",
                test,
                f"{place(config.path)} ({config.source}, {split})",
            )
    else:
        yield from _sides_by_name(config, config.path)


def _sides_in_memory(config: DataConfig, held: HeldRecords | None) -> Iterator[Side]:
    """The sides of records in memory: those of a split that is held out have its name before their
    ids, as those of files have."""
    if held is None:
        raise ConfigError(
            "data.source memory is what a program gives to Workspace.train(data=…), and here "
            "nothing was given: train from that program, or write the records to Parquet and set "
            "data.source parquet and data.path."
        )
    splits, names = held.splits(), held.names(config)
    for split, places in splits.items():
        test = None if set(splits) <= {"", TRAIN} else split != TRAIN
        entries = memory_entries(held, places, config=config, names=names)
        yield Side(entries, f"{split}/" if test else "", test, f"{WHERE}{split and f' ({split})'}")


def _sides_by_name(config: DataConfig, path: Path) -> Iterator[Side]:
    """The sides of a folder or of Parquet files: what is held out by its name, or by
    `data.test_path`, has the name before its ids."""
    parts_of = folder_parts if config.source == "folder" else parquet_parts
    parts = parts_of(path)
    held_out = len(parts) > 1
    if config.test_path is not None:
        if held_out:
            found = " and ".join(part.split for part in parts)
            raise DataError(
                f"{place(path)}: the splits {found} are there, and data.test_path is given too: "
                "leave it out, or give data.path the folder or file that trains."
            )
        other = [p for part in parts_of(config.test_path) for p in part.paths]
        parts = [*parts, SplitPart("test", tuple(other))]
        held_out = True
    files = [file for part in parts for file in part.paths]
    rows = row_names(files, config) if config.source == "parquet" else None
    for part in parts:
        test = part.split not in ("", TRAIN) if held_out else None
        where = place(config.test_path if test and config.test_path else path)
        yield Side(_entries(config, part, rows), f"{part.split}/" if test else "", test, where)


def _entries(
    config: DataConfig, part: SplitPart, names: RowNames | None
) -> Iterator[SourceEntry | Fault]:
    if names is not None:
        return parquet_entries(part.paths, config=config, names=names)
    return itertools.chain.from_iterable(
        folder_entries(folder, config=config, split=bool(part.split)) for folder in part.paths
    )


def refuse_empty(where: str) -> NoReturn:
    """Errors: `DataError`: a source without records."""
    raise DataError(f"{where}: no records at all: correct the path, or fill it.")


def check_disjoint(config: DataConfig) -> None:
    """Errors: `ConfigError` where a file is on both sides: it would be trained on and tested
    with."""
    if config.path is None or config.test_path is None:
        return
    path, test_path = config.path.resolve(), config.test_path.resolve()
    shared = path.is_relative_to(test_path) or test_path.is_relative_to(path)
    # One folder within the other is no overlap for Parquet: files are not searched for in depth.
    if shared and config.source == "parquet":
        shared = not _files(path).isdisjoint(_files(test_path))
    if shared:
        raise ConfigError(
            f"data.path {config.path} and data.test_path {config.test_path} overlap: give each "
            "its own files."
        )


def _files(path: Path) -> set[Path]:
    """The Parquet files at a path; none where there are none, which reading will say."""
    try:
        return {file.resolve() for part in parquet_parts(path) for file in part.paths}
    except DataError:
        return set()


def _checked(
    planned: "Iterator[_Planned | Fault]", config: DataConfig
) -> "Iterator[tuple[Record, tuple[str, ...]] | Fault]":
    """The planned records with their pictures and what was remarked, read and checked some ahead on
    a few threads, in order."""
    with ThreadPoolExecutor(
        min(WORKERS, os.cpu_count() or 1), thread_name_prefix="pictures"
    ) as pool:
        ahead = deque(
            pool.submit(_record, one, config) for one in itertools.islice(planned, WINDOW)
        )
        try:
            while ahead:
                yield ahead.popleft().result()
                ahead.extend(
                    pool.submit(_record, one, config) for one in itertools.islice(planned, 1)
                )
        finally:
            _cancel(ahead)


def _cancel(ahead: "deque[Future[tuple[Record, tuple[str, ...]] | Fault]]") -> None:
    """Drop what is not begun, after an error or where the caller stops early."""
    for future in ahead:
        future.cancel()


def _record(
    planned: _Planned | Fault, config: DataConfig
) -> tuple[Record, tuple[str, ...]] | Fault:
    if isinstance(planned, Fault):
        return planned
    try:
        image = planned.entry.read()
    except DataError as error:
        return Fault.of(error)
    try:
        remarks = check_picture(image, max_pixels=config.max_pixels, window=config.window)
    except PictureError as error:
        return Fault.of(PictureError(f"{planned.entry.where}: {error}"))
    label, test, stays = planned.entry.label, planned.test, planned.permanent
    return Record(planned.record_id, planned.subject_id, label, test, image, stays), remarks
