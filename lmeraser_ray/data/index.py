"""The live records as columns: what planning needs to know of them, without their pictures.

    buckets → RecordIndex → features, partition, shards: arrays in the order of positions

Positions (0 ≤ position < n) run through the buckets by number and through each bucket's rows.
Invariant: nothing is read but the buckets' rows, and the columns of a bucket are read once and
shared by the indexes of all states that have the bucket. Memory: 43 bytes a record, its id, its
subject where that differs from the id, and 4 bytes for each kind of hash that was computed.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lmeraser_ray.data.buckets import (
    About,
    bucket_number,
    digests_in,
    offsets_of,
    read_rows,
    without,
)
from lmeraser_ray.data.order import Digests, Positions
from lmeraser_ray.data.reader import Rows
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.storage.digests import DIGEST_BYTES, keyed_hashes, seeded_key
from lmeraser_ray.storage.store import Store


@dataclass(frozen=True)
class Columns:
    """The rows of one bucket. texts: record_id and subject_id [m]; classes: its labels; codes: each
    record's label by its place among them [m], of the smallest type that holds them; test [m] bool;
    permanent [m] bool; digests [m, 32] uint8; lengths: of the pictures in bytes [m] int32."""

    texts: dict[str, pa.Array]
    classes: tuple[str, ...]
    codes: NDArray[np.unsignedinteger[Any]]
    test: NDArray[np.bool_]
    permanent: NDArray[np.bool_]
    digests: Digests
    lengths: NDArray[np.int32]
    _hashed: dict[tuple[bytes, int, str], NDArray[np.uint32]] = field(
        default_factory=dict, repr=False
    )

    @classmethod
    def read(cls, store: Store, bucket: Bucket) -> "Columns":
        """Read the rows of a bucket; memory holds only the columns above afterwards."""
        rows = read_rows(store, bucket)
        ids, subjects, labels = (
            rows[name].combine_chunks() for name in ("record_id", "subject_id", "label")
        )
        texts = {"record_id": ids, "subject_id": ids if subjects.equals(ids) else subjects}
        coded = labels.dictionary_encode()
        classes = tuple(coded.dictionary.to_pylist())
        codes = coded.indices.to_numpy().astype(np.min_scalar_type(max(len(classes) - 1, 0)))
        test, permanent = (
            np.array(rows[name].to_numpy(), np.bool_) for name in ("test", "permanent")
        )
        return cls(
            texts,
            classes,
            codes,
            test,
            permanent,
            digests_in(rows),
            rows["length"].to_numpy().astype(np.int32),
        )

    def __len__(self) -> int:
        return len(self.test)

    def names(self, column: str, rows: Positions | None = None) -> list[str]:
        """Record ids, subject ids or labels, of all rows or of some."""
        if column == "label":
            return [
                self.classes[code]
                for code in (self.codes if rows is None else self.codes[rows]).tolist()
            ]
        found: list[str] = (
            self.texts[column] if rows is None else self.texts[column].take(rows)
        ).to_pylist()
        return found

    def leading(self, key: bytes, column: str = "record_id") -> NDArray[np.uint32]:
        """The first four bytes of the keyed hash of each id [m], as a number; computed once for
        each key. column: of the records or of their subjects."""
        if (key, 0, column) not in self._hashed:
            self._hashed[key, 0, column] = (self._hashes(key, column) >> np.uint64(32)).astype(
                np.uint32
            )
        return self._hashed[key, 0, column]

    def hashed(self, key: bytes, buckets: int, column: str = "record_id") -> NDArray[np.uint32]:
        """Which of `buckets` each id falls into by its keyed hash [m], as `digests.bucket_of`;
        computed once for each."""
        if (key, buckets, column) not in self._hashed:
            found = self._hashes(key, column) % np.uint64(buckets)
            self._hashed[key, buckets, column] = found.astype(np.uint32)
        return self._hashed[key, buckets, column]

    def _hashes(self, key: bytes, column: str) -> NDArray[np.uint64]:
        """The first eight bytes of the keyed hash of each id [m], as a number."""
        found = b"".join(each[:8] for each in keyed_hashes(key, self.names(column)))
        return np.frombuffer(found, ">u8").astype(np.uint64)

    def about(self, rows: Positions) -> About:
        """What reading the pictures of some rows needs to know. rows: [m] → m rows."""
        ids, labels = (tuple(self.names(column, rows)) for column in ("record_id", "label"))
        offsets = offsets_of(self.lengths)
        return About(
            ids, labels, self.digests[rows], offsets[rows], self.lengths[rows].astype(np.int64)
        )


@dataclass(frozen=True)
class RecordIndex:
    """The rows of all buckets, one behind the other. `starts` [b + 1] int64 is where each bucket
    begins."""

    buckets: tuple[Bucket, ...]
    columns: tuple[Columns, ...]
    starts: NDArray[np.int64]

    @classmethod
    def read(
        cls, store: Store, buckets: Sequence[Bucket], known: "RecordIndex | None" = None
    ) -> "RecordIndex":
        """Read the rows of buckets, which are in the order of their numbers. known: an index of
        another state, whose columns are used for the buckets that both have."""
        there = dict(zip(known.buckets, known.columns, strict=True)) if known else {}
        columns = tuple(there.get(bucket) or Columns.read(store, bucket) for bucket in buckets)
        return cls(tuple(buckets), columns, np.cumsum([0, *map(len, columns)], dtype=np.int64))

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def training_labels(self) -> set[str]:
        """The labels of the records that train."""
        return {
            part.classes[code]
            for part in self.columns
            for code in np.unique(part.codes[~part.test]).tolist()
        }

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The labels of the records that train, sorted: what a state of them can answer."""
        return tuple(sorted(self.training_labels))

    @cached_property
    def codes(self) -> NDArray[np.int32]:
        """The label of each record by its place in `classes` [n] int32; -1 for one that only test
        records have."""
        places = {label: code for code, label in enumerate(self.classes)}
        parts = (
            np.array([places.get(label, -1) for label in part.classes], np.int32)[part.codes]
            for part in self.columns
        )
        return np.concatenate([np.empty(0, np.int32), *parts])

    def split(self, positions: Positions) -> Iterator[tuple[int, Positions, Positions]]:
        """Positions by bucket: the bucket's place in the index, which of `positions` lie in it [j],
        and their rows in the bucket [j]. Errors: `IndexError` for a position that is none."""
        places = np.searchsorted(self.starts, positions, "right") - 1
        if len(places) and not 0 <= places.min() <= places.max() < len(self.buckets):
            raise IndexError(
                f"positions from {positions.min()} to {positions.max()} of {len(self)} records"
            )
        order = np.argsort(places, kind="stable")
        bounds = np.searchsorted(places[order], np.arange(len(self.buckets) + 1))
        for i, (a, b) in enumerate(pairwise(bounds.tolist())):
            if b > a:
                yield i, order[a:b], positions[order[a:b]] - self.starts[i]

    def digests_at(self, positions: Positions) -> Digests:
        """Record digests [m, 32] uint8 of some records, in the given order."""
        found = np.empty((len(positions), DIGEST_BYTES), np.uint8)
        for i, which, rows in self.split(positions):
            found[which] = self.columns[i].digests[rows]
        return found

    @property
    def digests(self) -> Digests:
        """Record digests [n, 32] uint8 of all records, put together at each call."""
        return np.concatenate(
            [np.empty((0, DIGEST_BYTES), np.uint8), *(part.digests for part in self.columns)]
        )

    @cached_property
    def test(self) -> NDArray[np.bool_]:
        """Whether each record is a test record [n] bool."""
        return np.concatenate([np.empty(0, np.bool_), *(part.test for part in self.columns)])

    @cached_property
    def permanent(self) -> NDArray[np.bool_]:
        """Whether each record is a permanent one that trains [n] bool."""
        parts = (part.permanent & ~part.test for part in self.columns)
        return np.concatenate([np.empty(0, np.bool_), *parts])

    @property
    def training(self) -> Positions:
        """The positions of the records that train."""
        return np.flatnonzero(~self.test)

    def names(self, column: str, positions: Positions | None = None) -> list[str]:
        """Record ids, subject ids or labels, of all records or of some, in the given order."""
        if positions is None:
            return [name for part in self.columns for name in part.names(column)]
        found = np.empty(len(positions), object)
        for i, which, rows in self.split(positions):
            found[which] = self.columns[i].names(column, rows)
        return list(found.tolist())

    def people(self) -> Iterator[tuple[str, str]]:
        """The record id and the subject id of each record, in order."""
        for part in self.columns:
            yield from zip(part.names("record_id"), part.names("subject_id"), strict=True)

    def of_bucket(self, number: int) -> slice:
        """The positions of the bucket that is `number`-th in order."""
        return slice(int(self.starts[number]), int(self.starts[number + 1]))

    def hashed(
        self, seed: int, domain: str, buckets: int, column: str = "record_id"
    ) -> NDArray[np.int32]:
        """Which of `buckets` each record falls into by keyed hash of its id, or of its subject's
        [n] int32, as `digests.bucket_of`."""
        key = seeded_key(seed, domain)
        return np.concatenate(
            [np.empty(0, np.int32), *(part.hashed(key, buckets, column) for part in self.columns)],
            dtype=np.int32,
        )

    def leading(self, seed: int, domain: str, column: str) -> NDArray[np.uint32]:
        """The first four bytes of the keyed hash of each record's id, or of its subject's [n]."""
        key = seeded_key(seed, domain)
        return np.concatenate(
            [np.empty(0, np.uint32), *(part.leading(key, column) for part in self.columns)]
        )

    @cached_property
    def has_subjects(self) -> bool:
        """Whether a training record's subject differs from the record's own id."""
        return any(
            part.texts["subject_id"] is not part.texts["record_id"]
            and part.texts["subject_id"].filter(pa.array(~part.test))
            != part.texts["record_id"].filter(pa.array(~part.test))
            for part in self.columns
        )

    def places(self, seed: int, ids: Iterable[str], buckets: int) -> dict[str, int]:
        """The positions of those of `ids` that are live records; only their buckets are searched.
        buckets: how many the layout has."""
        asked: dict[int, list[str]] = {}
        for name in filter(storable, ids):
            asked.setdefault(bucket_number(seed, name, buckets), []).append(name)
        found: dict[str, int] = {}
        for number in asked.keys() & self._numbers.keys():
            names, i = asked[number], self._numbers[number]
            rows = pc.index_in(
                pa.array(names, pa.string()), self.columns[i].texts["record_id"]
            ).to_pylist()
            found |= {
                name: int(self.starts[i]) + row
                for name, row in zip(names, rows, strict=True)
                if row is not None
            }
        return found

    @cached_property
    def _numbers(self) -> dict[int, int]:
        """The place of each bucket, by its number."""
        return {bucket.number: i for i, bucket in enumerate(self.buckets)}

    def of_subject(self, subject: str) -> list[int]:
        """The positions of a subject's live records, ascending."""
        return np.flatnonzero(self.held("subject_id", [subject])).tolist()

    def held(self, column: str, names: Collection[str]) -> NDArray[np.bool_]:
        """Which records have one of these record ids or subject ids [n] bool; unknown names match
        no record. column: `record_id` or `subject_id`."""
        asked = pa.array([name for name in names if storable(name)], pa.string())
        parts = (
            pc.is_in(part.texts[column], asked).to_numpy(zero_copy_only=False)
            for part in self.columns
        )
        return np.concatenate([np.empty(0, np.bool_), *parts])

    def rows(self, positions: Positions, *, about: bool = False) -> tuple[Rows, ...]:
        """Positions as rows of buckets, ascending, as a job takes them. about: with `Rows.about`,
        so that the job does not read the buckets' rows."""
        pieces = self.split(np.sort(positions))
        return tuple(
            Rows(self.buckets[i], rows, self.columns[i].about(rows) if about else None)
            for i, _, rows in pieces
        )


def storable(name: str) -> bool:
    """Whether a name can be in a column at all: it cannot with lone surrogates, by which Python
    represents undecodable bytes of a command line."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def remaining(store: Store, index: RecordIndex, gone: NDArray[np.bool_]) -> list[Bucket]:
    """The buckets without the records that go, stored; a bucket that loses all is left out. gone:
    [n] bool, by position."""
    listing = store.listing()
    left: list[Bucket] = []
    for i, bucket in enumerate(index.buckets):
        leaving = gone[index.of_bucket(i)]
        kept = (
            without(store, listing, bucket, read_rows(store, bucket), ~leaving)
            if leaving.any()
            else bucket
        )
        if kept:
            left.append(kept)
    return left
