"""The closed-form start of the linear head."""

import numpy as np
import pytest
import torch

from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.head import Head, ridge_head


@pytest.mark.parametrize(("n", "d", "c"), [(9, 4, 3), (4, 50, 2), (1, 3, 2)])
def test_ridge_is_the_closed_form(n: int, d: int, c: int) -> None:
    """Against the primal solution of numpy, with more records than features and the other way
    round."""
    rng = np.random.default_rng(n)
    features, targets = rng.normal(3, 2, (n, d)).astype(np.float32), rng.integers(0, c, n)
    weight, bias = ridge_head(features, targets, c, 0.1)
    x = features.astype(float) - features.astype(float).mean(0)
    y = np.eye(c)[targets]
    strength = 0.1 * np.square(x).sum(1).mean() + 1e-12
    expected = np.linalg.solve(x.T @ x + strength * np.eye(d), x.T @ (y - y.mean(0))).T
    assert weight == pytest.approx(expected, abs=1e-5)
    assert bias == pytest.approx(y.mean(0) - expected @ features.astype(float).mean(0), abs=1e-4)
    assert (weight.shape, bias.shape, weight.dtype) == ((c, d), (c,), np.float32)


def test_a_head_goes_on_from_one_of_other_classes() -> None:
    """Classes that both have keep their rows; one that is new begins at zero; one that the shard
    lacks is left out."""
    tensors = {"weight": np.float32([[1, 1], [2, 2], [3, 3]]), "bias": np.float32([1, 2, 3])}
    start = Constituent(("ant", "bee", "cat"), tensors, {})
    head = Head(2, ("bee", "bug", "cat"), start, torch.device("cpu"))
    assert head.weight.tolist() == [[2, 2], [0, 0], [3, 3]]
    assert head.bias.tolist() == [2, 0, 3]
