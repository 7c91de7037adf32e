"""Aggregation: who answers, with what weight, and that what comes out is a probability."""

import warnings
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmeraser_ray.config import Aggregation, AllConfig, HashConfig, NearestConfig
from lmeraser_ray.models.aggregation.answers import Answers
from lmeraser_ray.models.aggregation.routes import Predictions, Queries, Routes, Serving, combine
from lmeraser_ray.models.aggregation.routes import route as route_by

PROTOTYPES = np.array([[0.0], [4.0], [10.0]])


def queries(*values: float) -> np.ndarray:
    return np.array([[v] for v in values], np.float32)


def never() -> list[bytes]:
    raise AssertionError("this was not to be asked")


def route(features: np.ndarray, prototypes: np.ndarray, config: NearestConfig) -> Routes:
    """By the nearest prototypes, for which no pixel is read."""
    return route_by(
        config,
        Queries(len(features), lambda: features, never),
        Serving(tuple(range(len(prototypes))), prototypes),
        seed=0,
    )


def by_pixels(config: Aggregation, pixels: Sequence[bytes], shards: int, seed: int = 0) -> Routes:
    """Where there are no prototypes, for which no feature is computed."""
    return route_by(
        config,
        Queries(len(pixels), never, lambda: list(pixels)),
        Serving(tuple(range(shards)), None),
        seed=seed,
    )  # type: ignore[arg-type]


def answers(classes: str, *rows: list[float]) -> Answers:
    return Answers(tuple(classes), np.array(rows, np.float32))


def test_the_papers_rule_one_shard_answers() -> None:
    routes = route(queries(1, 9, 3), PROTOTYPES, NearestConfig(shards=1))
    assert routes.shards.tolist() == [[0], [2], [1]]
    assert routes.weights.tolist() == [[1], [1], [1]]
    assert {k: v.tolist() for k, v in routes.queries().items()} == {0: [0], 1: [2], 2: [1]}


def test_ties_between_prototypes_go_to_the_first() -> None:
    assert route(queries(2), PROTOTYPES, NearestConfig(shards=1)).shards.tolist() == [[0]]
    same = np.array([[1.0], [1.0], [1.0]])
    assert route(queries(5), same, NearestConfig(shards=3)).shards.tolist() == [[0, 1, 2]]


def test_plain_mean() -> None:
    routes = route(queries(1), PROTOTYPES, NearestConfig(shards=2, temperature=None))
    assert routes.shards.tolist() == [[0, 1]]
    assert routes.weights.tolist() == [[0.5, 0.5]]


def test_weights_fall_with_the_distance_as_documented() -> None:
    routes = route(queries(1), PROTOTYPES, NearestConfig(shards=3, temperature=2.0))
    raw = [1, np.exp(-(9 / 1 - 1) / 2), np.exp(-(81 / 1 - 1) / 2)]
    assert routes.weights[0] == pytest.approx(np.array(raw) / sum(raw))


@pytest.mark.parametrize("far", [4.0, 1e3, 1e18])
def test_a_query_that_is_a_prototype(far: float) -> None:
    """Singletons are prototypes of themselves: the distance is 0, the answer is that shard's alone,
    and no warning reaches the terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        routes = route(queries(0), np.array([[0.0], [far]]), NearestConfig(shards=2))
    assert routes.weights.tolist() == [[1, 0]]


def test_two_prototypes_at_distance_zero_share() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert route(
            queries(3), np.array([[3.0], [3.0]]), NearestConfig(shards=2)
        ).weights.tolist() == [[0.5, 0.5]]


def test_more_shards_asked_for_than_there_are() -> None:
    assert route(queries(1), PROTOTYPES, NearestConfig(shards=99)).shards.shape == (1, 3)


def test_no_queries() -> None:
    routes = route(np.empty((0, 1), np.float32), PROTOTYPES, NearestConfig())
    assert routes.shards.shape == (0, 3)
    predictions = combine(routes, routes.queries(), {}, ("a", "b"))
    assert predictions.labels == [] and predictions.probabilities.shape == (0, 2)


def test_a_query_is_routed_alone_as_among_many() -> None:
    """More than one block of distances, and every row is what it would be by itself."""
    many = np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float32)
    prototypes = np.random.default_rng(1).normal(size=(7, 3))
    whole = route(many, prototypes, NearestConfig())
    for at in (0, 4095, 4096, 4999):
        alone = route(many[at : at + 1], prototypes, NearestConfig())
        assert alone.shards[0].tolist() == whole.shards[at].tolist()
        assert alone.weights[0].tolist() == whole.weights[at].tolist()


def test_classes_that_a_shard_has_never_seen_have_probability_zero() -> None:
    routes = Routes(np.array([[0, 1], [1, 0]]), np.array([[0.5, 0.5], [0.75, 0.25]]))
    found = combine(
        routes,
        routes.queries(),
        {0: answers("ac", [0.6, 0.4], [1, 0]), 1: answers("b", [1.0], [1.0])},
        ("a", "b", "c"),
    )
    assert found.classes == ("a", "b", "c")
    assert found.probabilities == pytest.approx(np.array([[0.3, 0.5, 0.2], [0.25, 0.75, 0]]))
    assert found.labels == ["b", "b"]


def test_the_columns_are_those_of_the_state_whichever_shards_were_asked() -> None:
    routes = Routes(np.array([[0]]), np.array([[1.0]]))
    found = combine(routes, routes.queries(), {0: answers("c", [1.0])}, ("a", "b", "c"))
    assert found.classes == ("a", "b", "c")
    assert found.probabilities.tolist() == [[0, 0, 1]]


def test_ties_between_classes_go_to_the_first() -> None:
    routes = Routes(np.array([[0, 1]]), np.array([[0.5, 0.5]]))
    assert combine(
        routes, routes.queries(), {0: answers("z", [1.0]), 1: answers("a", [1.0])}, ("a", "z")
    ).labels == ["a"]


def test_each_shard_is_asked_only_its_queries() -> None:
    routes = route(queries(0, 10, 5), PROTOTYPES, NearestConfig(shards=2, temperature=None))
    asked = routes.queries()
    assert {k: v.tolist() for k, v in asked.items()} == {0: [0, 2], 1: [0, 1, 2], 2: [1]}


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32),
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(1, 8),
    st.sampled_from([None, 0.01, 0.15, 100.0]),
)
def test_what_comes_out_is_a_probability(
    seed: int, k: int, m: int, q: int, temperature: float | None
) -> None:
    """Rows sum to 1, and equal the weighted sum written out."""
    rng = np.random.default_rng(seed)
    routes = route(
        rng.normal(size=(q, 2)).astype(np.float32),
        rng.normal(size=(k, 2)),
        NearestConfig(shards=m, temperature=temperature),
    )
    assert routes.weights.sum(1) == pytest.approx(np.ones(q))
    assert (np.diff(routes.weights, axis=1) <= 1e-12).all(), "the nearest weighs most"
    asked, told = routes.queries(), {}
    for shard, rows in asked.items():
        names = sorted(rng.choice(list("abcd"), rng.integers(1, 5), replace=False))
        raw = rng.random((len(rows), len(names))) + 0.01
        told[shard] = Answers(tuple(names), (raw / raw.sum(1, keepdims=True)).astype(np.float32))
    found = combine(routes, asked, told, tuple("abcd"))
    assert found.classes == tuple("abcd")
    assert found.probabilities.sum(1) == pytest.approx(np.ones(q), abs=1e-5)
    for i in range(q):
        for c, name in enumerate(found.classes):
            expected = sum(
                weight
                * told[shard].probabilities[
                    asked[shard].tolist().index(i), told[shard].classes.index(name)
                ]
                for shard, weight in zip(
                    routes.shards[i].tolist(), routes.weights[i].tolist(), strict=True
                )
                if name in told[shard].classes
            )
            assert found.probabilities[i, c] == pytest.approx(expected, abs=1e-6)


def everyone(*rows: list[float], vote: bool) -> Predictions:
    """Every shard's answer to one query, over the classes a, b, c."""
    routes = by_pixels(AllConfig(combine="vote" if vote else "mean"), [b""], len(rows))
    return combine(
        routes,
        routes.queries(),
        {shard: answers("abc", row) for shard, row in enumerate(rows)},
        tuple("abc"),
    )


class TestAll:
    """Every shard answers, as in SISA."""

    def test_every_shard_is_asked_every_query_and_nothing_is_looked_at(self) -> None:
        config = AllConfig()
        queries = Queries(2, never, never)  # type: ignore[arg-type]
        routes = route_by(config, queries, Serving((4, 7, 9), None), seed=0)
        assert routes.shards.tolist() == [[0, 1, 2], [0, 1, 2]], (
            "places among the shards that have records, not their numbers"
        )
        assert routes.weights == pytest.approx(np.full((2, 3), 1 / 3))
        assert not routes.voters

    def test_prototypes_change_nothing(self) -> None:
        with_prototypes = route_by(
            AllConfig(), Queries(2, never, never), Serving((0, 1, 2), PROTOTYPES), seed=0
        )  # type: ignore[arg-type]
        assert with_prototypes.shards.tolist() == [[0, 1, 2]] * 2

    def test_the_mean_and_the_vote_may_differ(self) -> None:
        """One shard that is sure outweighs two that lean the other way, but has one vote."""
        rows = ([0.9, 0.1, 0.0], [0.4, 0.6, 0.0], [0.45, 0.55, 0.0])
        mean, vote = everyone(*rows, vote=False), everyone(*rows, vote=True)
        assert mean.probabilities[0] == pytest.approx([1.75 / 3, 1.25 / 3, 0])
        assert vote.probabilities[0] == pytest.approx([1 / 3, 2 / 3, 0])
        assert (mean.labels, vote.labels) == (["a"], ["b"])

    def test_ties_of_votes_go_to_the_first_class(self) -> None:
        assert everyone([0, 0, 1], [0, 1, 0], vote=True).labels == ["b"]
        assert everyone([0, 1, 0], [0, 0, 1], vote=True).labels == ["b"]

    def test_a_shard_that_is_torn_votes_for_its_first_class(self) -> None:
        found = everyone([0, 0.5, 0.5], vote=True)
        assert found.probabilities.tolist() == [[0, 1, 0]]

    def test_the_vote_of_a_shard_that_knows_fewer_classes(self) -> None:
        """Its first column is not the first class of all."""
        routes = by_pixels(AllConfig(combine="vote"), [b"x"], 3)
        told = {
            0: answers("bc", [0.9, 0.1]),
            1: answers("abc", [0.2, 0.3, 0.5]),
            2: answers("c", [1.0]),
        }
        found = combine(routes, routes.queries(), told, tuple("abc"))
        assert found.classes == ("a", "b", "c")
        assert found.probabilities[0] == pytest.approx([0, 1 / 3, 2 / 3])

    @given(st.integers(0, 2**32), st.integers(1, 5), st.booleans())
    def test_what_comes_out_is_a_probability(self, seed: int, k: int, vote: bool) -> None:
        rng = np.random.default_rng(seed)
        found = everyone(*rng.dirichlet(np.ones(3), k).tolist(), vote=vote)
        assert found.probabilities.sum() == pytest.approx(1, abs=1e-6)


class TestHash:
    """The routing of the paper's random partition."""

    PIXELS = tuple(bytes([i % 256, i // 256]) * 16 for i in range(400))

    def test_one_shard_answers_with_its_whole_weight(self) -> None:
        routes = by_pixels(HashConfig(), self.PIXELS, 5)
        assert routes.shards.shape == routes.weights.shape == (400, 1)
        assert (routes.weights == 1).all()
        assert set(routes.shards[:, 0].tolist()) == set(range(5))

    def test_each_shard_is_chosen_about_as_often(self) -> None:
        counts = np.bincount(by_pixels(HashConfig(), self.PIXELS, 4).shards[:, 0], minlength=4)
        assert counts.min() > 70

    def test_a_function_of_the_pixels_alone(self) -> None:
        """Not of the position or the company; equal pictures have the same shard."""
        whole = by_pixels(HashConfig(), self.PIXELS, 5).shards[:, 0].tolist()
        assert by_pixels(HashConfig(), self.PIXELS[::-1], 5).shards[:, 0].tolist() == whole[::-1]
        for at in (0, 17, 399):
            assert by_pixels(HashConfig(), [self.PIXELS[at]], 5).shards.tolist() == [[whole[at]]]
            assert (
                by_pixels(HashConfig(), [self.PIXELS[at]] * 2, 5).shards.tolist()
                == [[whole[at]]] * 2
            )

    def test_a_function_of_the_seed(self) -> None:
        first, again, other = (
            by_pixels(HashConfig(), self.PIXELS, 5, seed).shards[:, 0].tolist()
            for seed in (0, 0, 1)
        )
        assert first == again
        assert first != other

    def test_stays_as_it_is(self) -> None:
        found = by_pixels(HashConfig(), self.PIXELS[:8], 5).shards[:, 0].tolist()
        assert found == [1, 3, 0, 0, 3, 4, 4, 2], "changes with a version only on purpose"

    def test_no_queries(self) -> None:
        assert by_pixels(HashConfig(), [], 5).shards.shape == (0, 1)


def test_nearest_without_prototypes_is_refused() -> None:
    with pytest.raises(ValueError, match="prototypes"):
        by_pixels(NearestConfig(), [b"x"], 3)
