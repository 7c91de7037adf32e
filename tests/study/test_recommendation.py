"""Which value is worth having, and when one may be stopped: Pareto front, one-standard-error rule,
the bound on the accuracy."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.aggregation.answers import Answers
from lmeraser_ray.models.aggregation.routes import Routes, combine
from lmeraser_ray.operations.evaluate import score_of
from lmeraser_ray.study.bound import Bound
from lmeraser_ray.study.recommendation import (
    Question,
    TrialPoint,
    beaten_by,
    beats,
    front,
    question,
    recommended,
)

POINTS = st.builds(
    TrialPoint,
    st.just("x"),
    st.sampled_from([0.5, 0.9, 0.95, 1.0]),
    st.sampled_from([0.0, 0.1, 0.2]),
    st.sampled_from([1.0, 2.0, 6.0]),
)


def named(points: Sequence[TrialPoint]) -> list[TrialPoint]:
    return [TrialPoint(f"v{i}", p.accuracy, p.cost, p.passes) for i, p in enumerate(points)]


@given(st.lists(POINTS, min_size=1, max_size=8).map(named))
def test_the_front_is_what_nobody_beats(points: list[TrialPoint]) -> None:
    best = front(points)
    assert best
    assert all(not any(beats(other, point) for other in points) for point in best)
    assert all(any(beats(other, point) for other in best) for point in points if point not in best)


@given(st.lists(POINTS, min_size=1, max_size=8).map(named), st.integers(1, 400), st.randoms())
def test_who_is_stopped_changes_no_choice(points: list[TrialPoint], queries: int, random) -> None:  # type: ignore[no-untyped-def]
    """Whatever subset of the beaten is missing, and in whatever order the others come: front and
    choice are the same."""
    kept = [point for point in points if not beaten_by(point, points) or random.random() < 0.5]
    random.shuffle(kept)
    assert front(kept) == front(points)
    assert recommended(kept, queries) in (recommended(points, queries), recommended(kept, queries))
    assert (recommended(kept, queries).point, recommended(kept, queries).best) == (
        recommended(points, queries).point,
        recommended(points, queries).best,
    )
    assert recommended(points, queries).point in front(points)


def test_equals_do_not_beat_each_other() -> None:
    one, other = TrialPoint("a", 0.9, 0.1, 1), TrialPoint("b", 0.9, 0.1, 1)
    assert not beats(one, other)
    assert front([one, other]) == [one, other]
    assert beaten_by(TrialPoint("c", 0.9, 0.1, 2), [one]) == one
    assert beaten_by(TrialPoint("c", 0.91, 0.1, 2), [one]) is None, (
        "it could still be more accurate"
    )


def test_the_cheapest_within_one_standard_error_of_the_best() -> None:
    best, near, far = (
        TrialPoint("best", 0.97, 0.10, 6),
        TrialPoint("near", 0.955, 0.04, 6),
        TrialPoint("far", 0.90, 0.01, 6),
    )
    found = recommended([best, near, far], 100)
    assert found.error == pytest.approx(math.sqrt(0.97 * 0.03 / 100))
    assert (found.point, found.best) == (near, best)
    assert "near: 95.50% of 100 records right, 4.00% of a training for one record" in found.reason
    assert (
        "within one standard error (1.71 points) of the most accurate, best, which has 97.00% at "
        "10.00%" in found.reason
    )
    assert recommended([best, near, far], 10_000).point == best, "more records tell them apart"
    assert (
        "the 2 with less work fall short of it by more than one standard error"
        in recommended([best, near, far], 10_000).reason
    )
    assert "none is less work" in recommended([best], 100).reason


def test_the_most_accurate_within_the_budget() -> None:
    points = [
        TrialPoint("dear", 0.99, 1.0, 1),
        TrialPoint("mean", 0.95, 0.01, 5),
        TrialPoint("same", 0.95, 0.009, 5),
        TrialPoint("cheap", 0.80, 0.001, 1),
    ]
    within = recommended(points, 1000, question(person=True, batch=None, budget="1%"))
    assert (within.point.name, within.fits, within.best.name) == ("same", True, "dear")
    assert "0.90% of a training for one person" in within.reason
    assert "no other within the budget of 1% is more accurate" in within.reason
    none = recommended(points, 1000, Question(budget=0.0005))
    assert (none.point.name, none.fits) == ("cheap", False)
    assert "nothing is within the budget of 0.05%, and this is the cheapest" in none.reason


@given(st.lists(POINTS, min_size=1, max_size=8).map(named), st.sampled_from([0.05, 0.1, 0.15]))
def test_who_is_stopped_changes_no_choice_within_a_budget(
    points: list[TrialPoint], budget: float
) -> None:
    kept = [point for point in points if not beaten_by(point, points)]
    asked = Question(budget=budget)
    assert recommended(kept, 100, asked).point == recommended(points, 100, asked).point


@pytest.mark.parametrize("text", ["", "abc", "1%%", "1 percent", "0", "-1%", "101%", "nan", "inf"])
@pytest.mark.parametrize("option", ["--budget", "--batch"])
def test_a_share_that_cannot_be_meant_is_refused(text: str, option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} .* was not understood"):
        question(
            person=False,
            batch=text if option == "--batch" else None,
            budget=text if option == "--budget" else None,
        )


def test_one_unit_is_asked_about() -> None:
    assert question(person=False, batch="2.5%", budget="0.01").unit.words == "a batch of 2.5%"
    with pytest.raises(ConfigError, match="one of the two"):
        question(person=True, batch="1%", budget=None)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_the_bound_never_rises_and_ends_at_the_accuracy(seed: int, vote: bool) -> None:
    """Random shards, labels, routes and answers, in a random order of arrival."""
    rng = np.random.default_rng(seed)
    k, q = int(rng.integers(1, 6)), int(rng.integers(1, 12))
    m = int(rng.integers(1, k + 1))
    classes = [f"c{i}" for i in range(4)]
    shards = np.stack([rng.permutation(k)[:m] for _ in range(q)])
    weights = rng.dirichlet(np.ones(m) * 0.5, q)
    routes = Routes(shards, weights, frozenset(range(k)) if vote else frozenset())
    labels = [str(rng.choice(classes)) for _ in range(q)]
    possible = {
        place: sorted(rng.choice(classes, int(rng.integers(1, 4)), replace=False).tolist())
        for place in range(k)
    }
    asked = routes.queries()
    answers = {}
    for place, queries in asked.items():
        found = rng.dirichlet(np.ones(len(possible[place])) * 0.3, len(queries)).astype(np.float32)
        answers[place] = Answers(tuple(possible[place]), found)
    truth = score_of(combine(routes, asked, answers, tuple(sorted(classes))), labels).accuracy
    assert truth is not None
    bound = Bound(routes, labels, possible)
    before = bound.accuracy
    for place in rng.permutation(list(asked)).tolist():
        bound.hear(place, answers[place])
        assert truth <= bound.accuracy <= before
        before = bound.accuracy
    assert bound.waiting == set()
    if not vote:  # votes tie
        assert bound.accuracy == truth


def test_what_no_shard_can_say_is_lost_before_any_training() -> None:
    routes = Routes(np.array([[0, 1], [0, 1], [1, 0], [2, 0]]), np.full((4, 2), 0.5))
    bound = Bound(routes, ["a", "b", "c", "c"], {0: {"a", "b"}, 1: {"a", "b"}, 2: {"c"}})
    assert bound.accuracy == 0.75, "of the third query no shard knows the label"
    assert bound.waiting == {0, 1}, "a shard of one class has answered"
    bound.hear(
        0, Answers(("a", "b"), np.array([[0.1, 0.9], [0.4, 0.6], [1, 0], [0.5, 0.5]], np.float32))
    )
    assert bound.accuracy == 0.75
    bound.hear(1, Answers(("a", "b"), np.array([[0.8, 0.2], [0.7, 0.3], [1, 0]], np.float32)))
    assert bound.accuracy == 0.25
