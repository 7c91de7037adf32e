"""The live records as arrays: what planning needs to know of them, and nothing of their pictures.

Positions (0 ≤ position < n) run through the buckets by number and through each bucket's rows. About 90 bytes a record.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lmeraser_ray.data.buckets import Bucket, read_rows
from lmeraser_ray.data.reading import Rows
from lmeraser_ray.digests import buckets_of
from lmeraser_ray.plan import Digests
from lmeraser_ray.state.store import Store

COLUMNS = ["record_id", "subject_id", "label", "test", "digest"]


@dataclass(frozen=True)
class RecordIndex:
    """The rows of all buckets, one behind the other. `starts` [b + 1] int64 is where each bucket begins."""

    buckets: tuple[Bucket, ...]
    table: pa.Table
    starts: NDArray[np.int64]

    @classmethod
    def read(cls, store: Store, buckets: Sequence[Bucket]) -> "RecordIndex":
        """Read the rows of buckets, which are in order of their numbers."""
        tables = [read_rows(store, bucket).select(COLUMNS) for bucket in buckets]
        table = pa.concat_tables(tables) if tables else pa.table({name: pa.array([], pa.string()) for name in COLUMNS})
        return cls(tuple(buckets), table, np.cumsum([0, *(t.num_rows for t in tables)], dtype=np.int64))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def digests(self) -> Digests:
        """Record digests [n, 32] uint8."""
        return np.frombuffer(b"".join(self.table["digest"].to_pylist()), np.uint8).reshape(-1, 32)

    @cached_property
    def test(self) -> NDArray[np.bool_]:
        """Whether each record is a test record [n] bool."""
        return np.array(self.table["test"].to_pylist(), np.bool_)

    @cached_property
    def training(self) -> NDArray[np.int64]:
        """The positions of the records that train."""
        return np.flatnonzero(~self.test)

    def names(self, column: str, positions: NDArray[np.int64] | None = None) -> list[str]:
        """Record ids, subject ids or labels, of all records or of some."""
        chosen = self.table[column] if positions is None else self.table[column].take(positions)
        return list(chosen.to_pylist())

    def of_bucket(self, number: int) -> slice:
        """The positions of the bucket that is `number`-th in order."""
        return slice(int(self.starts[number]), int(self.starts[number + 1]))

    def hashed(self, seed: int, domain: str, buckets: int) -> NDArray[np.int32]:
        """Which of `buckets` each record falls into by keyed hash of its id [n] int32."""
        return np.array(buckets_of(seed, domain, self.names("record_id"), buckets), np.int32)

    def rows(self, positions: NDArray[np.int64]) -> tuple[Rows, ...]:
        """Positions as rows of buckets, ascending: what a job is told."""
        ordered = np.sort(positions)
        bounds = np.searchsorted(ordered, self.starts)
        pieces = zip(self.buckets, self.starts[:-1], bounds[:-1], bounds[1:], strict=True)
        return tuple(Rows(bucket, ordered[a:b] - start) for bucket, start, a, b in pieces if b > a)
