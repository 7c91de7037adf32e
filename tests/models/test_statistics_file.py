"""The file of a shard's statistics: the same bytes whatever they were summed from, and nothing but
statistics is read as such."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from lmeraser_ray.errors import VerificationError
from lmeraser_ray.models.learners.constituent import pack_labelled
from lmeraser_ray.models.learners.statistics import Statistics
from lmeraser_ray.models.learners.statistics_file import pack_statistics, read_statistics
from lmeraser_ray.storage.store import Store, StoredObject
from lmeraser_ray.storage.tensors import Arrays, load_arrays

LABELS = ("b", "a", "b", "c", "a")
INTEGERS = np.random.default_rng(0).integers(-99, 99, (5, 4)).astype(np.int16)


def of(*rows: int, gram: bool = True) -> Statistics:
    return Statistics.of(INTEGERS[list(rows)], [LABELS[row] for row in rows], gram=gram)


def stored(folder: Path, data: bytes) -> tuple[Store, StoredObject]:
    store = Store(folder)
    store.create()
    return store, store.put("statistics", "0" * 64, [data])


@pytest.mark.parametrize("gram", [True, False])
def test_what_is_written_is_read(tmp_path: Path, gram: bool) -> None:
    whole = of(*range(5), gram=gram)
    read = read_statistics(*stored(tmp_path, pack_statistics(whole)), gram=gram)
    assert (read.classes, read.squares) == (whole.classes, whole.squares)
    assert read.counts.tolist() == [2, 2, 1]
    assert np.array_equal(read.sums, whole.sums)
    assert read.gram is None if whole.gram is None else np.array_equal(read.gram, whole.gram)


def test_the_bytes_are_a_function_of_the_set() -> None:
    whole = pack_statistics(of(0, 1, 4))
    assert whole == pack_statistics(of(4, 0) + of(1)) == pack_statistics(of(*range(5)) - of(2, 3))


@pytest.mark.parametrize(
    "change",
    [
        {"counts": np.array([2, 2], np.int64)},
        {"counts": np.array([2, 2, 0], np.int64)},
        {"sums": np.zeros((3, 5), np.int64)},
        {"sums": np.zeros((3, 4), np.float64)},
        {"squares": np.array([-1], np.int64)},
        {"squares": np.zeros(0, np.int64)},
        {"gram": np.zeros(9, np.int64)},
        {"more": np.zeros(1, np.int64)},
    ],
    ids=str,
)
def test_other_arrays_are_refused(tmp_path: Path, change: Arrays) -> None:
    arrays = {**load_arrays(pack_statistics(of(*range(5)))), **change}
    with pytest.raises(VerificationError, match=r"statistics/0.* is damaged"):
        read_statistics(*stored(tmp_path, pack_labelled(("a", "b", "c"), arrays, {})), gram=True)


@pytest.mark.parametrize("classes", [(), ("a", "b"), ("b", "a", "c"), ("a", "a", "c")], ids=str)
def test_other_classes_are_refused(tmp_path: Path, classes: tuple[str, ...]) -> None:
    arrays = load_arrays(pack_statistics(of(*range(5))))
    with pytest.raises(VerificationError):
        read_statistics(*stored(tmp_path, pack_labelled(classes, arrays, {})), gram=True)


@pytest.mark.parametrize("data", [b"", b"x" * 99, save({"counts": np.zeros(1, np.int64)})])
def test_another_file_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(VerificationError):
        read_statistics(*stored(tmp_path, data), gram=True)


def test_a_gram_matrix_that_is_not_wanted_is_refused(tmp_path: Path) -> None:
    store, item = stored(tmp_path, pack_statistics(of(0)))
    with pytest.raises(VerificationError):
        read_statistics(store, item, gram=False)
