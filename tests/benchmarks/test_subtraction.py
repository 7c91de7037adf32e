"""The benchmarks of subtraction run, and the attack on two heads finds who left where it must."""

import json
import sys

import numpy as np
import pytest

from benchmarks import reconstruction, subtraction


def test_a_deletion_is_timed_and_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its figures are not looked at: this machine is shared."""
    monkeypatch.setattr(subtraction, "BUCKET", 800)
    monkeypatch.setattr(sys, "argv", ["benchmark", "--records", "1600", "2400", "--rounds", "1"])
    subtraction.main()
    found = json.loads(capsys.readouterr().out)
    assert found["cpu_seconds"].keys() == {"1600", "2400"}
    assert set(found["cpu_seconds"]["1600"]) == {"bucket", "plan", "job", "all", "but_plan"}


def heads(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The weights of a ridge regression with an intercept [d, c]."""
    centred, penalty = x - x.mean(0), 0.01 * np.square(x - x.mean(0)).sum(1).mean()
    gram = centred.T @ centred + penalty * np.eye(x.shape[1])
    return np.linalg.solve(gram, centred.T @ (y - y.mean(0)))


@pytest.mark.parametrize("together", [1, 2])
def test_the_difference_of_two_heads_is_who_left(together: int) -> None:
    """Exactly known covariance: nearly one for who left, chance for who stayed."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 20)), np.eye(4)[rng.integers(0, 4, 300)]
    change = heads(x, y) - heads(x[together:], y[together:])
    basis = reconstruction.subspace(change, x, 0.01 / len(x), together)
    best, most = reconstruction.cosines(x[:together], x.mean(0), basis)
    assert min(most) > 0.98
    assert together > 1 or best == most
    assert np.median(reconstruction.cosines(x[together:], x.mean(0), basis)[1]) < 0.5
