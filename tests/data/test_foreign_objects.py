"""Objects of a store whose digest is right and whose content is not, as a hostile backup has them:
rows, features, partitions and constituents end in a `VerificationError`."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save

from lmeraser_ray.data.buckets import PLAIN, SCHEMA, parquet_of, read_rows, rows_of
from lmeraser_ray.data.feature_file import pack_features, read_feature_rows, read_features
from lmeraser_ray.data.record import Record
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.parameters import read_shapes
from lmeraser_ray.models.partition.stage import read_clusters, read_shard_numbers
from lmeraser_ray.storage.store import Kind, Store, StoredObject

ROWS = rows_of([Record(name, name, "cat", False, b"12345", name == "a") for name in "abc"])
FOUND = Path(__file__).parents[1] / "fuzzing/seeds/bucket/found-rows-of-a-group.parquet"
FEATURES = pack_features(np.ones((3, 4), np.float32), np.zeros((3, 32), np.uint8))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "objects")
    store.create()
    return store


def put(store: Store, kind: Kind, data: bytes) -> StoredObject:
    return store.put(kind, "0" * 64, [data])


def parquet(table: pa.Table, **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **{"store_schema": False, "compression": "none"} | options)
    return sink.getvalue().to_pybytes()


def column(name: str, values: list[object]) -> pa.Table:
    at = SCHEMA.get_field_index(name)
    return ROWS.set_column(at, SCHEMA.field(name), pa.array(values, SCHEMA.field(name).type))


MANY = pa.concat_tables([ROWS.slice(0, 1)] * 100_000)
TABLES = {
    "no Parquet": b"PAR1 not really PAR1",
    "no bytes": b"",
    "a column less": parquet(ROWS.drop_columns(["digest"])),
    "a column that nobody needs": parquet(column("permanent", [False] * 3)),
    "a column more": parquet(ROWS.append_column("more", pa.array([1, 2, 3]))),
    "not sorted": parquet(column("record_id", ["b", "a", "c"])),
    "twice": parquet(column("record_id", ["a", "a", "c"])),
    "no length": parquet(column("length", [5, -1, 5])),
    "a huge length": parquet(column("length", [5, 1 << 40, 5])),
    "overlapping pictures": parquet(column("offset", [0, 0, 0])),
    "a bomb": parquet(MANY, compression="zstd"),
}


@pytest.mark.parametrize("data", TABLES.values(), ids=TABLES)
def test_rows_of_another_shape(store: Store, data: bytes) -> None:
    item = put(store, "records", data)
    with pytest.raises(VerificationError, match="does not hold the rows of a bucket"):
        read_rows(store, Bucket(0, 3, item, item))


def test_more_rows_than_bytes_are_not_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group of rows that claims to have 2^38 of them: PyArrow takes memory for all."""
    item = put(store, "records", FOUND.read_bytes())
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(VerificationError, match="does not hold the rows of a bucket"):
        read_rows(store, Bucket(0, 3, item, item))


def test_rows_as_they_are_written(store: Store) -> None:
    item = put(store, "records", parquet(ROWS, use_dictionary=False, compression="none"))
    assert read_rows(store, Bucket(0, 3, item, item)).equals(ROWS)


def test_rows_without_a_permanent_one_are_written_as_before(store: Store) -> None:
    """Without the column, which memory has all the same."""
    rows = column("permanent", [False] * 3)
    item = put(store, "records", parquet_of(rows))
    assert pq.read_schema(store.path(item)).names == PLAIN.names == SCHEMA.names[:-1]
    assert read_rows(store, Bucket(0, 3, item, item)).equals(rows)


def headed(header: object) -> bytes:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return len(text).to_bytes(8, "little") + text


def tensor(**fields: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4], **fields}


TENSORS = {
    "no bytes": b"",
    "a length alone": b"\xff" * 8,
    "a list": headed([]),
    "nested": headed(b"[" * 400),
    "no shape": headed({"features": {"dtype": "F32"}}),
    "a shape that is text": headed({"features": tensor(shape="11"), "checks": tensor()}),
    "a shape of thousands of digits": headed(b'{"features":{"shape":[' + b"9" * 450),
    "a shape below nothing": headed({"features": tensor(shape=[-1, -1])}),
    "a huge dimension": headed(
        {
            "features": tensor(shape=[3, 1 << 50], data_offsets=[0, 3 << 52]),
            "checks": tensor(dtype="U8", shape=[3, 8], data_offsets=[3 << 52, (3 << 52) + 24]),
        }
    ),
    "another type": save({"features": np.ones((3, 4)), "shard": np.ones(3)}),
    "another name": save({"feature": np.ones((3, 4), np.float32)}),
    "other dimensions": save({"features": np.ones(3, np.float32), "shard": np.ones((1, 1))}),
}


@pytest.mark.parametrize("data", TENSORS.values(), ids=TENSORS)
def test_arrays_of_another_shape(store: Store, data: bytes) -> None:
    item = put(store, "features", data)
    rows, digests = np.array([0, 2]), np.zeros((2, 32), np.uint8)
    for read in (
        lambda: read_features(store, item),
        lambda: read_feature_rows(store, item, rows, digests),
        lambda: read_clusters(store, item),
        lambda: read_shard_numbers(store, item),
        lambda: Constituent.from_bytes(data),
    ):
        with pytest.raises(VerificationError) as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", list(TENSORS.values())[:6], ids=list(TENSORS)[:6])
def test_headers_of_another_shape(store: Store, data: bytes) -> None:
    with pytest.raises(VerificationError):
        read_shapes(store, put(store, "constituents", data))


def test_features_as_they_are_written(store: Store) -> None:
    item = put(store, "features", FEATURES)
    rows = read_feature_rows(store, item, np.array([0, 2]), np.zeros((2, 32), np.uint8))
    assert (read_features(store, item)[[0, 2]] == rows).all()
