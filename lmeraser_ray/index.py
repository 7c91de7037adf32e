"""The live records as columns: what planning needs to know of them, and nothing of their pictures.

Positions (0 ≤ position < n) run through the buckets by number and through each bucket's rows. The columns of a bucket are read once and
shared by the indexes of all states that have it: about 60 bytes a record and the length of its subject, where that is not its id.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lmeraser_ray.data.buckets import About, Bucket, bucket_number, digests_in, offsets_of, read_rows
from lmeraser_ray.data.reading import Rows
from lmeraser_ray.digests import DIGEST_BYTES, keyed_hashes, seeded_key
from lmeraser_ray.plan import Digests, Positions
from lmeraser_ray.state.store import Store


@dataclass(frozen=True)
class Columns:
    """The rows of one bucket. names: record_id and subject_id [m]; labels: dictionary-encoded [m]; test [m] bool; digests [m, 32] uint8;
    lengths: of the pictures in bytes [m] int32."""

    names: dict[str, pa.Array]
    labels: pa.DictionaryArray
    test: NDArray[np.bool_]
    digests: Digests
    lengths: NDArray[np.int32]
    _hashes: dict[bytes, NDArray[np.uint64]] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, store: Store, bucket: Bucket) -> "Columns":
        """Read the rows of a bucket. What is not kept of them is given back."""
        rows = read_rows(store, bucket)
        ids, subjects, labels = (rows[name].combine_chunks() for name in ("record_id", "subject_id", "label"))
        names = {"record_id": ids, "subject_id": ids if subjects.equals(ids) else subjects}
        test = np.array(rows["test"].to_numpy(), np.bool_)
        return cls(names, labels.dictionary_encode(), test, digests_in(rows), rows["length"].to_numpy().astype(np.int32))

    def __len__(self) -> int:
        return len(self.test)

    def hashes(self, key: bytes) -> NDArray[np.uint64]:
        """The first eight bytes of the keyed hash of each id [m], as a number; computed once for each key."""
        if key not in self._hashes:
            found = b"".join(each[:8] for each in keyed_hashes(key, self.names["record_id"].to_pylist()))
            self._hashes[key] = np.frombuffer(found, ">u8").astype(np.uint64)
        return self._hashes[key]

    def about(self, rows: Positions) -> About:
        """What reading some rows needs to know."""
        classes = self.labels.dictionary.to_pylist()
        labels = tuple(classes[code] for code in self.labels.indices.take(rows).to_pylist())
        offsets = offsets_of(self.lengths)
        ids = tuple(self.names["record_id"].take(rows).to_pylist())
        return About(ids, labels, self.digests[rows], offsets[rows], self.lengths[rows].astype(np.int64))


@dataclass(frozen=True)
class RecordIndex:
    """The rows of all buckets, one behind the other. `starts` [b + 1] int64 is where each bucket begins."""

    buckets: tuple[Bucket, ...]
    columns: tuple[Columns, ...]
    starts: NDArray[np.int64]

    @classmethod
    def read(cls, store: Store, buckets: Sequence[Bucket], known: "RecordIndex | None" = None) -> "RecordIndex":
        """Read the rows of buckets, which are in order of their numbers. known: an index of another state; what it has is not read."""
        there = dict(zip(known.buckets, known.columns, strict=True)) if known else {}
        columns = tuple(there.get(bucket) or Columns.read(store, bucket) for bucket in buckets)
        return cls(tuple(buckets), columns, np.cumsum([0, *map(len, columns)], dtype=np.int64))

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def digests(self) -> Digests:
        """Record digests [n, 32] uint8, put together at each call."""
        return np.concatenate([np.empty((0, DIGEST_BYTES), np.uint8), *(part.digests for part in self.columns)])

    @cached_property
    def test(self) -> NDArray[np.bool_]:
        """Whether each record is a test record [n] bool."""
        return np.concatenate([np.empty(0, np.bool_), *(part.test for part in self.columns)])

    @property
    def training(self) -> Positions:
        """The positions of the records that train."""
        return np.flatnonzero(~self.test)

    def names(self, column: str, positions: Positions | None = None) -> list[str]:
        """Record ids, subject ids or labels, of all records or of some."""
        parts = [part.labels.cast(pa.string()) if column == "label" else part.names[column] for part in self.columns]
        chosen = pa.chunked_array(parts, pa.string())
        return list((chosen if positions is None else chosen.take(positions)).to_pylist())

    def of_bucket(self, number: int) -> slice:
        """The positions of the bucket that is `number`-th in order."""
        return slice(int(self.starts[number]), int(self.starts[number + 1]))

    def hashes(self, seed: int, domain: str) -> NDArray[np.uint64]:
        """The first eight bytes of the keyed hash of each record's id, as a number [n]."""
        key = seeded_key(seed, domain)
        return np.concatenate([np.empty(0, np.uint64), *(part.hashes(key) for part in self.columns)])

    def hashed(self, seed: int, domain: str, buckets: int) -> NDArray[np.int32]:
        """Which of `buckets` each record falls into by keyed hash of its id [n] int32, as `digests.bucket_of`."""
        return (self.hashes(seed, domain) % np.uint64(buckets)).astype(np.int32)

    def places(self, seed: int, ids: Iterable[str], buckets: int) -> dict[str, int]:
        """The positions of those of `ids` that live, which looks into their buckets only. buckets: how many the layout has."""
        asked: dict[int, list[str]] = {}
        for name in filter(storable, ids):
            asked.setdefault(bucket_number(seed, name, buckets), []).append(name)
        found: dict[str, int] = {}
        for number in asked.keys() & self._numbers.keys():
            names, i = asked[number], self._numbers[number]
            rows = pc.index_in(pa.array(names, pa.string()), self.columns[i].names["record_id"]).to_pylist()
            found |= {name: int(self.starts[i]) + row for name, row in zip(names, rows, strict=True) if row is not None}
        return found

    @cached_property
    def _numbers(self) -> dict[int, int]:
        """The place of each bucket, by its number."""
        return {bucket.number: i for i, bucket in enumerate(self.buckets)}

    def of_subject(self, subject: str) -> list[int]:
        """The positions of a subject's live records, ascending."""
        if not storable(subject):
            return []
        found = [np.flatnonzero(pc.equal(part.names["subject_id"], subject).to_numpy(zero_copy_only=False)) for part in self.columns]
        return [int(start + row) for start, rows in zip(self.starts, found, strict=False) for row in rows]

    def rows(self, positions: Positions, *, told: bool = False) -> tuple[Rows, ...]:
        """Positions as rows of buckets, ascending: what a job is told. told: with all that reading them needs to know."""
        ordered = np.sort(positions)
        bounds = np.searchsorted(ordered, self.starts)
        pieces = [(i, ordered[a:b] - self.starts[i]) for i, (a, b) in enumerate(pairwise(bounds)) if b > a]
        return tuple(Rows(self.buckets[i], rows, self.columns[i].about(rows) if told else None) for i, rows in pieces)


def storable(name: str) -> bool:
    """Whether a name can be in a column at all: what a shell passes on undecoded cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in name)
