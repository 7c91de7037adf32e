"""What is measured of predictions: scikit-learn's figures, and intervals that hold."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
)

from lmeraser_ray.models.aggregation.routes import Predictions, Routes
from lmeraser_ray.operations.quality import Quality, Witnessed

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def seen(labels: list[str], rows: Floats, classes: str, people: list[str] | None = None) -> Quality:
    return witnessed(labels, rows, classes, people).quality()


def witnessed(
    labels: list[str], rows: Floats, classes: str, people: list[str] | None = None
) -> Witnessed:
    routes = Routes(np.zeros((len(rows), 1), np.int64), np.ones((len(rows), 1)))
    found = Witnessed(sorted({*classes, *labels}))
    people = people or [str(at) for at in range(len(rows))]
    half = len(rows) // 2  # in two parts, as records come
    for a, b in ((0, half), (half, len(rows))):
        part = Routes(routes.shards[a:b], routes.weights[a:b])
        found.add(Predictions(tuple(classes), rows[a:b], part), labels[a:b], people[a:b])
    return found


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.integers(2, 40), st.integers(2, 5))
def test_the_figures_are_those_of_scikit_learn(seed: int, q: int, c: int) -> None:
    rng = np.random.default_rng(seed)
    classes = "abcde"[:c]
    rows = rng.dirichlet(np.ones(c) * 0.5, q)
    labels = [classes[at] for at in rng.integers(0, c, q)]
    said = [classes[at] for at in rows.argmax(1)]
    found = seen(labels, rows, classes)
    values = {name: one.value for name, one in found.measures.items()}
    assert values["accuracy"] == pytest.approx(np.mean(np.array(labels) == said))
    assert values["macro F1"] == pytest.approx(f1_score(labels, said, average="macro"))
    assert values["log loss"] == pytest.approx(log_loss(labels, rows, labels=list(classes)))
    with (
        np.errstate(all="ignore"),
        pytest.warns(UserWarning) if not set(said) <= set(labels) else no_warning(),
    ):
        assert values["balanced accuracy"] == pytest.approx(balanced_accuracy_score(labels, said))
    assert (found.confusion == confusion_matrix(labels, said, labels=list(classes))).all()
    precision, recall, f1, count = precision_recall_fscore_support(
        labels, said, labels=list(classes), zero_division=0
    )
    for at, one in enumerate(found.by_class):
        assert one.records == count[at]
        assert (one.recall.value if one.recall else 0) == pytest.approx(recall[at])
        assert (one.precision or 0) == pytest.approx(precision[at])
        assert (one.f1 or 0) == pytest.approx(f1[at])
    assert 0 <= values["calibration error"] <= 1
    for one in found.measures.values():
        assert math.isnan(one.low) or one.low <= one.high


class no_warning:  # noqa: N801
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


def test_the_calibration_error_by_hand() -> None:
    """Four predictions at 0.9, of which two are right, and one at 0.55 that is: 15 bins."""
    rows = np.array([[0.9, 0.1]] * 4 + [[0.55, 0.45]])
    found = seen(list("aabba"), rows, "ab")
    assert found.measures["calibration error"].value == pytest.approx((4 * 0.4 + 0.45) / 5)
    assert [(one.count, one.accuracy) for one in found.bins] == [(1, 1.0), (4, 0.5)]


@pytest.mark.parametrize("sure", [1.0, 1.0 + 1e-9, 1 / 15, 2 / 15])
def test_a_probability_on_an_edge_has_one_bin(sure: float) -> None:
    rows = np.array([[sure, 0.0]])
    [only] = seen(["a"], rows, "ab").bins
    assert only.low < min(sure, 1.0) <= only.high + 1e-12


def test_a_class_that_no_record_trains() -> None:
    """Its probability is 0 in every answer."""
    found = seen(["a", "z"], np.array([[0.8, 0.2], [0.6, 0.4]]), "ab")
    assert found.classes == ("a", "b", "z")
    assert found.confusion.tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 0]]
    assert found == replace(found, confusion=found.confusion.copy())
    assert found != replace(found, confusion=found.confusion + 1)
    assert found.measures["log loss"].value == pytest.approx(
        (-math.log(0.8) - math.log(np.finfo(np.float64).eps)) / 2
    )
    assert found.by_class[1].recall is None and found.by_class[1].f1 is None


def test_people_and_not_pictures_are_drawn() -> None:
    """A hundred pictures of four people say little more than four."""
    rng = np.random.default_rng(0)
    right = np.repeat(rng.permutation([True, True, True, False] * 5), 5)
    rows = np.where(right[:, None], [[0.9, 0.1]], [[0.2, 0.8]])
    labels = ["a"] * len(right)
    alone = seen(labels, rows, "ab").measures["log loss"]
    people = [str(at // 5) for at in range(len(right))]
    whole = seen(labels, rows, "ab", people).measures["log loss"]
    assert alone.value == whole.value
    assert whole.high - whole.low > 1.7 * (alone.high - alone.low)


def test_no_interval_is_made_of_nothing() -> None:
    """All right: Wilson's says what so few show, and the draws say nothing."""
    rows = np.array([[1.0, 0.0]] * 5)
    found = seen(["a"] * 5, rows, "ab").measures
    assert found["accuracy"] == pytest.approx((1, 0.5655, 1), abs=1e-4)
    assert math.isnan(found["balanced accuracy"].low)
    one = seen(["a", "b"], rows[:2], "ab", ["ann", "ann"]).measures
    assert math.isnan(one["macro F1"].low) and not math.isnan(one["accuracy"].low)


def test_the_worst_are_the_surest_mistakes() -> None:
    rows = np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.7, 0.3]])
    found = witnessed(list("abbb"), rows, "ab")
    assert found.worst(2).tolist() == [2, 3]
    assert found.quality().confused(5) == [("b", "a", 3)]


def test_the_same_predictions_have_the_same_figures() -> None:
    rng = np.random.default_rng(0)
    rows = rng.dirichlet(np.ones(3), 50)
    labels = ["abc"[at] for at in rng.integers(0, 3, 50)]
    assert seen(labels, rows, "abc").measures == seen(labels, rows, "abc").measures
    assert len(repr(seen(labels, rows, "abc"))) < 250
