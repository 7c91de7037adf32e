"""Which value of a sweep to take, with the reason; which values are beaten, and which are hopeless.

>>> cheap, good = TrialPoint("shards=40", 0.96, 0.02, 4), TrialPoint("shards=10", 0.98, 0.08, 4)
>>> [point.name for point in front([good, cheap, TrialPoint("shards=20", 0.95, 0.05, 4)])]
['shards=40', 'shards=10']
>>> recommended([good, cheap], queries=100).point.name  # 1.4 points of standard error: 2 are more
'shards=10'

Three figures decide: accuracy on the records to judge by, the expected cost of a deletion
(re-clustering included), and backbone passes a query. The last two are known before anything is
trained. Invariant: a value is hopeless only if a measured one is at least as good in all three
figures and better in one, even if all queries that are still open were answered right. So a stopped
value is on no front, and the recommendation is the same as without stopping.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TrialPoint:
    """One value. accuracy: measured, or the most that it can reach; cost: the expected share of a
    training that a deletion costs; passes: how many times the backbone sees a query at most."""

    name: str
    accuracy: float
    cost: float
    passes: float


def beats(one: TrialPoint, other: TrialPoint) -> bool:
    """Whether one point is at least as good in every figure, and better in one."""
    ours, theirs = (
        (-one.accuracy, one.cost, one.passes),
        (-other.accuracy, other.cost, other.passes),
    )
    return all(a <= b for a, b in zip(ours, theirs, strict=True)) and ours != theirs


def beaten_by(at_most: TrialPoint, measured: Sequence[TrialPoint]) -> TrialPoint | None:
    """Return a measured point that beats what a value can reach at most; None where none does."""
    return next((point for point in measured if beats(point, at_most)), None)


def front(points: Sequence[TrialPoint]) -> list[TrialPoint]:
    """Return the points that no other beats, from cheap to dear."""
    return sorted(
        (p for p in points if not beaten_by(p, points)),
        key=lambda p: (p.cost, p.passes, -p.accuracy, p.name),
    )


def standard_error(accuracy: float, queries: int) -> float:
    """Return the binomial standard error of an accuracy a over n queries: √(a (1 - a) / n)."""
    return math.sqrt(accuracy * (1 - accuracy) / queries)


@dataclass(frozen=True)
class Recommendation:
    """The recommended point, the most accurate one, the standard error of the latter's accuracy,
    and a sentence with the reason."""

    point: TrialPoint
    best: TrialPoint
    error: float
    reason: str


def recommended(points: Sequence[TrialPoint], queries: int) -> Recommendation:
    """Recommend the point with the cheapest deletions among those whose accuracy is within one
    standard error of the best.

    Breiman, Friedman, Olshen and Stone, Classification and Regression Trees (1984), section 3.4.3:
    the one-standard-error rule.
    """
    best = min(points, key=lambda p: (-p.accuracy, p.cost, p.passes, p.name))
    error = standard_error(best.accuracy, queries)
    near = [p for p in points if p.accuracy >= best.accuracy - error]
    point = min(near, key=lambda p: (p.cost, p.passes, -p.accuracy, p.name))
    figures = (
        f"{point.accuracy:.2%} of {queries:,} records right, {point.cost:.2%} of a training for "
        "one deletion"
    )
    if point == best:
        cheaper = sum(p.cost < point.cost for p in points)
        why = (
            f"no other is more accurate, and the {cheaper} with cheaper deletions fall short of "
            "it by more than one standard error"
        )
        why = why if cheaper else "no other is more accurate, and none has cheaper deletions"
        return Recommendation(
            point, best, error, f"{point.name}: {figures}; {why} ({100 * error:.2f} points)."
        )
    why = (
        f"the cheapest deletions among those within one standard error ({100 * error:.2f} points) "
        f"of the most accurate, {best.name}, which has {best.accuracy:.2%} at {best.cost:.2%}"
    )
    return Recommendation(point, best, error, f"{point.name}: {figures}; {why}.")
