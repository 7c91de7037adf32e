"""The index of the live records: names, digests and hashes by position, and the bytes that it keeps
of a record."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmeraser_ray.data.buckets import bucket_number, put_bucket, rows_of
from lmeraser_ray.data.index import Columns, RecordIndex
from lmeraser_ray.data.record import Record
from lmeraser_ray.storage.digests import bucket_of, keyed_hash, seeded_key
from lmeraser_ray.storage.store import Store

SEED, BUCKETS = 3, 7
RECORDS = [
    Record(
        f"id-{i}",
        f"person-{i % 5}" if i % 2 else f"id-{i}",
        f"class {i % 4}",
        i % 6 == 0,
        bytes([i]),
    )
    for i in range(60)
]


def index_of(folder: Path, records: list[Record] = RECORDS) -> tuple[RecordIndex, list[Record]]:
    """An index, and the records in its order."""
    store = Store(folder, "run")
    store.create()
    where: dict[int, list[Record]] = {}
    for record in records:
        where.setdefault(bucket_number(SEED, record.record_id, BUCKETS), []).append(record)
    ordered = [
        (number, sorted(some, key=lambda record: record.record_id.encode()))
        for number, some in sorted(where.items())
    ]
    made = [
        put_bucket(store, store.listing(), number, rows_of(some), [record.image for record in some])
        for number, some in ordered
    ]
    return RecordIndex.read(store, made), [record for _, some in ordered for record in some]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[RecordIndex, list[Record]]:
    return index_of(tmp_path_factory.mktemp("store"))


def test_all_records_in_order(found: tuple[RecordIndex, list[Record]]) -> None:
    index, records = found
    assert len(index) == len(records) == 60 and len(index.buckets) > 3
    assert index.names("record_id") == [record.record_id for record in records]
    assert index.names("subject_id") == [record.subject_id for record in records]
    assert index.names("label") == [record.label for record in records]
    assert index.test.tolist() == [record.test for record in records]
    assert index.digests.tobytes() == b"".join(record.digest() for record in records)
    assert index.training_labels == {record.label for record in records if not record.test}


@settings(max_examples=50, deadline=None)
@given(at=st.lists(st.integers(0, 59)))
def test_some_records_in_any_order(found: tuple[RecordIndex, list[Record]], at: list[int]) -> None:
    index, records = found
    positions, some = np.array(at, np.int64), [records[i] for i in at]
    assert index.names("record_id", positions) == [record.record_id for record in some]
    assert index.names("label", positions) == [record.label for record in some]
    assert index.digests_at(positions).tobytes() == b"".join(record.digest() for record in some)
    rows = index.rows(positions, about=True)
    assert [name for part in rows if part.about for name in part.about.ids] == [
        records[i].record_id for i in sorted(at)
    ]


def test_hashes_are_those_of_the_ids(found: tuple[RecordIndex, list[Record]]) -> None:
    index, records = found
    keyed = [keyed_hash(seeded_key(SEED, "some"), record.record_id) for record in records]
    for _ in range(2):  # kept after the first time
        leading = [
            number
            for part in index.columns
            for number in part.leading(seeded_key(SEED, "some")).tolist()
        ]
        assert leading == [int.from_bytes(one[:4], "big") for one in keyed]
        assert index.hashed(SEED, "some", 1000).tolist() == [bucket_of(one, 1000) for one in keyed]
        assert index.hashed(SEED, "some", 3).tolist() == [bucket_of(one, 3) for one in keyed]


def test_who_is_held(found: tuple[RecordIndex, list[Record]]) -> None:
    index, records = found
    names = ["id-7", "id-8", "person-3", "nobody", "\udcff"]
    assert index.held("record_id", names).tolist() == [
        record.record_id in names for record in records
    ]
    assert index.held("subject_id", names).tolist() == [
        record.subject_id in names for record in records
    ]
    assert index.of_subject("person-3") == [
        i for i, record in enumerate(records) if record.subject_id == "person-3"
    ]
    assert index.places(SEED, names, BUCKETS) == {
        name: index.names("record_id").index(name) for name in names[:2]
    }


@pytest.mark.parametrize(("labels", "size"), [(1, 1), (256, 1), (257, 2)])
def test_labels_take_as_little_as_they_can(tmp_path: Path, labels: int, size: int) -> None:
    store = Store(tmp_path, "run")
    store.create()
    records = [Record(f"id-{i:03d}", "s", f"label {i % labels}", False, b"x") for i in range(300)]
    bucket = put_bucket(
        store, store.listing(), 0, rows_of(records), [record.image for record in records]
    )
    columns = Columns.read(store, bucket)
    assert columns.codes.itemsize == size
    assert columns.names("label") == [record.label for record in records]


@pytest.mark.parametrize("positions", [[-1], [60], [3, 60, 4]])
def test_a_position_that_is_none(
    found: tuple[RecordIndex, list[Record]], positions: list[int]
) -> None:
    index, _ = found
    for read in (index.digests_at, lambda at: index.names("label", at), index.rows):
        with pytest.raises(IndexError, match="of 60 records"):
            read(np.array(positions))


def test_nothing() -> None:
    index = RecordIndex((), (), np.zeros(1, np.int64))
    assert index.names("label") == index.names("record_id", np.empty(0, np.int64)) == []
    assert index.digests.shape == index.digests_at(np.empty(0, np.int64)).shape == (0, 32)
    assert len(index.held("record_id", ["a"])) == len(index.hashed(0, "x", 2)) == 0


def bytes_of(columns: Columns) -> int:
    """All that is kept of a bucket; what two names share is counted once."""
    texts = {id(text): text.get_total_buffer_size() for text in columns.texts.values()}
    arrays = [
        columns.codes,
        columns.test,
        columns.digests,
        columns.lengths,
        *columns._hashed.values(),
    ]
    return sum(texts.values()) + sum(array.nbytes for array in arrays)


def test_the_bytes_of_a_record(tmp_path: Path) -> None:
    """The module's promise, on which docs/explanation/scale.md builds: 42 bytes, the id, the
    subject where it is another, and 4 for a hash."""
    for longer, subject in ((0, "{}"), (12 + 4, "person-{:05d}")):
        records = [
            Record(
                f"id-{i:06d}",
                subject.format(f"id-{i:06d}" if not longer else i),
                f"{i % 9}",
                False,
                b"x",
            )
            for i in range(7000)
        ]
        index, _ = index_of(tmp_path / str(longer), records)
        for columns in index.columns:
            columns.leading(seeded_key(SEED, "sample"))
        kept = sum(bytes_of(columns) for columns in index.columns) / len(index)
        assert kept == pytest.approx(42 + 4 + 9 + longer, abs=0.1)
