"""How good predictions with known labels are: what is measured, with 95% intervals.

Place in the flow: behind predictions of test records. Accuracy has Wilson's interval; all else has
the percentiles of a bootstrap that draws people, since one person's pictures are no independent
witnesses. Invariant: the figures are a function of the predictions (the draws have a fixed seed),
and those of scikit-learn where it has them; a thousand draws need them from counts, not records.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.models.aggregation.routes import Predictions

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
BINS = 15
"""Of equal width, as Guo et al. (ICML 2017) have them."""
DRAWS, FEWEST_DRAWS, WORK = 1000, 100, 10**8
"""Of the bootstrap: `DRAWS`, fewer where draws times records would exceed `WORK`."""
SMALLEST = float(np.finfo(np.float64).eps)
"""What a probability counts as at least in the log loss, as in scikit-learn."""
PERCENTILES = (2.5, 97.5)


class Estimate(NamedTuple):
    """A figure and its 95% interval; NaN at both ends where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassQuality:
    """One class: its test records, how many records were taken for it, and the share of the former
    that were found (recall), of the latter that were right (precision), and their harmonic mean.
    None where there is nothing to divide by."""

    name: str
    records: int
    predicted: int
    recall: Estimate | None
    precision: float | None
    f1: float | None


@dataclass(frozen=True)
class Bin:
    """Predictions whose probability lies in (low, high]: how many, the mean of their probability,
    and the share that is right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class Quality:
    """All that is measured on q ≥ 1 test records of so many people. classes: of the state and of
    the test records, sorted; confusion: [c, c] int64, a row a true class, a column what was
    said."""

    measures: dict[str, Estimate]
    classes: tuple[str, ...]
    by_class: tuple[ClassQuality, ...]
    confusion: NDArray[np.int64]
    bins: tuple[Bin, ...]
    records: int
    people: int

    def __repr__(self) -> str:
        said = ", ".join(f"{name} {found.value:.4f}" for name, found in self.measures.items())
        return f"Quality({self.records} records of {self.people} people: {said})"

    def __eq__(self, other: object) -> bool:
        """Return whether all was measured the same."""
        return isinstance(other, Quality) and all(
            np.array_equal(mine, theirs) if name == "confusion" else mine == theirs
            for (name, mine), theirs in zip(vars(self).items(), vars(other).values(), strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def confused(self, count: int) -> list[tuple[str, str, int]]:
        """Return the pairs of a true class and what was said instead that occur most often, with
        their number, ties in the order of the classes."""
        off = self.confusion * ~np.eye(len(self.classes), dtype=bool)
        order = np.argsort(-off, axis=None, kind="stable")[:count]
        pairs = zip(*np.unravel_index(order, off.shape), strict=True)
        found = ((self.classes[a], self.classes[b], int(off[a, b])) for a, b in pairs)
        return [pair for pair in found if pair[2]]


class Witnessed:
    """Collects predictions and their labels: 40 bytes a record."""

    def __init__(self, classes: Sequence[str]) -> None:
        """classes: every label that is said or true, sorted."""
        self.classes = tuple(classes)
        self._code = {name: at for at, name in enumerate(self.classes)}
        self._parts: list[tuple[Codes, Codes, Floats, Floats]] = []
        self._people: list[str] = []

    def add(self, predicted: Predictions, labels: Sequence[str], people: Sequence[str]) -> None:
        """Add q predictions with their labels and the people whose records they are."""
        truth = np.array([self._code[name] for name in labels], np.int64)
        column = {name: at for at, name in enumerate(predicted.classes)}
        at = np.array([column.get(name, -1) for name in labels], np.int64)
        rows = np.arange(len(truth))
        right = np.where(at >= 0, predicted.probabilities[rows, np.maximum(at, 0)], 0.0)
        said = np.array([self._code[name] for name in predicted.labels], np.int64)
        self._parts.append((truth, said, right, predicted.probabilities.max(1)))
        self._people += people

    @property
    def columns(self) -> tuple[Codes, Codes, Floats, Floats]:
        """True class [q], class said [q], by their places in `classes`, and the probability of
        either [q]."""
        truth, said, right, sure = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        return truth, said, right, np.minimum(sure, 1.0)  # sums of floats may exceed it

    def worst(self, count: int) -> Codes:
        """Return the places of the wrong predictions that were surest, the surest first."""
        truth, said, _, sure = self.columns
        wrong = np.flatnonzero(truth != said)
        return wrong[np.argsort(-sure[wrong], kind="stable")][:count]

    def quality(self) -> Quality:
        """Measure what was collected, q ≥ 1."""
        truth, said, right, sure = self.columns
        c, counts = len(self.classes), Counts(truth, said, right, sure, len(self.classes))
        people, person = np.unique(np.array(self._people), return_inverse=True)
        values = counts.measures(np.ones(len(truth)))
        drawn = draws(counts, person, len(people))
        measures = {
            name: Estimate(value, *interval(drawn[:, at]))
            for at, (name, value) in enumerate(values.items())
        }
        hits = int((truth == said).sum())
        measures["accuracy"] = wilson(hits, len(truth))
        confusion = np.bincount(truth * c + said, minlength=c * c).reshape(c, c)
        return Quality(
            measures,
            self.classes,
            tuple(map(class_quality, self.classes, confusion, confusion.T, range(c))),
            confusion,
            reliability(truth == said, sure),
            len(truth),
            len(people),
        )


@dataclass(frozen=True)
class Counts:
    """The columns of `Witnessed`, to be weighted in many ways."""

    truth: Codes
    said: Codes
    right: Floats
    sure: Floats
    classes: int

    def measures(self, weights: Floats) -> dict[str, float]:
        """Every measure with each record counted so often [q]."""
        hit, total = weights * (self.truth == self.said), weights.sum()
        true, told, both = (
            np.bincount(codes, each, self.classes)
            for codes, each in ((self.truth, weights), (self.said, weights), (self.truth, hit))
        )
        there, named = true > 0, true + told > 0
        loss = -np.log(np.clip(self.right, SMALLEST, 1))
        bins = bin_of(self.sure)
        gaps = np.bincount(bins, hit, BINS) - np.bincount(bins, weights * self.sure, BINS)
        return {
            "accuracy": float(hit.sum() / total),
            "balanced accuracy": float((both[there] / true[there]).mean()),
            "macro F1": float((2 * both[named] / (true + told)[named]).mean()),
            "log loss": float((weights * loss).sum() / total),
            "calibration error": float(np.abs(gaps).sum() / total),
        }


def draws(counts: Counts, person: Codes, people: int) -> Floats:
    """Return every measure for draws of as many people, with replacement. person: [q] whose record
    each is → [draws, measures] float64; NaN where there is a single person."""
    rng = np.random.default_rng(0)
    number = max(FEWEST_DRAWS, min(DRAWS, WORK // len(person)))
    if people < 2:
        return np.full((1, 5), np.nan)
    each = (np.bincount(rng.integers(0, people, people), minlength=people) for _ in range(number))
    return np.array(
        [[*counts.measures(drawn[person].astype(np.float64)).values()] for drawn in each]
    )


def interval(drawn: Floats) -> tuple[float, float]:
    """The 95% interval of what was drawn; NaN where all is one value, as without any mistake: then
    the draws say nothing of what more people would show."""
    low, high = np.percentile(drawn, PERCENTILES).tolist()
    return (low, high) if low < high else (np.nan, np.nan)


def wilson(hits: int, count: int) -> Estimate:
    """A share with Wilson's 95% interval (1927), for independent records."""
    from scipy.stats import binomtest

    found = binomtest(hits, count).proportion_ci(method="wilson")
    return Estimate(hits / count, float(found.low), float(found.high))


def class_quality(name: str, row: Codes, column: Codes, at: int) -> ClassQuality:
    """One class by its row and its column of the confusion matrix."""
    hits, true, told = int(row[at]), int(row.sum()), int(column.sum())
    return ClassQuality(
        name,
        true,
        told,
        wilson(hits, true) if true else None,
        hits / told if told else None,
        2 * hits / (true + told) if true + told else None,
    )


def bin_of(sure: Floats) -> Codes:
    """The bin of each probability [q], 0 < p ≤ 1."""
    found: Codes = np.clip(np.ceil(sure * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return found


def reliability(hit: NDArray[np.bool_], sure: Floats) -> tuple[Bin, ...]:
    """The bins that hold predictions. hit: whether each is right [q]; sure: its probability [q]."""
    bins = bin_of(sure)
    return tuple(
        Bin(
            at / BINS,
            (at + 1) / BINS,
            int(inside.sum()),
            float(sure[inside].mean()),
            float(hit[inside].mean()),
        )
        for at in range(BINS)
        if (inside := bins == at).any()
    )
