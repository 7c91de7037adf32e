"""Which value of a sweep to take, with the reason; which values are beaten, and which are hopeless.

>>> cheap, good = TrialPoint("shards=40", 0.96, 0.02, 4), TrialPoint("shards=10", 0.98, 0.08, 4)
>>> [point.name for point in front([good, cheap, TrialPoint("shards=20", 0.95, 0.05, 4)])]
['shards=40', 'shards=10']
>>> recommended([good, cheap], queries=100).point.name  # 1.4 points of standard error: 2 are more
'shards=10'

Three figures decide: accuracy on the records to judge by, the mean work of deleting the unit that
was asked (one record, unless somebody asks for another; re-clustering included), and backbone
passes a query. The last two are known before anything is
trained. Invariant: a value is hopeless only if a measured one is at least as good in all three
figures and better in one, even if all queries that are still open were answered right. So a stopped
value is on no front, and the recommendation is the same as without stopping.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lmeraser_ray.config.shares import parse_share, percent
from lmeraser_ray.study.asked_unit import ONE_RECORD, AskedUnit, asked_unit

ROUNDING = 1e-9
"""Of accuracies, which are quotients of counts."""


@dataclass(frozen=True)
class TrialPoint:
    """One value. accuracy: measured, or the most that it can reach; cost: the mean work of deleting
    the asked unit, as a share of a full training; passes: how many times the backbone sees a query
    at most."""

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
    """Return the binomial standard error of an accuracy a over n queries, √(a (1 - a) / n), but one
    query at least: n right of n do not say that the next one is right.

    >>> standard_error(1.0, 200), standard_error(0.5, 100)
    (0.005, 0.05)
    """
    return max(math.sqrt(accuracy * (1 - accuracy) / queries), 1 / queries)


@dataclass(frozen=True)
class Recommendation:
    """The recommended point, the most accurate one, the standard error of the latter's accuracy,
    and a sentence with the reason; fits: whether the point is within the budget, where there is
    one."""

    point: TrialPoint
    best: TrialPoint
    error: float
    reason: str
    fits: bool = True


@dataclass(frozen=True)
class Question:
    """What a recommendation is asked. unit: what is deleted at once; budget: the most that its mean
    work may be, as a share of a full training; None for the rule of one standard error."""

    unit: AskedUnit = ONE_RECORD
    budget: float | None = None


USUAL = Question()


def question(*, person: bool, batch: str | None, budget: str | None) -> Question:
    """Return what options ask; shares as text. Errors: `ConfigError`."""
    share = None if batch is None else parse_share(batch, "--batch")
    most = None if budget is None else parse_share(budget, "--budget")
    return Question(asked_unit(person=person, batch=share), most)


def recommended(
    points: Sequence[TrialPoint], queries: int, question: Question = USUAL
) -> Recommendation:
    """Recommend the most accurate point within the budget, or the cheapest where none is; without a
    budget the cheapest among those whose accuracy is within one standard error of the best.

    Breiman, Friedman, Olshen and Stone, Classification and Regression Trees (1984), section 3.4.3:
    the one-standard-error rule.
    """
    best = min(points, key=by_accuracy)
    error = standard_error(best.accuracy, queries)
    if question.budget is not None:
        within = [p for p in points if p.cost <= question.budget]
        point = min(within, key=by_accuracy) if within else min(points, key=by_cost)
        why = why_within(question.budget, fits=bool(within))
    else:
        within = list(points)
        least = best.accuracy - error - ROUNDING
        point = min((p for p in points if p.accuracy >= least), key=by_cost)
        why = why_near(point, best, points, error)
    unit = question.unit.words
    figures = (
        f"{point.accuracy:.2%} of {queries:,} records right, {point.cost:.2%} of a training for "
        f"{unit}"
    )
    return Recommendation(point, best, error, f"{point.name}: {figures}; {why}.", bool(within))


def by_accuracy(point: TrialPoint) -> tuple[float, float, float, str]:
    """The most accurate first, then the cheapest."""
    return -point.accuracy, point.cost, point.passes, point.name


def by_cost(point: TrialPoint) -> tuple[float, float, float, str]:
    """The cheapest first, then the most accurate."""
    return point.cost, point.passes, -point.accuracy, point.name


def why_within(budget: float, *, fits: bool) -> str:
    """Return why a point is recommended under a budget."""
    if fits:
        return f"no other within the budget of {percent(budget)} is more accurate"
    return f"nothing is within the budget of {percent(budget)}, and this is the cheapest"


def why_near(
    point: TrialPoint, best: TrialPoint, points: Sequence[TrialPoint], error: float
) -> str:
    """Return why a point is recommended by the one-standard-error rule."""
    if point != best:
        return (
            f"the least work among those within one standard error ({100 * error:.2f} points) of "
            f"the most accurate, {best.name}, which has {best.accuracy:.2%} at {best.cost:.2%}"
        )
    cheaper = sum(p.cost < point.cost for p in points)
    if not cheaper:
        return (
            f"no other is more accurate, and none is less work ({100 * error:.2f} points of "
            "standard error)"
        )
    return (
        f"no other is more accurate, and the {cheaper} with less work fall short of it by more "
        f"than one standard error ({100 * error:.2f} points)"
    )
