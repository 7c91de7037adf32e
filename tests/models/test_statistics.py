"""Integer features and their statistics: exact, additive, and a downdate that is a
recomputation."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lmeraser_ray.config import ClassMeansConfig
from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.models.learners import quantize as module
from lmeraser_ray.models.learners.neighbors import EXACT_DISTANCES
from lmeraser_ray.models.learners.quantize import (
    LIMIT,
    clip,
    fitting,
    products,
    quantize,
    quantize_shard,
    quantum_of,
    saturated,
    squared_norms,
)
from lmeraser_ray.models.learners.statistics import Statistics, gram_of

WIDTH = 5


def integers(n: int, d: int = WIDTH, seed: int = 0) -> NDArray[np.int16]:
    """Over the whole range, both limits included."""
    found = (
        np.random.default_rng(seed).integers(-LIMIT, LIMIT, (n, d), endpoint=True).astype(np.int16)
    )
    found[: n // 2] = np.where(found[: n // 2] > 0, LIMIT, -LIMIT)
    return found


def names(n: int, classes: int = 4, seed: int = 0) -> list[str]:
    return [f"c{k}" for k in np.random.default_rng(seed).integers(0, classes, n)]


def part(
    x: NDArray[np.int16],
    labels: list[str],
    rows: NDArray[np.int64] | list[int],
    *,
    gram: bool = True,
) -> Statistics:
    return Statistics.of(x[rows], [labels[i] for i in rows], gram=gram)


def content(statistics: Statistics) -> tuple[object, ...]:
    """All that is in it, bit for bit."""
    gram = (
        None if statistics.gram is None else (statistics.gram.dtype.str, statistics.gram.tobytes())
    )
    arrays = [(a.dtype.str, a.shape, a.tobytes()) for a in (statistics.counts, statistics.sums)]
    return (statistics.classes, *arrays, statistics.squares, gram)


class TestQuantize:
    def test_to_the_nearest_multiple_ties_to_even(self) -> None:
        features = np.array([[0.24, 0.26, 0.25, 0.75, -0.25, -0.3]], np.float32)
        assert quantize(features, quantum=0.5).tolist() == [[0, 1, 0, 2, 0, -1]]
        assert quantize(features, quantum=0.5).dtype == np.int16

    @given(st.lists(st.floats(-127, 127, width=32), min_size=1, max_size=20))
    def test_off_by_half_a_quantum_at_most(self, values: list[float]) -> None:
        features = np.array([values], np.float32)
        assert np.abs(quantize(features, quantum=2**-8) * 2.0**-8 - features).max() <= 2**-9

    def test_saturation_is_symmetric_and_seen(self) -> None:
        found = quantize(np.array([[1e30, -1e30, 127, 0], [0, 0, 0, 0]], np.float32), quantum=2**-8)
        assert found[0].tolist() == [LIMIT, -LIMIT, 127 * 256, 0]
        assert saturated(found).tolist() == [0.5, 0]

    def test_a_shard_may_saturate_a_little(self) -> None:
        """One value of a hundred in each record is kept, two are refused, with a quantum that would
        do."""
        features = np.zeros((3, 100), np.float32)
        features[:, 0] = 300
        assert quantize_shard(features, quantum=2**-8)[:, 0].tolist() == [LIMIT] * 3
        features[1, 1] = -200
        with pytest.raises(
            ConfigError,
            match=r"2.0% of a record's features are beyond ±127.996.* learner.quantum to 0.015625",
        ) as caught:
            quantize_shard(features, quantum=2**-8)
        assert "the largest is 300" in str(caught.value)
        assert not saturated(quantize_shard(features, quantum=0.015625)).any()

    def test_no_deletion_makes_a_shard_be_refused(self) -> None:
        """Judged over the shard, 1 in 100 would become 1 in 50 when the clean record goes."""
        features = np.zeros((2, 100), np.float32)
        features[0, 0] = 300
        quantize_shard(features, quantum=2**-8)
        quantize_shard(features[:1], quantum=2**-8)

    @pytest.mark.parametrize("largest", [1.0, 127.99, 128.0, 1000.0, 32766.0, 32767.0, 0.001])
    def test_the_advised_quantum_fits_and_half_of_it_does_not(self, largest: float) -> None:
        features, advised = np.full((1, 1), largest, np.float32), fitting(largest)
        assert not saturated(quantize(features, quantum=advised)).any()
        assert advised / 2 * (LIMIT - 1) < largest

    @pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
    def test_a_feature_that_is_no_number(self, wrong: float) -> None:
        with pytest.raises(ConfigError, match="not finite"):
            quantize(np.array([[0, wrong]], np.float32), quantum=1.0)

    def test_the_quantum_follows_the_readout(self) -> None:
        config = ClassMeansConfig()
        assert [quantum_of(config, kind) for kind in ("none", "layer", "l2")] == [
            2**-8,
            2**-10,
            2**-15,
        ]
        assert quantum_of(ClassMeansConfig(quantum=0.3), "none") == 0.3
        unit = np.array([[1.0, -1.0]], np.float32)
        assert quantize(unit, quantum=quantum_of(config, "l2")).tolist() == [[LIMIT, -LIMIT]]


class TestProducts:
    """Against Python's integers, at the limits of int16."""

    def test_products_are_exact(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "BLOCK", 3)  # several blocks either way, the last ones partial
        left, right = integers(7, 301, 1), integers(8, 301, 2)
        exact = [
            [sum(int(a) * int(b) for a, b in zip(x, y, strict=True)) for y in right] for x in left
        ]
        assert [[int(v) for v in row] for row in products(left, right)] == exact

    def test_norms_and_gram_are_exact(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("lmeraser_ray.models.learners.statistics.BLOCK", 4)
        x = integers(11)
        rows = [[int(v) for v in row] for row in x]
        assert squared_norms(x).tolist() == [sum(v * v for v in row) for row in rows]
        assert gram_of(x).tolist() == [
            [sum(row[i] * row[j] for row in rows) for j in range(WIDTH)] for i in range(WIDTH)
        ]
        assert gram_of(x).dtype == squared_norms(x).dtype == np.int64

    def test_the_bound_is_where_float64_ends(self) -> None:
        """2^23 products of 2^30 are 2^53, and one more unit would be lost: float32 loses it long
        before."""
        assert module.EXACT_TERMS * 2**30 == 2**53
        assert 3 * EXACT_DISTANCES * 2**30 < 2**53 <= 6 * EXACT_DISTANCES * 2**30
        assert float(2**53 - 1) != float(2**53) == float(2**53 + 1)
        assert module.BLOCK <= module.EXACT_TERMS
        odd = np.array([[LIMIT] * 999], np.int16)
        assert products(odd, odd)[0, 0] == 999 * LIMIT**2 != int(np.float32(999 * LIMIT**2))

    def test_nothing_of_nothing(self) -> None:
        none = np.zeros((0, 3), np.int16)
        assert products(none, none).shape == (0, 0)
        assert squared_norms(none).tolist() == []
        assert not gram_of(none).any()

    def test_clip_rounds_once(self) -> None:
        assert clip(np.array([0.5, 1.5, -0.5, 4e9, -4e9])).tolist() == [0, 2, 0, LIMIT, -LIMIT]


class TestStatistics:
    def test_what_they_are(self) -> None:
        x = np.array([[1, -2], [3, 4], [5, 6]], np.int16)
        found = Statistics.of(x, ["b", "a", "b"], gram=True)
        assert (found.classes, found.counts.tolist(), found.sums.tolist()) == (
            ("a", "b"),
            [1, 2],
            [[3, 4], [6, 4]],
        )
        assert (found.squares, found.records) == (1 + 4 + 9 + 16 + 25 + 36, 3)
        assert found.gram is not None
        assert found.gram.tolist() == (x.T.astype(int) @ x).tolist()
        assert Statistics.of(x, ["b", "a", "b"], gram=False).gram is None

    @settings(deadline=None, max_examples=150)
    @given(st.data(), st.integers(1, 12), st.integers(1, 5), st.booleans())
    def test_a_downdate_is_a_recomputation(
        self, data: st.DataObject, n: int, classes: int, gram: bool
    ) -> None:
        """Bit for bit, for every subset: records, whole classes, everything."""
        seed = data.draw(st.integers(0, 2**32))
        x, labels = integers(n, seed=seed), names(n, classes, seed)
        gone = sorted(data.draw(st.sets(st.integers(0, n - 1))))
        left = [i for i in range(n) if i not in gone]
        downdated = part(x, labels, list(range(n)), gram=gram) - part(x, labels, gone, gram=gram)
        assert content(downdated) == content(part(x, labels, left, gram=gram))

    @settings(deadline=None, max_examples=100)
    @given(st.data(), st.integers(1, 12))
    def test_any_order_and_any_split(self, data: st.DataObject, n: int) -> None:
        x, labels = integers(n, seed=n), names(n, seed=n)
        order = data.draw(st.permutations(range(n)))
        cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=4)))
        total = part(x, labels, [])
        for start, stop in pairwise([0, *cuts, n]):
            total = part(x, labels, order[start:stop]) + total
        assert content(total) == content(part(x, labels, list(range(n))))

    def test_a_class_goes_with_its_last_record_and_comes_back(self) -> None:
        x, labels = integers(4), ["a", "b", "b", "c"]
        everything = part(x, labels, [0, 1, 2, 3])
        without = everything - part(x, labels, [0]) - part(x, labels, [3])
        assert (without.classes, without.counts.tolist()) == (("b",), [2])
        assert content(without + part(x, labels, [3, 0])) == content(everything)
        nothing = without - part(x, labels, [1, 2])
        assert (nothing.classes, nothing.records, nothing.squares, nothing.sums.shape) == (
            (),
            0,
            0,
            (0, WIDTH),
        )

    def test_what_was_never_there_cannot_go(self) -> None:
        x, labels = integers(4), ["a", "b", "b", "c"]
        some = part(x, labels, [0, 1])
        for gone in ([3], [1, 2], [0, 1, 2]):
            with pytest.raises(DataError, match="not all among"):
                some - part(x, labels, gone)
        with pytest.raises(DataError, match="not all among"):  # as many of the class, but others
            some - part(x, labels, [2])

    def test_a_record_of_zeros_that_was_never_there(self) -> None:
        """Only the count tells."""
        some = Statistics.of(np.ones((2, 3), np.int16), ["a", "a"], gram=False)
        with pytest.raises(DataError, match="not all among"):
            some - Statistics.of(np.zeros((1, 3), np.int16), ["b"], gram=False)

    def test_sums_are_exact_where_float32_and_int32_are_not(self) -> None:
        n = 100_001
        found = Statistics.of(np.full((n, 1), LIMIT, np.int16), ["a"] * n, gram=True)
        assert found.sums.tolist() == [[n * LIMIT]]
        assert found.gram is not None
        assert found.gram.tolist() == [[n * LIMIT**2]] == [[found.squares]]

    def test_statistics_of_different_features_do_not_mix(self) -> None:
        with pytest.raises(ValueError, match="different features"):
            Statistics.of(integers(2), ["a", "b"], gram=True) + Statistics.of(
                integers(2, 3), ["a", "b"], gram=True
            )
        with pytest.raises(ValueError, match="different features"):
            Statistics.of(integers(2), ["a", "b"], gram=True) + Statistics.of(
                integers(2), ["a", "b"], gram=False
            )
