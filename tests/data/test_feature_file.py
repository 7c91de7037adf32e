"""Files of features: whole or by rows, what is read is what was stored for these records, and
nothing else is read."""

from pathlib import Path

import numpy as np
import pytest

from lmeraser_ray.data.feature_file import (
    CHECK,
    HEAD,
    Layout,
    pack_features,
    read_feature_rows,
    read_features,
)
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.store import Store, StoredObject

ROWS, DIMENSION = 9, 5
KEY = "0" * 64
FEATURES = np.random.default_rng(0).normal(size=(ROWS, DIMENSION)).astype(np.float32)
DIGESTS = np.random.default_rng(1).integers(0, 256, (ROWS, 32)).astype(np.uint8)
SOME = np.array([0, 3, 8])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.create()
    return store


@pytest.fixture
def item(store: Store) -> StoredObject:
    return store.put("features", KEY, [pack_features(FEATURES, DIGESTS)])


def damage(store: Store, item: StoredObject, at: int) -> None:
    """Turn one bit of a file."""
    path = store.path(item)
    data = bytearray(path.read_bytes())  # type: ignore[union-attr]
    data[at] ^= 1
    path.write_bytes(bytes(data))  # type: ignore[union-attr]


def test_rows_are_those_of_the_whole(store: Store, item: StoredObject) -> None:
    assert np.array_equal(read_features(store, item), FEATURES)
    assert np.array_equal(read_feature_rows(store, item, SOME, DIGESTS[SOME]), FEATURES[SOME])
    assert read_feature_rows(store, item, SOME[:0], DIGESTS[:0]).shape == (0, DIMENSION)


def test_no_other_row_is_read(
    store: Store, item: StoredObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0
    ranges = store.read_ranges

    def counted(item: StoredObject, offsets: list[int], lengths: list[int]) -> list[bytes]:
        nonlocal read
        read += sum(lengths)
        return ranges(item, offsets, lengths)

    monkeypatch.setattr(store, "read_ranges", counted)
    read_feature_rows(store, item, SOME, DIGESTS[SOME])
    assert read == HEAD + len(SOME) * (4 * DIMENSION + CHECK)


def test_every_bit_is_checked(store: Store, item: StoredObject) -> None:
    """Of the head, of the row and of its check; another row's damage is not this one's."""
    layout = Layout.of(store.path(item).read_bytes()[:HEAD])
    assert layout is not None and layout.size == store.path(item).stat().st_size
    width, rows = 4 * DIMENSION, SOME[1:2]
    ours = [range(layout.features), range(layout.features + 3 * width, layout.features + 4 * width)]
    ours.append(range(layout.checks + 3 * CHECK, layout.checks + 4 * CHECK))
    told = [b" "[0]]  # of the head, padding says nothing
    data = store.path(item).read_bytes()
    for at in [at for part in ours for at in part if at >= layout.features or data[at] not in told]:
        damage(store, item, at)
        with pytest.raises(VerificationError, match="is damaged"):
            read_feature_rows(store, item, rows, DIGESTS[rows])
        damage(store, item, at)
    damage(store, item, layout.features)
    assert np.array_equal(read_feature_rows(store, item, rows, DIGESTS[rows]), FEATURES[rows])


def test_a_row_of_another_record_is_refused(store: Store, item: StoredObject) -> None:
    with pytest.raises(VerificationError, match="a row does not have its check"):
        read_feature_rows(store, item, SOME, DIGESTS[SOME + np.array([0, 1, 0])])
