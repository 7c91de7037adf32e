"""The canonical layout of records: a fixed number of buckets, each a function of the set of records
in it.

    bucket b  =  records/KEY.parquet   one row a record, sorted by id: id, subject, label, split,
                                       digest, place of its picture, whether it is permanent (a
                                       column that a bucket without such records does not have)
                 pictures/KEY.bin      the encoded pictures, one behind the other in the same order

    >>> bucket_number(0, "digit-0000", 16) == bucket_number(0, "digit-0000", 16) < 16
    True
    >>> rows_of([Record("cat-1", "ann", "cat", False, b"..."),
    ...          Record("cat-2", "bob", "cat", True, b".....")])["offset"].to_pylist()
    [0, 3]

Place in the flow: ingest → buckets → index. Invariants: no trace of a removed record or of the
order of arrival is left; planning reads rows and never pictures; a task reads the pictures of its
own rows and nothing else. Parquet is written plain, without compression, dictionaries or
statistics, so that an absence scan finds every id in the bytes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from lmeraser_ray.data.record import Record
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.digests import (
    DIGEST_BYTES,
    bucket_of,
    digest,
    key_of,
    keyed_hash,
    seeded_key,
)
from lmeraser_ray.storage.store import REPAIR, Listing, Store

SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("subject_id", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("test", pa.bool_(), nullable=False),
        pa.field("digest", pa.binary(DIGEST_BYTES), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("length", pa.int64(), nullable=False),
        pa.field("permanent", pa.bool_(), nullable=False),
    ]
)
"""Of rows in memory."""
PLAIN = pa.schema(list(SCHEMA)[:-1])
"""Of the file of a bucket in which no record is permanent."""

ROW_BYTES = 60
"""A row has at least: three lengths of texts, a digest, an offset and a length."""


@dataclass(frozen=True)
class About:
    """What reading and checking the pictures of m rows of a bucket needs to know, so that a worker
    need not read the bucket's rows.

    ids, labels: m names; digests: of the records [m, 32] uint8; offsets, lengths: of the pictures
    in the bucket's file, in bytes [m] int64.
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    digests: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, rows: pa.Table) -> "About":
        """Take it from rows of a bucket."""
        ids, labels = columns(rows, "record_id", "label")
        found = (rows[name].to_numpy() for name in ("offset", "length"))
        return cls(tuple(map(str, ids)), tuple(map(str, labels)), digests_in(rows), *found)

    def take(self, rows: NDArray[np.int64]) -> "About":
        """What is known of some of the rows, by their places among them [m] int64."""
        ids, labels = (tuple(names[row] for row in rows) for names in (self.ids, self.labels))
        return About(ids, labels, self.digests[rows], self.offsets[rows], self.lengths[rows])

    def __len__(self) -> int:
        return len(self.ids)


def digests_in(rows: pa.Table) -> NDArray[np.uint8]:
    """The record digests of rows [m, 32] uint8."""
    column = rows["digest"].combine_chunks()
    every = np.frombuffer(column.buffers()[1] or b"", np.uint8).reshape(-1, DIGEST_BYTES)
    return every[column.offset : column.offset + len(column)]


def bucket_number(seed: int, record_id: str, buckets: int) -> int:
    """The bucket of a record (0 ≤ bucket < buckets): a keyed hash of its id, so that no other
    record's arrival or erasure moves the record."""
    return bucket_of(keyed_hash(seeded_key(seed, "bucket"), record_id), buckets)


def bucket_key(number: int, rows: pa.Table) -> str:
    """The key of a bucket's objects: number, record digests, subjects, splits and who is permanent,
    in the order of the rows."""
    people = [
        digest("row", s.encode(), b"test" if t else b"train", *([b"permanent"] if p else []))
        for s, t, p in zip(*columns(rows, "subject_id", "test", "permanent"), strict=True)
    ]
    return key_of(
        "bucket/1", str(number).encode(), b"".join(rows["digest"].to_pylist()), b"".join(people)
    )


def columns(rows: pa.Table, *names: str) -> tuple[list[object], ...]:
    """Columns of a table as Python lists."""
    return tuple(rows[name].to_pylist() for name in names)


def rows_of(records: Sequence[Record]) -> pa.Table:
    """The rows of records that are already sorted by id, their pictures one behind the other."""
    lengths = [len(record.image) for record in records]
    return pa.table(
        {
            "record_id": [record.record_id for record in records],
            "subject_id": [record.subject_id for record in records],
            "label": [record.label for record in records],
            "test": [record.test for record in records],
            "digest": [record.digest() for record in records],
            "offset": offsets_of(lengths),
            "length": lengths,
            "permanent": [record.permanent for record in records],
        },
        schema=SCHEMA,
    )


def offsets_of(lengths: ArrayLike) -> NDArray[np.int64]:
    """Where each of these pieces begins when they lie one behind the other [m] int64."""
    found: NDArray[np.int64] = np.cumsum(lengths, dtype=np.int64) - np.asarray(lengths, np.int64)
    return found


def put_bucket(
    store: Store, listing: Listing, number: int, rows: pa.Table, pictures: Iterable[bytes]
) -> Bucket:
    """Store a bucket unless it is there already. `rows` is sorted by id; `pictures` are in the same
    order and read only when needed."""
    key = bucket_key(number, rows)
    known = listing.get(("records", key)), listing.get(("pictures", key))
    if known[0] and known[1]:
        return Bucket(number, rows.num_rows, known[0], known[1])
    stored = store.put("pictures", key, pictures)
    return Bucket(number, rows.num_rows, store.put("records", key, [parquet_of(rows)]), stored)


def parquet_of(rows: pa.Table) -> bytes:
    """The Parquet file of a bucket's rows, with the columns that they need."""
    return packed(rows if pc.any(rows["permanent"]).as_py() else rows.select(PLAIN.names))


def packed(rows: pa.Table) -> bytes:
    """The Parquet file of these columns."""
    sink = pa.BufferOutputStream()
    plain = {
        "compression": "none",
        "use_dictionary": False,
        "write_statistics": False,
        "store_schema": False,
    }
    pq.write_table(rows.combine_chunks(), sink, row_group_size=max(rows.num_rows, 1), **plain)
    return bytes(sink.getvalue())


def read_rows(store: Store, bucket: Bucket) -> pa.Table:
    """All rows of a bucket, checked against the digest of the file, and whether they are such rows
    at all: a backup brings files whose digests are right. Errors: `VerificationError`."""
    data = store.read(bucket.records)
    try:
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            require_plain(file, len(data))
            # A bucket is small: threads would only each keep memory of their own.
            rows = file.read(use_threads=False)
            rows.validate(full=True)
            rows = with_permanent(rows)
            require_rows(rows)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise VerificationError(
            f"{bucket.records.name} is damaged: it does not hold the rows of a bucket. {REPAIR}"
        ) from error
    return rows


def with_permanent(rows: pa.Table) -> pa.Table:
    """The rows of a file, as in memory. Errors: `ValueError` where a column says that no record is
    permanent."""
    if rows.num_columns == len(PLAIN):
        nobody = pa.array(np.zeros(rows.num_rows, np.bool_))
        return rows.append_column(SCHEMA.field("permanent"), nobody)
    if not pc.any(rows["permanent"]).as_py():
        raise ValueError("a column that is not needed")
    return rows


def require_plain(file: pq.ParquetFile, size: int) -> None:
    """Errors: `ValueError` where a file of `size` bytes cannot be a bucket's: other columns,
    or more rows than fit into it without compression. PyArrow takes memory for as many rows as a
    group of them is said to have. Nothing is asked of single columns: what PyArrow does not
    understand of one ends the process there."""
    about = file.metadata
    if file.schema_arrow.remove_metadata() not in (PLAIN, SCHEMA):
        raise ValueError("other columns")
    groups = (about.row_group(at).num_rows for at in range(about.num_row_groups))
    counts = [about.num_rows, *groups]
    if min(counts) < 0 or max(counts) * ROW_BYTES > size:
        raise ValueError("more rows than bytes")


def require_rows(rows: pa.Table) -> None:
    """Errors: `ValueError` where rows are not sorted by distinct ids, or their pictures do not lie
    one behind the other."""
    ids = [name.encode() for name in rows["record_id"].to_pylist()]
    if any(one >= other for one, other in pairwise(ids)):
        raise ValueError("ids that are not sorted")
    lengths = rows["length"].to_numpy()
    if len(lengths) and not 0 <= lengths.min() <= lengths.max() < 2**31:
        raise ValueError("a length that is none")
    if not np.array_equal(rows["offset"].to_numpy(), offsets_of(lengths)):
        raise ValueError("pictures that do not lie one behind the other")


def read_pictures(store: Store, bucket: Bucket, rows: pa.Table) -> Iterator[bytes]:
    """The encoded pictures of `rows` (some of the bucket's), each checked against its record's
    digest. Errors: `VerificationError`."""
    return pictures_of(store, bucket, About.of(rows))


def pictures_of(store: Store, bucket: Bucket, about: About) -> Iterator[bytes]:
    """The encoded pictures of the rows that `about` describes, each checked against its record's
    digest. Errors: `VerificationError`."""
    for at in range(0, len(about), 256):
        part = slice(at, at + 256)
        images = store.read_ranges(
            bucket.pictures, about.offsets[part].tolist(), about.lengths[part].tolist()
        )
        for name, label, expected, image in zip(
            about.ids[part], about.labels[part], about.digests[part], images, strict=True
        ):
            if Record(name, "", label, False, image).digest() != expected.tobytes():
                raise VerificationError(
                    f"{bucket.pictures.name} is damaged: a picture does not have its record's "
                    f"digest. {REPAIR}"
                )
            yield image


def without(
    store: Store, listing: Listing, bucket: Bucket, rows: pa.Table, keep: np.ndarray
) -> Bucket | None:
    """The bucket with only the rows where `keep` (bool [n]) is true; None where none is left."""
    left = rows.filter(pa.array(keep))
    if left.num_rows == 0:
        return None
    moved = left.set_column(
        SCHEMA.get_field_index("offset"),
        SCHEMA.field("offset"),
        pa.array(offsets_of(left["length"].to_pylist())),
    )
    return put_bucket(store, listing, bucket.number, moved, read_pictures(store, bucket, left))
