"""Buckets: the layout is a function of the set of records, however they came and whoever was taken
out."""

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmeraser_ray.data.buckets import (
    bucket_key,
    bucket_number,
    pictures_of,
    put_bucket,
    read_pictures,
    read_rows,
    rows_of,
    without,
)
from lmeraser_ray.data.feature_file import pack_features
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.ingest import Ingested, Twins
from lmeraser_ray.data.reader import Reader
from lmeraser_ray.data.record import Record
from lmeraser_ray.data.spec import PictureSpec
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.store import Store


def record(
    i: int,
    *,
    subject: str | None = None,
    label: str | None = None,
    test: bool = False,
    image: bytes | None = None,
    permanent: bool = False,
) -> Record:
    return Record(
        f"r{i}",
        subject or f"s{i // 2}",
        label or f"l{i % 3}",
        test,
        bytes([i]) * (i % 5 + 1) if image is None else image,
        permanent,
    )


def store_in(folder: str | Path) -> Store:
    store = Store(Path(folder) / "objects")
    store.create()
    return store


def put(store: Store, records: Sequence[Record], number: int = 3) -> Bucket:
    ordered = sorted(records, key=lambda r: r.record_id.encode())
    return put_bucket(store, {}, number, rows_of(ordered), (r.image for r in ordered))


def held(store: Store) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.files()}


subsets = st.sets(st.integers(0, 30), min_size=1, max_size=12)


@settings(deadline=None, max_examples=30)
@given(subsets, st.data())
def test_without_equals_written_anew(everyone: set[int], data: st.DataObject) -> None:
    """The same objects, byte for byte, as if the removed records had never been there; None where
    nobody is left."""
    gone = data.draw(st.sets(st.sampled_from(sorted(everyone))))
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        store, fresh = store_in(one), store_in(other)
        bucket = put(store, [record(i) for i in everyone])
        rows = read_rows(store, bucket)
        keep = np.array([int(name[1:]) not in gone for name in rows["record_id"].to_pylist()])
        left = without(store, store.listing(), bucket, rows, keep)
        if gone == everyone:
            assert left is None
            return
        assert left == put(fresh, [record(i) for i in everyone - gone])
        store.purge([left.records, left.pictures])
        assert held(store) == held(fresh)


@settings(deadline=None, max_examples=20)
@given(subsets, st.integers(0, 2**32))
def test_the_order_of_arrival_leaves_no_trace(everyone: set[int], seed: int) -> None:
    """Through the real ingest, which sorts."""
    from lmeraser_ray.data.ingest import Spill

    shuffled = sorted(everyone)
    random.Random(seed).shuffle(shuffled)
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        stores = store_in(one), store_in(other)
        for store, order in zip(stores, (sorted(everyone), shuffled), strict=True):
            spill = Spill(store.scratch)
            for i in order:
                spill.add(bucket_number(0, f"r{i}", 3), record(i))
            for number, records in spill.buckets():
                put_bucket(store, {}, number, rows_of(records), (r.image for r in records))
            spill.remove()
        assert held(stores[0]) == held(stores[1])


def test_ids_are_sorted_by_their_bytes(tmp_path: Path) -> None:
    """Not by locale, not by UTF-16: é and 𝒜 come after z in this order."""
    store = store_in(tmp_path)
    names = ["z", "é", "𝒜", "Z", "￿"]
    bucket = put(store, [Record(name, "s", "l", False, b"i") for name in names])
    assert (
        read_rows(store, bucket)["record_id"].to_pylist()
        == sorted(names, key=str.encode)
        == ["Z", "z", "é", "￿", "𝒜"]
    )


@pytest.mark.parametrize(
    "change",
    [
        *({"subject": "other"}, {"label": "other"}, {"test": True}, {"image": b"other"}),
        {"permanent": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_column_is_in_the_key(change: dict[str, object]) -> None:
    base = [record(0), record(1)]
    changed = [record(0, **change), record(1)]  # type: ignore[arg-type]
    assert bucket_key(3, rows_of(base)) != bucket_key(3, rows_of(changed))
    assert bucket_key(3, rows_of(base)) != bucket_key(4, rows_of(base))


def test_a_bucket_is_as_before_once_its_permanent_records_left(tmp_path: Path) -> None:
    """No column, and no other key, tells that there were some."""
    store, others = store_in(tmp_path / "one"), store_in(tmp_path / "other")
    first = put(store, [record(0, permanent=True), record(1), record(2)])
    left = without(store, {}, first, read_rows(store, first), np.array([False, True, True]))
    never = put(others, [record(1), record(2)])
    assert left == never
    assert store.read(never.records) == others.read(never.records)


def test_nothing_is_written_that_is_there(tmp_path: Path) -> None:
    """With both objects listed, the pictures are not even asked for."""
    store = store_in(tmp_path)
    records = [record(1), record(2)]
    bucket = put(store, records)

    def never() -> object:
        raise AssertionError("the pictures were read")
        yield b""

    assert put_bucket(store, store.listing(), 3, rows_of(records), never()) == bucket  # type: ignore[arg-type]
    listing = store.listing()
    del listing["pictures", bucket.key]
    assert put_bucket(store, listing, 3, rows_of(records), (r.image for r in records)) == bucket


def test_pictures_come_back_in_order_and_only_those_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_in(tmp_path)
    records = sorted((record(i) for i in range(9)), key=lambda r: r.record_id)
    bucket = put(store, records)
    rows = read_rows(store, bucket)
    asked: list[int] = []
    ranges = store.read_ranges
    monkeypatch.setattr(
        store, "read_ranges", lambda item, o, n: (asked.append(sum(n)), ranges(item, o, n))[1]
    )
    some = rows.take([7, 2, 5])
    assert list(read_pictures(store, bucket, some)) == [records[i].image for i in (7, 2, 5)]
    assert asked == [sum(len(records[i].image) for i in (7, 2, 5))]


@pytest.mark.parametrize("damage", ["changed", "swapped", "truncated", "missing"])
def test_tampered_pictures_are_detected(tmp_path: Path, damage: str) -> None:
    """Ranges are not covered by the file's digest when they are read, so each picture is checked
    against its record's."""
    store = store_in(tmp_path)
    bucket = put(store, [record(1, image=b"aaaa"), record(2, image=b"bbbb")])
    path = store.path(bucket.pictures)
    new = {"changed": b"aaaabbbB", "swapped": b"bbbbaaaa", "truncated": b"aaaabb"}
    path.unlink() if damage == "missing" else path.write_bytes(new[damage])
    with pytest.raises(VerificationError, match=bucket.pictures.name):
        list(read_pictures(store, bucket, read_rows(store, bucket)))


def test_a_label_that_was_changed_in_the_rows_is_detected(tmp_path: Path) -> None:
    """The digest binds the label to the picture: a relabelled row with its old digest does not
    pass."""
    store = store_in(tmp_path)
    rows = rows_of([record(1)])
    at = rows.schema.get_field_index("label")
    forged = rows.set_column(at, rows.schema.field(at), [["l9"]])
    bucket = put_bucket(store, {}, 0, forged, [record(1).image])
    with pytest.raises(VerificationError, match="damaged"):
        list(read_pictures(store, bucket, forged))


def test_empty_pictures_and_many_records(tmp_path: Path) -> None:
    """More records than one read takes, among them pictures of zero bytes (a source would refuse
    them)."""
    store = store_in(tmp_path)
    records = sorted(
        (Record(f"r{i:04}", "s", "l", False, b"x" * (i % 3)) for i in range(600)),
        key=lambda r: r.record_id,
    )
    bucket = put(store, records)
    assert list(read_pictures(store, bucket, read_rows(store, bucket))) == [
        r.image for r in records
    ]


@given(st.text(min_size=1, max_size=20), st.integers(1, 64))
def test_a_bucket_is_a_function_of_the_id_and_the_seed(name: str, buckets: int) -> None:
    assert 0 <= bucket_number(0, name, buckets) < buckets
    assert bucket_number(0, name, buckets) == bucket_number(0, name, buckets)


def test_buckets_are_about_equally_full() -> None:
    counts = np.bincount([bucket_number(5, f"r{i}", 16) for i in range(3200)], minlength=16)
    assert counts.min() > 140
    assert counts.max() < 260


def test_twins_are_counted(tmp_path: Path) -> None:
    """Records with a picture that one before them has too; the example is of the first such record,
    and of the first with its picture."""
    store, twins, told = store_in(tmp_path), Twins(), Ingested()
    for number, images in enumerate(([b"a", b"b"], [b"b", b"c", b"a"], [b"b", b"d"])):
        records = [record(10 * number + at, image=image) for at, image in enumerate(images)]
        twins.look_at(records)
        told.buckets.append(put(store, records, number))
    twins.tell(store, told)
    assert (told.twins, told.twin_example) == (3, ("r1", "r10"))
    alone = Ingested()
    Twins().tell(store, alone)
    assert (alone.twins, alone.twin_example) == (0, None)


def test_whoever_is_told_of_rows_reads_no_row(tmp_path: Path) -> None:
    """The bucket's file of rows may be gone: ids, labels, digests and places of the pictures came
    with the job."""
    store = store_in(tmp_path)
    records = [record(i) for i in range(9)]
    bucket = put(store, records)
    index = RecordIndex.read(store, [bucket])
    [told], [untold] = index.rows(np.array([7, 2, 5]), about=True), index.rows(np.array([7, 2, 5]))
    assert told.about is not None and untold.about is None
    store.path(bucket.records).unlink()
    assert list(pictures_of(store, bucket, told.about)) == [records[i].image for i in (2, 5, 7)]
    reader = Reader(store, PictureSpec(16, 16, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), 10**6)
    with pytest.raises(VerificationError, match="is missing"):
        reader.read(untold)
    features = store.put(
        "features",
        "0" * 64,
        [pack_features(np.arange(18, dtype=np.float32).reshape(9, 2), index.digests)],
    )
    read = reader.read(told, features)
    assert read.labels == ("l2", "l2", "l1") and np.array_equal(
        read.inputs, [[4, 5], [10, 11], [14, 15]]
    )
    assert np.array_equal(read.digests, index.digests[[2, 5, 7]])
