"""Ridge regression of one-hot labels on stored features, or on a random ReLU projection of them
(RanPAC: McDonnell et al., NeurIPS 2023).

    minimise over W:   |Xc W - Yc|² + λ |W|²,      λ = penalty × mean |xc|²
    Xc [n, d]: centred integer features;           Yc [n, c]: centred one-hot labels

Solved with the d × d Gram matrix where a shard has at least as many records as features, and with
the n × n matrix of inner products where it has fewer. Both are exact integers, so the equations are
a function of the set of records; they are solved in float64, and the caller holds torch to one
thread. The Gram matrix adds up, so a deletion there is a subtraction and one solution; with fewer
records than features, the rows are less to store than that matrix. `solve: gram` stores it all the
same, and reads fewer rows.

    >>> from lmeraser_ray.config import RidgeConfig
    >>> shard = ShardData("00" * 32, np.float32([[0, 0], [0, 2], [5, 5]]), ("cat", "cat", "dog"))
    >>> learner = Ridge(RidgeConfig(), quantum=2.0**-8)
    >>> learner.answer(learner.train(shard), np.float32([[5, 4]])).round(2)
    array([[0., 1.]], dtype=float32)
"""

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lmeraser_ray.config import RidgeConfig
from lmeraser_ray.models.learners.base import Features, Probabilities, ShardData
from lmeraser_ray.models.learners.closed_form import SummingLearner
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.quantize import (
    BLOCK,
    EXACT_TERMS,
    Integers,
    clip,
    doubles,
    products,
)
from lmeraser_ray.models.learners.statistics import Statistics
from lmeraser_ray.storage.digests import canonical_json, generator_seed, key_of

SCALE = 8.0
"""Scores are near 0 and 1; logits are these times the scale. `python -m benchmarks.constants` tried
4 to 48 on validation records of two sets of digits, at three readouts (`docs/results.md`). One
shard's log loss is least at 10 to 16, and at 8 on average 1.4 times that. Averaged random shards
have the less log loss the larger the scale, and the less accuracy: 0.2 points less at 8 than at 4,
0.4 at 12. The two measures disagree, so it stays between their best values."""

PROJECTION_BITS = 12
"""The projection's normal values are rounded to multiples of 2^-12, within ±8, which makes them
int16."""


class Ridge(SummingLearner[RidgeConfig]):
    """Ridge regression; a function of the public seed too, from which the projection is drawn."""

    longest = EXACT_TERMS
    gram = True

    def __init__(self, config: RidgeConfig, *, quantum: float, seed: int = 0) -> None:
        super().__init__(config, quantum=quantum)
        self.seed = seed

    def identity(self) -> dict[str, object]:
        """As of every closed form; the seed only where something is drawn."""
        return {**super().identity(), **self._drawn()}

    def counted(self) -> dict[str, object]:
        """With the projection, whose outputs are summed."""
        return {**super().counted(), "projection": self.config.projection, **self._drawn()}

    def _drawn(self) -> dict[str, object]:
        return {"seed": self.seed} if self.config.projection else {}

    def fewest(self, dimension: int) -> int:
        """As many as the features that are solved for: from there on the Gram matrix is used; with
        `solve: gram` it always is."""
        return 1 if self.config.solve == "gram" else self.config.projection or dimension

    def fit(self, integers: Integers, shard: ShardData) -> Constituent:
        """Solve with the matrix that `solve` names. integers: [n, d] int16, before the
        projection."""
        projected = self.project(integers)
        n, d = projected.shape
        several = len(shard.classes) > 1
        if several and n < self.fewest(d):
            weight, bias = solve_dual(projected, shard.labels, self.config.penalty)
            return self._frozen(shard.classes, weight, bias)
        return self.constituent(Statistics.of(projected, shard.labels, gram=several))

    def constituent(self, statistics: Statistics) -> Constituent:
        """The constituent of the records that these statistics are of.

        A shard of one class has nothing to learn: weights zero, and the mean label, 1, as bias.
        """
        if len(statistics.classes) == 1:
            return self._frozen(
                statistics.classes, torch.zeros(1, statistics.sums.shape[1]), torch.ones(1)
            )
        return self._frozen(statistics.classes, *solve_primal(statistics, self.config.penalty))

    def _frozen(self, classes: tuple[str, ...], weight: Tensor, bias: Tensor) -> Constituent:
        """weight: [c, d], bias: [c], in quanta, as float32."""
        tensors = {"weight": weight.float().numpy(), "bias": bias.float().numpy()}
        return Constituent(classes, tensors, {"learner": self.config.kind})

    def project(self, integers: Integers) -> Integers:
        """relu(x W) as multiples of the same quantum, or x itself. integers: [n, d] int16 → [n, p]
        int16.

        W is [d, p] normal / sqrt(d), so that a value is about as large as the root mean square of x
        and the quantum fits both; only where that is above a fifth of the limit may a value
        saturate, which is then one more bend. Products and sums are exact (int16 by int16, see
        `quantize`) and rounded once, so a record's projection does not depend on its batch-mates.
        """
        width, d = self.config.projection, integers.shape[1]
        if not width:
            return integers
        matrix, scale = projection(d, width, self.seed), 2**PROJECTION_BITS * np.sqrt(d)
        found = np.empty((len(integers), width), np.int16)
        for at in range(0, width, BLOCK):
            found[:, at : at + BLOCK] = clip(
                np.maximum(products(integers, matrix[at : at + BLOCK]), 0) / scale
            )
        return found

    def answer(
        self, constituent: Constituent, features: Features, *, group: int = 0
    ) -> Probabilities:
        """softmax(8 × score). features: [n, d] float32 → [n, c] float32, columns as
        `constituent.classes`; one class is certain."""
        return softmax(self.scores(constituent, features), SCALE)

    def scores(self, constituent: Constituent, features: Features) -> NDArray[np.float64]:
        """The regression's values, near 1 for the right class and near 0 for the others. features:
        [n, d] float32 → [n, c] float64, columns as `constituent.classes`."""
        weight, bias = (
            torch.from_numpy(constituent.tensors[name].astype(np.float64))
            for name in ("weight", "bias")
        )
        integers = self.project(self.queries(features))
        found = [
            doubles(integers[at : at + BLOCK]) @ weight.T for at in range(0, len(integers), BLOCK)
        ]
        scores = torch.cat(found) if found else torch.zeros(0, len(bias), dtype=torch.float64)
        values: NDArray[np.float64] = (scores + bias).numpy()
        return values


def softmax(scores: NDArray[np.float64], scale: float) -> Probabilities:
    """Probabilities whose logits are the scores times the scale. scores: [n, c] → [n, c] float32.

    >>> softmax(np.array([[0.0, 1.0]]), 8.0).round(4)
    array([[3.000e-04, 9.997e-01]], dtype=float32)
    """
    found: Probabilities = (
        functional.softmax(scale * torch.from_numpy(scores), dim=1).float().numpy()
    )
    return found


@functools.lru_cache(maxsize=1)
def projection(d: int, width: int, seed: int) -> Integers:
    """The random projection, transposed: [width, d] int16, read-only, standard normal × 2^12. A
    function of its arguments only."""
    key = key_of(
        "ridge projection", canonical_json({"features": d, "projection": width, "seed": seed})
    )
    generator, matrix = (
        torch.Generator().manual_seed(generator_seed(key)),
        np.empty((width, d), np.int16),
    )
    for at in range(0, width, BLOCK):
        drawn = torch.randn(min(BLOCK, width - at), d, generator=generator)
        matrix[at : at + BLOCK] = clip(drawn.double().numpy() * 2**PROJECTION_BITS)
    matrix.setflags(write=False)
    return matrix


def solve_primal(statistics: Statistics, penalty: float) -> tuple[Tensor, Tensor]:
    """(Gc + λ I) W = Xcᵀ Yc, with Gc = G - s sᵀ / n from the integer sums → weight [c, d], bias
    [c], float64."""
    n, counts = statistics.records, torch.from_numpy(statistics.counts).double()
    sums = torch.from_numpy(statistics.sums).double()
    mean = torch.from_numpy(statistics.sums.sum(axis=0)).double() / n
    gram = torch.from_numpy(statistics.gram).double() - n * torch.outer(mean, mean)
    cross = sums.T - torch.outer(mean, counts)
    weight = solve(gram, float(gram.diagonal().sum()) / n, cross, penalty).T
    return weight, counts / n - weight @ mean


def solve_dual(
    integers: Integers, labels: tuple[str, ...], penalty: float
) -> tuple[Tensor, Tensor]:
    """(Kc + λ I) A = Yc, W = Xcᵀ A, with Kc from the exact inner products K. integers: [n, d] →
    weight [c, d], bias [c], float64."""
    n, classes = len(integers), sorted(set(labels))
    targets = functional.one_hot(torch.tensor([classes.index(label) for label in labels])).double()
    kernel = torch.from_numpy(products(integers, integers))
    rows = torch.from_numpy(kernel.numpy().astype(np.int64).sum(axis=1)).double() / n
    kernel = kernel - rows[:, None] - rows[None, :] + rows.mean()
    mean_x = torch.from_numpy(integers.sum(axis=0, dtype=np.int64)).double() / n
    mean_y = targets.mean(0)
    dual = solve(kernel, float(kernel.diagonal().sum()) / n, targets - mean_y, penalty)
    weight = ((doubles(integers) - mean_x).T @ dual).T
    return weight, mean_y - weight @ mean_x


def solve(matrix: Tensor, mean_norm: float, right: Tensor, penalty: float) -> Tensor:
    """(matrix + λ I)⁻¹ right, λ = penalty × mean_norm. matrix: [m, m], right: [m, c], float64.
    Where all features are equal, λ is 1.

    The configuration wants a penalty of 1e-6 at least, so that the matrix is regular in float64 and
    no deletion can come to be refused.
    """
    strength = penalty * mean_norm if mean_norm > 0 else 1.0
    found: Tensor = torch.linalg.solve(
        matrix + strength * torch.eye(len(matrix), dtype=matrix.dtype), right
    )
    return found
