"""Ingest: from a source's stream to canonical buckets, in the memory of one bucket.

    source → leave out erased and excluded records → spill by bucket → sort, digest → stored bucket

Place in the flow: first, before features. Invariants: nothing is published from a stream that
fails; the stored buckets do not depend on the order of arrival.
"""

import os
import tempfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import msgpack
import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import Config
from lmeraser_ray.data.buckets import bucket_number, put_bucket, read_rows, rows_of
from lmeraser_ray.data.ids import read_ids
from lmeraser_ray.data.record import Record
from lmeraser_ray.data.sources.faults import Faults
from lmeraser_ray.data.sources.memory import HeldRecords
from lmeraser_ray.data.sources.read_source import read_source
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.errors import DataError
from lmeraser_ray.storage.digests import digest
from lmeraser_ray.storage.files import disk_errors
from lmeraser_ray.storage.paths import Location, local_folder
from lmeraser_ray.storage.store import Store

SPILL_BYTES = 16 << 20
Admitted = tuple[frozenset[str], frozenset[str]]


class Erased(Protocol):
    """Knows which ids were erased: a workspace's tombstones."""

    def covers(self, what: Literal["record", "subject"], name: str) -> bool:
        """Whether this record or subject was erased."""

    def cover(self, record: str, subject: str) -> bool:
        """Whether a record was erased, by its own id or as one of its subject's."""


@dataclass
class Ingested:
    """The result of an ingest. left_out: how many records were erased before; excluded: how many
    the configuration excludes; unknown_exclusions: excluded ids that the source does not have;
    unknown_permanent: subjects that are named as permanent and have no record that was read;
    let_in_again: how many erased ids were readmitted; twins: records whose picture another record
    has too; twin_example: the ids of two such records; faults: what cannot be used and was left
    out, and what was remarked on pictures that are used; alike: sentences about names that differ
    by Unicode normalisation only."""

    buckets: list[Bucket] = field(default_factory=list)
    left_out: int = 0
    excluded: int = 0
    unknown_exclusions: tuple[str, ...] = ()
    unknown_permanent: tuple[str, ...] = ()
    let_in_again: int = 0
    twins: int = 0
    twin_example: tuple[str, str] | None = None
    faults: Faults = field(default_factory=Faults)
    alike: tuple[str, ...] = ()


def ingest(
    config: Config,
    store: Store,
    tombstones: Erased,
    *,
    emptied: bool = False,
    held: HeldRecords | None = None,
) -> Ingested:
    """Read the configured source into stored buckets. Erased and excluded records are left out and
    counted. Readmitted ids keep their tombstones until the training is published. emptied, held: as
    in `read_source`. Errors: `ConfigError`, `DataError` and `PictureError` of the source;
    `DataError` where permanent records are needed and the source has none."""
    result = Ingested()
    admitted = readmitted(config)
    spill = Spill(store.scratch)
    unknown, trains = set(read_ids(config.data.permanent, "data.permanent")), False
    try:
        for record in admissible(config, tombstones, admitted, result, emptied=emptied, held=held):
            spill.add(bucket_number(config.seed, record.record_id, config.data.buckets), record)
            unknown.discard(record.subject_id)
            trains = trains or (record.permanent and not record.test)
        result.unknown_permanent = tuple(sorted(unknown))
        if config.wants_permanent and not (trains or emptied or result.excluded):
            raise DataError(
                "No training record is permanent, and the configuration needs some: correct "
                "data.permanent or data.permanent_column, or set partition.sampled all and "
                "learner.start own."
            )
        listing = store.listing()
        twins = Twins()
        for number, records in spill.buckets():
            twins.look_at(records)
            result.buckets.append(
                put_bucket(
                    store, listing, number, rows_of(records), (record.image for record in records)
                )
            )
        twins.tell(store, result)
    finally:
        spill.remove()
    return result


def readmitted(config: Config) -> Admitted:
    """The record ids and the subjects that the configuration readmits: two sets, since a record and
    a subject may share a name."""
    return read_ids(config.data.readmit, "data.readmit"), read_ids(
        config.data.readmit_subjects, "data.readmit_subjects"
    )


def admissible(
    config: Config,
    tombstones: Erased,
    admitted: Admitted,
    result: Ingested,
    *,
    emptied: bool,
    held: HeldRecords | None,
) -> Iterator[Record]:
    """The source's records less the excluded and the erased ones, which are counted in `result`."""
    excluded = read_ids(config.data.exclude, "data.exclude")
    records, subjects = admitted
    seen: set[str] = set()

    def skip(record_id: str) -> bool:
        if record_id in excluded:
            seen.add(record_id)
            return True
        if record_id not in records and tombstones.covers("record", record_id):
            result.left_out += 1
            return True
        return False

    usable = read_source(
        config.data, seed=config.seed, skip=skip, emptied=emptied, faults=result.faults, held=held
    )
    for record in usable:
        if record.subject_id in subjects or not tombstones.covers("subject", record.subject_id):
            yield record
        elif record.record_id in records:
            raise DataError(
                f"data.readmit names the record {record.record_id!r}, but its subject "
                f"{record.subject_id!r} was erased too: name that in data.readmit_subjects."
            )
        else:
            result.left_out += 1
    result.excluded = len(seen)
    result.unknown_exclusions = tuple(sorted(excluded - seen))


class Twins:
    """Counts records whose encoded picture another record has too, since erasing one of them leaves
    the other. Memory: 16 bytes a record."""

    def __init__(self) -> None:
        self._seen: list[NDArray[np.uint64]] = []

    def look_at(self, records: list[Record]) -> None:
        """Add a bucket's records."""
        found = b"".join(digest("picture", record.image)[:16] for record in records)
        self._seen.append(np.frombuffer(found, np.uint64).reshape(-1, 2))

    def tell(self, store: Store, result: Ingested) -> None:
        """Write the number of twins and an example into `result`, whose buckets are those that were
        looked at, in order. The first record with a picture does not count as a twin."""
        seen = np.concatenate([np.empty((0, 2), np.uint64), *self._seen])
        self._seen = []
        maybe = np.flatnonzero(come_again(seen[:, 0]))  # a few, and all is decided among them
        order = maybe[
            np.lexsort(seen[maybe].T)
        ]  # stable: of equal ones the first that came comes first
        again = order[1:][(seen[order[1:]] == seen[order[:-1]]).all(1)]
        result.twins = len(again)
        if result.twins:
            twin = again.min()
            first = np.flatnonzero((seen == seen[twin]).all(1))[0]
            result.twin_example = (
                self._name(store, result, int(first)),
                self._name(store, result, int(twin)),
            )

    def _name(self, store: Store, result: Ingested, position: int) -> str:
        """The id of the `position`-th record that was looked at."""
        for bucket in result.buckets:
            if position < bucket.size:
                return str(read_rows(store, bucket)["record_id"][position].as_py())
            position -= bucket.size
        raise IndexError(position)


def come_again(numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which numbers occur more than once. numbers: [n] uint64 → [n] bool."""
    ordered = np.sort(numbers)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if len(twice) == 0:
        return np.zeros(len(numbers), np.bool_)
    at = np.minimum(np.searchsorted(twice, numbers), len(twice) - 1)
    found: NDArray[np.bool_] = twice[at] == numbers
    return found


class Spill:
    """Records on disk by bucket while they arrive, so that memory holds 16 MiB and not the data
    set."""

    def __init__(self, scratch: Location) -> None:
        """scratch: a folder on the disk that has room for it; where it is in object storage, the
        system's."""
        self._where = local_folder(scratch) or Path(tempfile.gettempdir())
        with disk_errors(self._where):
            self._file = tempfile.TemporaryFile(dir=self._where)  # noqa: SIM115 - it has no name and goes with the process
        self._places: dict[int, array[int]] = {}
        """For each bucket, the beginning and the length of each of its pieces in the file, in
        turn."""
        self._waiting: dict[int, bytearray] = {}
        self._bytes = 0

    def add(self, bucket: int, record: Record) -> None:
        """Keep one record for its bucket."""
        packed = msgpack.packb(
            [
                *(record.record_id, record.subject_id, record.label, record.test),
                *(record.image, record.permanent),
            ]
        )
        self._waiting.setdefault(bucket, bytearray()).extend(packed)
        self._bytes += len(packed)
        if self._bytes > SPILL_BYTES:
            self._flush()

    def _flush(self) -> None:
        with disk_errors(self._where):
            for bucket, packed in self._waiting.items():
                begin = self._file.seek(0, os.SEEK_END)
                self._file.write(packed)
                self._places.setdefault(bucket, array("q")).extend(
                    (begin, self._file.tell() - begin)
                )
            self._file.flush()
        self._waiting, self._bytes = {}, 0

    def buckets(self) -> Iterator[tuple[int, list[Record]]]:
        """Each non-empty bucket, in order of its number, with its records sorted by id."""
        self._flush()
        for number, places in sorted(self._places.items()):
            unpacker = msgpack.Unpacker(max_buffer_size=0)
            with disk_errors(self._where):
                for begin, length in zip(places[::2], places[1::2], strict=True):
                    self._file.seek(begin)
                    unpacker.feed(self._file.read(length))
            records = [Record(*packed) for packed in unpacker]
            yield number, sorted(records, key=lambda record: record.record_id.encode())

    def remove(self) -> None:
        """Close the file, which frees its disk space."""
        self._file.close()
