"""The statistics of removal, against cases with a known answer."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import norm

from lmeraser_ray.study.attacks import (
    BOUND,
    Floats,
    Power,
    Roc,
    Scores,
    bounded,
    divergence,
    klom,
    likelihood_ratios,
    margins,
    memorisation,
    power,
)


def drawn(shift: float, *, seed: int, records: int = 40, models: int = 64) -> Scores:
    """Scores of φ that are N(0, 1), and N(shift, 1) where a model had the record."""
    rng = np.random.default_rng(seed)
    member = rng.random((models, records)) < 0.5
    found = rng.normal(size=(models, records)) + shift * member
    sides = [(np.flatnonzero(member[:, r]), np.flatnonzero(~member[:, r])) for r in range(records)]
    inside, outside = ([found[pair[side], r] for r, pair in enumerate(sides)] for side in (0, 1))
    return likelihood_ratios(inside, outside, sides)


def area(inside: list[float], outside: list[float]) -> float:
    return Roc.of(np.array(inside), np.array(outside)).areas(
        np.ones(len(inside)), np.ones(len(outside))
    )[0]


def phi(p: list[list[float]] | list[float]) -> Floats:
    return margins(np.array(p), 1 - np.array(p))


def test_phi_is_the_logit_and_not_clipped() -> None:
    """A sure model's φ is as large as its probabilities say: 1 - 1e-12 rounds to 1, the sum of the
    others does not. U-LiRA takes it bounded, KLoM as it is."""
    found = margins(np.array([0.5, 0.9, 1.0, 0.0, 1.0]), np.array([0.5, 0.1, 1e-12, 1.0, 0.0]))
    assert found == pytest.approx([0.0, np.log(9), np.log(1e12), -np.inf, np.inf])
    assert bounded(found) == pytest.approx([0.0, np.log(9), BOUND, -BOUND, BOUND])
    assert bounded(np.array([9.2, -9.2])) == pytest.approx([9.2, -9.2])


def test_memorisation_is_the_difference_of_means() -> None:
    """Two models with the record say 0.9, two without 0.6; a record that all models had says
    nothing."""
    confidences = phi([[0.9, 0.9], [0.9, 0.9], [0.6, 0.9], [0.6, 0.9]])
    member = np.array([[True, True], [True, True], [False, True], [False, True]])
    found = memorisation(confidences, member)
    assert found[0] == pytest.approx(0.3)
    assert found[1] == -np.inf
    sure = np.array([[np.inf], [-np.inf]])
    assert memorisation(sure, np.array([[True], [False]]))[0] == 1.0


@pytest.mark.parametrize(
    ("inside", "outside", "expected"),
    [
        ([2, 3], [0, 1], 1.0),
        ([0, 1], [2, 3], 0.0),
        ([1, 1], [1, 1], 0.5),
        ([0, 2], [1], 0.5),
        ([1, 2], [1, 0], 0.875),
    ],
)
def test_area_by_hand(inside: list[float], outside: list[float], expected: float) -> None:
    assert area(inside, outside) == pytest.approx(expected)


def test_weights_count_as_copies() -> None:
    roc = Roc.of(np.array([1.0, 3.0]), np.array([0.0, 2.0]))
    assert roc.areas(np.array([3.0, 1.0]), np.array([1.0, 2.0]))[0] == pytest.approx(
        area([1, 1, 1, 3], [0, 2, 2])
    )


def test_tpr_at_a_false_positive_rate() -> None:
    """100 models without the record, one of which scores 50: above it are 2 of 4, and one alarm in
    100 is allowed, so 3 of 4."""
    outside = np.array([50.0, *np.linspace(0, 1, 99)])
    roc = Roc.of(np.array([60.0, 55.0, 20.0, 0.5]), outside)
    assert roc.areas(np.ones(4), np.ones(100))[1] == pytest.approx(0.75)
    assert roc.areas(np.ones(4), np.ones(100), at=0.001)[1] == pytest.approx(0.5)


@pytest.mark.parametrize("shift", [1.0, 2.0])
def test_a_gaussian_shift_has_the_auc_of_its_d_prime(shift: float) -> None:
    """AUC = Φ(d' / √2). The fit of 32 models costs the attack up to a few hundredths."""
    found = power(drawn(shift, seed=1), seed=0)
    assert found.auc == pytest.approx(norm.cdf(shift / np.sqrt(2)), abs=0.03)
    assert found.interval[0] < norm.cdf(shift / np.sqrt(2)) < found.interval[1] + 0.02
    assert found.tpr > 0.05 * shift
    assert found.records == 40


def test_the_attack_is_worth_nothing_where_nothing_is_left() -> None:
    """Under the null hypothesis the AUC is one half on average, and the interval covers that nearly
    always."""
    found = [
        power(drawn(0.0, seed=seed, records=20, models=24), seed=0, resamples=200)
        for seed in range(40)
    ]
    areas = np.array([one.auc for one in found])
    assert areas.mean() == pytest.approx(0.5, abs=3 * areas.std() / np.sqrt(len(areas)) + 1e-9)
    assert abs(areas.mean() - 0.5) < 0.012
    assert sum(one.interval[0] <= 0.5 <= one.interval[1] for one in found) >= 36


def test_a_record_with_too_few_models_is_left_out() -> None:
    two, many = np.array([0.0, 1.0]), np.arange(5.0)
    numbers: Callable[[int], np.ndarray] = np.arange
    found = likelihood_ratios(
        [two, many], [many, many + 0.1], [(numbers(2), numbers(5)), (numbers(5), numbers(5) + 5)]
    )
    assert set(found.records.tolist()) == {1}
    assert found.models.max() == 9
    nothing = power(likelihood_ratios([two], [two], [(numbers(2), numbers(2))]), seed=0)
    assert (nothing.records, np.isnan(nothing.auc)) == (0, True)


def test_models_that_all_agree_give_finite_scores() -> None:
    same = np.zeros(8)
    found = likelihood_ratios([same], [same], [(np.arange(8), np.arange(8, 16))])
    assert np.isfinite(found.inside).all()
    assert power(found, seed=0).auc == pytest.approx(0.5)


def test_a_seed_gives_one_interval() -> None:
    scores = drawn(0.5, seed=3, records=10, models=16)
    found: list[Power] = [power(scores, seed=seed, resamples=100) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


def normal(shift: float, n: int = 200) -> Floats:
    return norm.ppf((np.arange(n) + 0.5) / n) + shift


def test_klom_is_zero_for_equal_samples_and_grows() -> None:
    grown = [klom(normal(shift), normal(0)) for shift in (0.0, 0.5, 1.0, 2.0, 8.0)]
    assert grown[0] == 0.0
    assert grown == sorted(grown)
    assert grown[-1] == pytest.approx(np.log(1e5) - entropy_of_bins(normal(8), normal(0)), abs=1e-6)
    assert klom(np.full(5, 3.0), np.full(7, 3.0)) == 0.0


def entropy_of_bins(p: Floats, q: Floats) -> float:
    counts = np.histogram(p, 20, (min(p.min(), q.min()), max(p.max(), q.max())))[0] / len(p)
    return float(-(counts[counts > 0] * np.log(counts[counts > 0])).sum())


def test_klom_by_hand() -> None:
    """Two bins are taken: KL((1/4, 3/4) ‖ (1/2, 1/2)); and a bin that no oracle is in counts as
    10⁻⁵."""
    assert klom(np.array([0.0, 1, 1, 1]), np.array([0.0, 0, 1, 1])) == pytest.approx(
        0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    )
    assert klom(np.array([0.0, 1.0]), np.array([0.0, 0.0])) == pytest.approx(
        0.5 * np.log(0.5) + 0.5 * np.log(0.5e5)
    )
    assert klom(np.array([-1e9, 1e9]), np.array([-100.0, 100.0])) == 0.0


def noise(models: int, records: int, *, seed: int, shift: float = 0.0) -> Floats:
    return np.random.default_rng(seed).normal(size=(models, records)) + shift


@pytest.mark.parametrize(("models", "bias"), [(32, 1.0), (200, 0.1)])
def test_the_excess_of_equal_samples_is_nothing(models: int, bias: float) -> None:
    """KLoM of two samples of one distribution is far from 0; less its null it is 0 on average."""
    found = divergence(noise(models, 300, seed=1), noise(models, 300, seed=2), seed=0)
    assert found.mean > bias
    assert found.null > bias
    assert abs(found.excess) < 0.05 * found.mean


@pytest.mark.parametrize("shift", [0.5, 1.0])
def test_the_excess_finds_what_is_left(shift: float) -> None:
    """Of Gaussians that are a shift apart it is near their KL divergence, shift² / 2."""
    found = divergence(noise(2000, 50, seed=1, shift=shift), noise(2000, 50, seed=2), seed=0)
    assert found.excess == pytest.approx(shift**2 / 2, rel=0.25)


def test_margins_that_differ_beyond_the_bound_are_told_apart() -> None:
    """Models that are sure, and models that are surer: clipped at 9.2 they would be equal."""
    sure, surer = noise(200, 20, seed=1, shift=12.0), noise(200, 20, seed=2, shift=16.0)
    assert divergence(surer, sure, seed=0).excess > 2
    assert divergence(bounded(surer), bounded(sure), seed=0).excess == pytest.approx(0, abs=0.05)
    certain = np.full((200, 20), np.inf)
    assert divergence(certain, certain, seed=0).mean == 0.0
    assert divergence(certain, sure, seed=0).excess > 2


def test_divergence_over_records() -> None:
    one = np.stack([normal(0), normal(2)], 1)
    other = np.stack([normal(0), normal(0)], 1)
    found = divergence(one, other, seed=0)
    assert found.records == 2
    assert found.mean == pytest.approx(klom(normal(2), normal(0)) / 2)
    assert found.p95 == pytest.approx(0.95 * klom(normal(2), normal(0)))
    assert found.excess == pytest.approx(found.mean - found.null)
    assert divergence(one, other, seed=0) == found
    assert divergence(one[:, :0], other[:, :0], seed=0).records == 0
