"""The statistics of removal: a membership attack on every record, and the divergence from retrained
models. Pure; no model, no file.

    φ = log p_y / (1 - p_y)  →  bounded  →  likelihood ratios (U-LiRA)  →  pooled ROC: AUC, TPR
                             →  KLoM: the divergence of margins from those of oracles, less its null

U-LiRA: Hayes, Shumailov, Triantafillou, Khalifa, Papernot, arXiv 2403.01218. KLoM: Georgiev et al.,
arXiv 2410.23232, appendix E. Memorisation: Feldman, arXiv 1906.05271.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float64]

BOUND = float(np.log1p(-1e-4) - np.log(1e-4))
"""U-LiRA sees |φ| ≤ 9.2, probabilities in [1e-4, 1 - 1e-4]: a shard of one class is certain, and no
Gaussian fits an infinite φ."""
LEAST = 3
"""Models that must be on each side of a record: one to score, two to fit a Gaussian to."""
PRIOR = 4.0
"""Each record's two variances are drawn towards the mean of both as if by this many models more: 32
models give a noisy variance."""
FLOOR = 1e-3
"""The least mean variance: where all models agree, any difference at all would be infinitely
likely."""
BINS, LIGHTEST, WIDEST = 20, 1e-5, 100.0
"""KLoM's histogram: bins over the common range, the least probability of a bin of the oracles', the
clip of margins; as in the paper."""
SPLITS = 20
"""How often a record's two samples are pooled and divided anew for the null of its KLoM."""


def margins(right: Floats, others: Floats) -> Floats:
    """φ = log p / (1 - p) of the probability of the right label, 1 - p being the sum of all others:
    not a difference, which rounds to 0 where the model is sure. Not clipped: ±∞ where a side is 0.
    Any shape, float64."""
    with np.errstate(divide="ignore"):
        found: Floats = np.log(right) - np.log(others)
    return found


def bounded(found: Floats) -> Floats:
    """φ as U-LiRA takes it, |φ| ≤ `BOUND`."""
    return np.clip(found, -BOUND, BOUND)


def memorisation(confidences: Floats, member: NDArray[np.bool_]) -> Floats:
    """mem(x) = E[p_y | x in] - E[p_y | x out] over models. confidences [m, n] φ, member [m, n] →
    [n]; -inf where a side has no model."""
    p = expit(confidences)
    inside, outside = member.sum(0), (~member).sum(0)
    found: Floats = (p * member).sum(0) / np.maximum(inside, 1) - (p * ~member).sum(0) / np.maximum(
        outside, 1
    )
    return np.where((inside > 0) & (outside > 0), found, -np.inf)


@dataclass(frozen=True)
class Scores:
    """The attack's scores, log likelihood ratios: of models that had the record (and maybe
    unlearned it) and of models that never saw it.

    inside, outside [p] float64: the two sides of p pairs; records [p]: whose pair it is; models [p,
    2]: which two models it is of.
    """

    inside: Floats
    outside: Floats
    records: NDArray[np.int64]
    models: NDArray[np.int64]


def likelihood_ratios(
    inside: Sequence[Floats],
    outside: Sequence[Floats],
    models: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> Scores:
    """Per-example U-LiRA: score each model on each record by Gaussians that were fitted to all
    other models.

    inside, outside: for each record the φ of models that had it and of those that never saw it;
    models: their numbers. Models are left out in pairs, one of each side. Leaving out one alone
    makes the fit depend on the side it came from, and the AUC of a worthless attack fall below one
    half; with pairs the two are exchangeable under the null hypothesis. A record with less than 3
    on a side is left out.
    """
    found: list[tuple[float, float, int, int, int]] = []
    for record, (a, b, (numbers_a, numbers_b)) in enumerate(
        zip(inside, outside, models, strict=True)
    ):
        if min(len(a), len(b)) < LEAST:
            continue
        for k in range(min(len(a), len(b))):
            score = LikelihoodRatio(np.delete(a, k), np.delete(b, k))
            found.append((score(a[k]), score(b[k]), record, int(numbers_a[k]), int(numbers_b[k])))
    table = np.array(found, np.float64).reshape(-1, 5)
    return Scores(
        table[:, 0], table[:, 1], table[:, 2].astype(np.int64), table[:, 3:].astype(np.int64)
    )


class LikelihoodRatio:
    """log N(x; inside) - log N(x; outside), the variances drawn towards each other. inside [m],
    outside [k] float64, m, k ≥ 2."""

    def __init__(self, inside: Floats, outside: Floats) -> None:
        pooled = max((inside.var(ddof=1) + outside.var(ddof=1)) / 2, FLOOR)
        self._fits = [
            (side.mean(), (side.var() * len(side) + PRIOR * pooled) / (len(side) - 1 + PRIOR))
            for side in (inside, outside)
        ]

    def __call__(self, x: float) -> float:
        """The score of one φ: the larger, the more it looks like a model that had the record."""
        (mean_a, var_a), (mean_b, var_b) = self._fits
        return float(
            (x - mean_b) ** 2 / (2 * var_b)
            - (x - mean_a) ** 2 / (2 * var_a)
            + np.log(var_b / var_a) / 2
        )


@dataclass(frozen=True)
class Roc:
    """The scores of both sides by value: for each distinct score, from the highest to the lowest,
    which pairs have it."""

    inside: NDArray[np.int64]
    outside: NDArray[np.int64]

    @classmethod
    def of(cls, inside: Floats, outside: Floats) -> "Roc":
        """The ranks of scores [p] and [q]; equal scores share one."""
        _, ranks = np.unique(-np.concatenate([inside, outside]), return_inverse=True)
        return cls(ranks[: len(inside)], ranks[len(inside) :])

    def areas(
        self, weights_in: Floats, weights_out: Floats, *, at: float = 0.01
    ) -> tuple[float, float]:
        """AUC, ties counted half, and the TPR at a FPR of at most `at`, each score with its weight.
        NaN where a side weighs nothing."""
        size = int(max(self.inside.max(initial=0), self.outside.max(initial=0))) + 1
        hits = np.bincount(self.inside, weights_in, size)
        alarms = np.bincount(self.outside, weights_out, size)
        if hits.sum() == 0 or alarms.sum() == 0:
            return float("nan"), float("nan")
        below = alarms.sum() - np.cumsum(alarms)
        area = float((hits * (below + alarms / 2)).sum() / (hits.sum() * alarms.sum()))
        allowed = np.cumsum(alarms) <= at * alarms.sum() + 1e-9
        return area, float(hits[allowed].sum() / hits.sum())


@dataclass(frozen=True)
class Power:
    """What an attack can do: AUC with the 95% interval, TPR at 1% FPR with its own, and the records
    that were attacked."""

    auc: float
    interval: tuple[float, float]
    tpr: float
    tpr_interval: tuple[float, float]
    records: int


def power(scores: Scores, *, seed: int, resamples: int = 1000) -> Power:
    """The pooled ROC of all records. The intervals are percentiles of a bootstrap over records and
    over models at once (Owen, 2007: each pair weighs the product of how often its record and its
    model were drawn), since scores that share either are not independent."""
    roc = Roc.of(scores.inside, scores.outside)
    ones = np.ones(len(scores.inside))
    auc, tpr = roc.areas(ones, ones)
    rng = np.random.default_rng(seed)
    records, models = (int(part.max(initial=0)) + 1 for part in (scores.records, scores.models))
    present = np.unique(scores.records)
    found = np.empty((resamples, 2))
    for at in range(resamples):
        drawn = (
            np.bincount(rng.choice(present, len(present)), minlength=records)
            if len(present)
            else np.zeros(records)
        )
        by_model = np.bincount(rng.integers(models, size=models), minlength=models)
        weights = [drawn[scores.records] * by_model[scores.models[:, side]] for side in (0, 1)]
        found[at] = roc.areas(weights[0].astype(np.float64), weights[1].astype(np.float64))
    low, high = (
        np.nanpercentile(found, [2.5, 97.5], axis=0) if len(present) else np.full((2, 2), np.nan)
    )
    return Power(
        auc, (float(low[0]), float(high[0])), tpr, (float(low[1]), float(high[1])), len(present)
    )


def klom(unlearned: Floats, oracle: Floats) -> float:
    """KL(unlearned ‖ oracle) in nats between two samples of margins of one record: histograms of 20
    bins over their common range.

    unlearned [m], oracle [k] float64. 0 for equal samples; at most log 10⁵ = 11.5; for two finite
    samples of one distribution above 0 (`null`).
    """
    bins = binned(np.concatenate([unlearned, oracle]))
    return divergence_of(counted(bins[: len(unlearned)]), counted(bins[len(unlearned) :]))


def null(unlearned: Floats, oracle: Floats, splits: NDArray[np.int64]) -> float:
    """KLoM where nothing differs, of samples as large and as wide as these: the mean over random
    divisions of the two pooled. splits [r, m + k] int64: permutations. Where both are drawn from
    one distribution, `klom` less this is 0 on average, however small they are."""
    bins = binned(np.concatenate([unlearned, oracle]))[splits]
    first = len(unlearned)
    return float(
        np.mean([divergence_of(counted(one[:first]), counted(one[first:])) for one in bins])
    )


def binned(found: Floats) -> NDArray[np.int64]:
    """The bin of each margin [m], over their range."""
    clipped = np.clip(found, -WIDEST, WIDEST)
    low, high = clipped.min(), clipped.max()
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    return np.searchsorted(edges[1:-1], clipped, side="right")


def counted(bins: NDArray[np.int64]) -> Floats:
    """The share of a sample in each bin [20]."""
    return np.bincount(bins, minlength=BINS) / len(bins)


def divergence_of(p: Floats, q: Floats) -> float:
    """KL(p ‖ q) in nats of two histograms; no bin of q weighs less than 10⁻⁵."""
    there = p > 0
    return float((p[there] * np.log(p[there] / np.maximum(q[there], LIGHTEST))).sum())


@dataclass(frozen=True)
class Divergence:
    """KLoM over records: the mean and the 95th percentile, the mean null (see `null`), the excess
    over that, how many records."""

    mean: float
    p95: float
    null: float
    excess: float
    records: int


def divergence(unlearned: Floats, oracle: Floats, *, seed: int) -> Divergence:
    """KLoM of each record. unlearned [m, n], oracle [k, n]: margins of models on records."""
    many = len(unlearned) + len(oracle)
    rng = np.random.default_rng(seed)
    splits = np.array([rng.permutation(many) for _ in range(SPLITS)])
    pairs = list(zip(unlearned.T, oracle.T, strict=True))
    if not pairs:
        return Divergence(float("nan"), float("nan"), float("nan"), float("nan"), 0)
    found = [klom(p, q) for p, q in pairs]
    mean, nothing = float(np.mean(found)), float(np.mean([null(p, q, splits) for p, q in pairs]))
    return Divergence(mean, float(np.percentile(found, 95)), nothing, mean - nothing, len(found))
