"""The closed-form learners: what they compute, that their answers are probabilities, and that a
downdate leaves the bytes of a training."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lmeraser_ray.config import ClassMeansConfig, NeighborsConfig, RidgeConfig
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.learners import neighbors, ridge
from lmeraser_ray.models.learners.base import FeatureLearner, ShardData, Stage, Watch
from lmeraser_ray.models.learners.class_means import ClassMeans, means_and_spread
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.neighbors import Neighbors, nearest
from lmeraser_ray.models.learners.quantize import quantize
from lmeraser_ray.models.learners.ridge import Ridge, projection, solve_dual, solve_primal
from lmeraser_ray.models.learners.statistics import Statistics
from lmeraser_ray.models.numerics import one_thread

QUANTUM = 2.0**-10
KEY = "5a" * 32
D = 6


@pytest.fixture(autouse=True)
def one_torch_thread() -> Iterator[None]:
    with one_thread():
        yield


def shard(n: int = 30, classes: int = 3, d: int = D, seed: int = 0) -> ShardData:
    """Classes that are apart: means along the axes."""
    rng = np.random.default_rng(seed)
    kinds = np.arange(n) % classes
    features = rng.normal(0, 0.3, (n, d)) + 2 * np.eye(max(d, classes))[kinds][:, :d]
    return ShardData(KEY, features.astype(np.float32), tuple(f"c{k}" for k in kinds))


def some(data: ShardData, rows: list[int]) -> ShardData:
    return ShardData(data.key, data.inputs[rows], tuple(data.labels[i] for i in rows))


def learners() -> list[FeatureLearner]:
    means, near = (
        ClassMeans(ClassMeansConfig(), quantum=QUANTUM),
        Neighbors(NeighborsConfig(neighbors=3), quantum=QUANTUM),
    )
    plain, projected = (Ridge(RidgeConfig(projection=width), quantum=QUANTUM) for width in (0, 40))
    return [means, near, plain, projected]


IDS = ["class_means", "neighbors", "ridge", "ridge_projected"]
each = pytest.mark.parametrize("at", range(4), ids=IDS)


def statistics(learner: ClassMeans | Ridge, data: ShardData) -> Statistics:
    x = quantize(data.inputs, quantum=QUANTUM)
    is_ridge = isinstance(learner, Ridge)
    return Statistics.of(
        learner.project(x) if isinstance(learner, Ridge) else x, data.labels, gram=is_ridge
    )


class TestEach:
    @each
    def test_it_learns_and_its_answers_are_probabilities(self, at: int) -> None:
        learner, data = learners()[at], shard()
        found = learner.train(data)
        fresh = shard(seed=1)
        answer = learner.answer(found, fresh.inputs)
        assert (answer.shape, answer.dtype) == ((30, 3), np.float32)
        assert answer.sum(1) == pytest.approx(np.ones(30), abs=1e-6)
        assert (answer >= 0).all()
        assert (
            np.mean(
                [
                    found.classes[i] == label
                    for i, label in zip(answer.argmax(1), fresh.labels, strict=True)
                ]
            )
            >= 0.9
        )
        assert (learner.needs, learner.joint, learner.needs_classifier) == (
            "features",
            False,
            False,
        )
        assert found.about == {"learner": learner.identity()["kind"]}

    @each
    def test_bytes_are_a_function_of_the_shard(self, at: int) -> None:
        projection.cache_clear()
        torch.manual_seed(1)
        before, first = torch.get_rng_state(), learners()[at].train(shard()).to_bytes()
        assert torch.equal(torch.get_rng_state(), before)
        projection.cache_clear()
        torch.manual_seed(2)
        learners()[at].train(shard(seed=3))
        assert learners()[at].train(shard()).to_bytes() == first
        assert learners()[at].train(some(shard(), list(range(29)))).to_bytes() != first
        assert Constituent.from_bytes(first).to_bytes() == first

    @each
    def test_the_key_and_an_earlier_stage_do_not_matter(self, at: int) -> None:
        """A stage sees all records up to its slice, so a closed form starts afresh."""
        learner, data = learners()[at], shard()
        early = learner.train(some(data, [0, 1, 2, 3]))
        late = learner.train(
            ShardData("00" * 32, data.inputs, data.labels), stage=Stage(early, 0.5)
        )
        assert late.to_bytes() == learner.train(data).to_bytes()

    @each
    def test_an_answer_does_not_depend_on_its_batch_mates(self, at: int) -> None:
        learner = learners()[at]
        found, queries = learner.train(shard()), shard(seed=2).inputs
        together = learner.answer(found, queries)
        alone = np.concatenate([learner.answer(found, query[None]) for query in queries])
        assert together == pytest.approx(alone, abs=1e-6)
        assert learner.answer(found, np.zeros((0, D), np.float32)).shape == (0, 3)

    @each
    @pytest.mark.parametrize("n", [1, 5])
    def test_one_class_is_certain(self, at: int, n: int) -> None:
        learner, data = learners()[at], shard(n, classes=1)
        assert learner.answer(learner.train(data), shard().inputs[:2]).tolist() == [[1], [1]]

    @each
    @pytest.mark.parametrize("n", [2, 3])
    def test_one_record_of_each_class(self, at: int, n: int) -> None:
        learner, data = learners()[at], shard(n)
        answer = learner.answer(learner.train(data), data.inputs)
        assert np.isfinite(answer).all()
        assert answer.sum(1) == pytest.approx(np.ones(n), abs=1e-6)
        if at != 1:  # all records are neighbours
            assert answer.argmax(1).tolist() == list(range(n))

    @each
    def test_records_that_are_all_alike(self, at: int) -> None:
        learner, data = (
            learners()[at],
            ShardData(KEY, np.ones((4, D), np.float32), ("a", "a", "b", "a")),
        )
        answer = learner.answer(
            learner.train(data), np.full((1, D), 2, np.float32)
        )  # a wrong answer is no reason for a NaN
        assert answer.sum() == pytest.approx(1)
        if at == 1:
            assert answer.tolist() == [[pytest.approx(2 / 3), pytest.approx(1 / 3)]]

    @each
    def test_saturation_and_nonsense_are_refused(self, at: int) -> None:
        learner, data = learners()[at], shard()
        found = learner.train(data)
        far = data.inputs * np.float32(100)
        with pytest.raises(ConfigError, match=r"set learner\.quantum to"):
            learner.train(ShardData(KEY, far, data.labels))
        assert np.isfinite(learner.answer(found, far)).all()
        with pytest.raises(ConfigError, match="not finite"):
            learner.train(ShardData(KEY, data.inputs * np.float32(np.nan), data.labels))

    @each
    def test_who_watches_sees_each_record_once(self, at: int) -> None:
        records: list[int] = []
        epochs: list[Constituent] = []
        found = learners()[at].train(
            shard(), watch=Watch(records.append, lambda now: epochs.append(now()))
        )
        assert records == [30]
        assert [one.to_bytes() for one in epochs] == [found.to_bytes()]

    @each
    def test_identity(self, at: int) -> None:
        learner = learners()[at]
        assert learner.identity()["quantum"] == QUANTUM
        assert learner.identity()["recipe"] == 1
        assert ("seed" in learner.identity()) == (at == 3)


class TestDowndate:
    """Unlearning by subtraction gives the bytes of a training without the record."""

    @settings(deadline=None, max_examples=40)
    @given(st.sets(st.integers(0, 29), max_size=30 - D - 1), st.sampled_from([0, 2, 4]))
    def test_of_any_records(self, gone: set[int], at: int) -> None:
        """Class means, ridge, and ridge on a projection with fewer features than records."""
        learner = Ridge(RidgeConfig(projection=4), quantum=QUANTUM) if at == 4 else learners()[at]
        assert isinstance(learner, ClassMeans | Ridge)
        data, left = shard(), [i for i in range(30) if i not in gone]
        downdated = statistics(learner, data) - statistics(learner, some(data, sorted(gone)))
        assert (
            learner.constituent(downdated).to_bytes() == learner.train(some(data, left)).to_bytes()
        )

    @pytest.mark.parametrize("at", [0, 2])
    def test_of_all_records_of_a_class(self, at: int) -> None:
        learner, data = learners()[at], shard()
        assert isinstance(learner, ClassMeans | Ridge)
        for kept in ({0, 2}, {1}):
            gone, left = (
                [i for i in range(30) if (i % 3 in kept) == keep] for keep in (False, True)
            )
            found = learner.constituent(
                statistics(learner, data) - statistics(learner, some(data, gone))
            )
            assert found.classes == tuple(f"c{k}" for k in sorted(kept))
            assert found.to_bytes() == learner.train(some(data, left)).to_bytes()

    def test_floats_would_not_do(self) -> None:
        """The control: with float sums, the bits remember the record."""
        x = shard(1000).inputs
        assert not np.array_equal(x.sum(0) - x[7], np.delete(x, 7, 0).sum(0))


class TestClassMeans:
    def test_the_nearest_mean_and_its_temperature(self) -> None:
        data = ShardData(
            KEY, np.array([[0, 0], [2, 0], [10, 0], [12, 0]], np.float32), ("a", "a", "b", "b")
        )
        learner = ClassMeans(ClassMeansConfig(), quantum=0.5)
        found = learner.train(data)
        assert found.tensors["sums"].tolist() == [[4, 0], [44, 0]]
        means, spread = means_and_spread(found)
        assert (means.tolist(), spread) == ([[2, 0], [22, 0]], (4 * 2**2) / 2)
        answer = learner.answer(found, np.array([[6, 0], [5.5, 0]], np.float32))
        odds = np.exp(
            (11**2 - 9**2) / (0.15 * 8)
        )  # 5.5 is 9 quanta from one mean and 11 from the other
        assert answer[0].tolist() == [0.5, 0.5]
        assert answer[1] == pytest.approx([odds / (1 + odds), 1 / (1 + odds)], rel=1e-5)


class TestNeighbors:
    @settings(deadline=None, max_examples=50)
    @given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 10**6))
    def test_the_k_nearest_by_distance_then_by_order(self, n: int, k: int, seed: int) -> None:
        """Against a stable sort, on a grid so coarse that most distances are ties."""
        rng = np.random.default_rng(seed)
        records, queries = (rng.integers(-1, 2, (m, 3)).astype(np.int16) for m in (n, 4))
        distances = np.square(queries[:, None].astype(int) - records[None]).sum(2)
        k = min(k, n)
        expected = np.zeros((4, n), bool)
        np.put_along_axis(expected, np.argsort(distances, axis=1, kind="stable")[:, :k], True, 1)
        norms = np.square(records.astype(np.int64)).sum(1)
        assert np.array_equal(nearest(queries, records, norms, k), expected)

    def test_votes_are_shares_and_k_is_at_most_n(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(neighbors, "QUERIES", 1)
        data = ShardData(KEY, np.array([[0], [1], [5]], np.float32), ("a", "b", "b"))
        queries = np.array([[0], [4]], np.float32)
        for k, expected in (
            (1, [[1, 0], [0, 1]]),
            (2, [[0.5, 0.5], [0, 1]]),
            (9, [[1 / 3, 2 / 3]] * 2),
        ):
            learner = Neighbors(NeighborsConfig(neighbors=k), quantum=QUANTUM)
            assert learner.answer(learner.train(data), queries) == pytest.approx(
                np.array(expected), abs=1e-6
            )
        assert learner.train(data).tensors["features"].dtype == np.int16


def reference(
    x: NDArray[np.int16], labels: tuple[str, ...], penalty: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ridge by NumPy, from the centred features."""
    centred = x - x.mean(0)
    y = (np.array(labels)[:, None] == np.unique(labels)).astype(float)
    strength = penalty * np.square(centred).sum(1).mean()
    weight = np.linalg.solve(
        centred.T @ centred + strength * np.eye(x.shape[1]), centred.T @ (y - y.mean(0))
    ).T
    return weight, y.mean(0) - weight @ x.mean(0)


class TestRidge:
    @pytest.mark.parametrize("n", [3, 5, 6, 7, 40])
    @pytest.mark.parametrize("penalty", [0.001, 0.01, 1.0])
    def test_primal_and_dual_are_the_closed_form(self, n: int, penalty: float) -> None:
        data = shard(n)
        x = quantize(data.inputs, quantum=QUANTUM)
        weight, bias = reference(x, data.labels, penalty)
        for found in (
            solve_primal(Statistics.of(x, data.labels, gram=True), penalty),
            solve_dual(x, data.labels, penalty),
        ):
            assert found[0].numpy() == pytest.approx(weight, rel=1e-7, abs=1e-12)
            assert found[1].numpy() == pytest.approx(bias, abs=1e-9)
        trained = Ridge(RidgeConfig(penalty=penalty), quantum=QUANTUM).train(data).tensors
        assert trained["weight"] == pytest.approx(weight, rel=1e-5, abs=1e-9)
        assert trained["weight"].dtype == trained["bias"].dtype == np.float32

    def test_an_answer_is_the_softmax_of_eight_scores(self) -> None:
        learner, data = Ridge(RidgeConfig(), quantum=QUANTUM), shard()
        x = quantize(data.inputs, quantum=QUANTUM)
        weight, bias = reference(x, data.labels, 0.01)
        odds = np.exp(8 * (x @ weight.T + bias))
        assert learner.answer(learner.train(data), data.inputs) == pytest.approx(
            odds / odds.sum(1, keepdims=True), abs=1e-5
        )

    def test_the_side_is_chosen_by_the_shard(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sides: list[str] = []
        for name, solve in (("solve_primal", solve_primal), ("solve_dual", solve_dual)):
            monkeypatch.setattr(
                ridge,
                name,
                lambda *args, name=name, solve=solve: (sides.append(name), solve(*args))[1],
            )
        for n in (D - 1, D, D + 1):
            Ridge(RidgeConfig(), quantum=QUANTUM).train(shard(n))
        assert sides == ["solve_dual", "solve_primal", "solve_primal"]

    def test_the_projection(self) -> None:
        """relu(x W), W normal / sqrt(d): from float arithmetic up to rounding; the same whoever the
        batch-mates are."""
        learner = Ridge(RidgeConfig(projection=50), quantum=QUANTUM)
        x = quantize(shard(40, d=30).inputs, quantum=QUANTUM)
        matrix = projection(30, 50, 0).T / 2**12
        found = learner.project(x)
        assert np.abs(found - np.maximum(x @ matrix / np.sqrt(30), 0)).max() <= 0.5 + 1e-6
        assert np.array_equal(np.concatenate([learner.project(row[None]) for row in x]), found)
        assert 0.3 < (found > 0).mean() < 0.7
        assert matrix.std() == pytest.approx(1, abs=0.05)
        assert not np.array_equal(matrix.T, projection(30, 50, 1) / 2**12)

    def test_a_projection_solves_what_is_not_linear(self) -> None:
        """Two classes around two others: no line through the origin's neighbourhood tells them
        apart, random ReLUs do."""
        x = np.random.default_rng(0).normal(0, 1, (400, 4)).astype(np.float32)
        data = ShardData(KEY, x, tuple("ab"[int(a * b > 0)] for a, b in x[:, :2]))
        right = []
        for width in (0, 300):
            learner = Ridge(RidgeConfig(projection=width), quantum=QUANTUM)
            answer = learner.answer(learner.train(some(data, list(range(300)))), x[300:])
            right.append(
                np.mean(
                    [
                        ("a", "b")[i] == label
                        for i, label in zip(answer.argmax(1), data.labels[300:], strict=True)
                    ]
                )
            )
        assert right[0] < 0.65
        assert right[1] > 0.8

    def test_the_smallest_penalty_solves_what_is_degenerate(self) -> None:
        """Features that are all alike: the configuration refuses what float64 could not solve."""
        data = ShardData(KEY, np.repeat(shard().inputs[:, :1], D, axis=1), shard().labels)
        found = Ridge(RidgeConfig(penalty=1e-6), quantum=QUANTUM).train(data)
        assert all(np.isfinite(tensor).all() for tensor in found.tensors.values())
        with pytest.raises(ValueError, match="penalty"):
            RidgeConfig(penalty=1e-7)
