"""What partitions that do not move are worth: accuracy and the exact share of a full training that
one record, and a person of ten, train again. On digits, with ridge heads on frozen features, chosen
on validation records only: the test records are never read.

    python -m benchmarks.partitions --seeds 3 [--last] [--only NAME]

Each seed draws 80% of scikit-learn's digits as training records of which a quarter validates. A
head is a ridge regression of its shard's one-hot labels, in float64: a stand-in for prompts and
heads. A query is answered by the mean of the heads of its nearest cells (every head, where hashes
divide); the parts of one cell answer as one.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import cdist

from lmeraser_ray.config import Config
from lmeraser_ray.config.quickstart import QUICKSTART
from lmeraser_ray.data.reader import prepare
from lmeraser_ray.data.sources.digits import digit_entries
from lmeraser_ray.models.backbone import load_backbone
from lmeraser_ray.models.numerics import choose_device
from lmeraser_ray.models.partition.leaves import cell_of, divided

Floats = NDArray[np.float64]
Cells = NDArray[np.int32]
PENALTY, PEOPLE, ASKED = 0.01, 10, 40


@dataclass(frozen=True)
class Cut:
    """cells: [n], of the training records; prototypes: [k, d] of the cells; None where hashes
    divide; moments: mean and deviation [2, d] by which features are standardised before they are
    compared to prototypes."""

    cells: Cells
    prototypes: Floats | None
    k: int
    moments: Floats | None = None

    def placed(self, features: Floats) -> Floats:
        """Features [n, d] as prototypes are compared to."""
        return features if self.moments is None else (features - self.moments[0]) / self.moments[1]


Partitioner = Callable[[Floats, NDArray[np.int64]], Cut]
"""The cells of features [n, d], whose rows have the ranks [n] in a keyed order."""


def ward(features: Floats, rank: NDArray[np.int64], *, k: int, sample: int) -> Cut:
    """Ward's clusters of the first `sample`, medoids as prototypes."""
    order = np.argsort(rank)[:sample]
    own = fcluster(linkage(features[order], "ward"), k, "maxclust")
    chosen = [order[own == number] for number in np.unique(own)]
    each = [one[cdist(features[one], features[one]).sum(1).argmin()] for one in chosen]
    return nearest(features, features[each])


def landmarks(features: Floats, rank: NDArray[np.int64], *, k: int) -> Cut:
    """The k records of smallest rank are the prototypes."""
    return nearest(features, features[np.argsort(rank)[:k]])


def directions(features: Floats, _: NDArray[np.int64], *, k: int) -> Cut:
    """k random directions, a function of nobody's record."""
    found = np.random.default_rng(7).standard_normal((k, features.shape[1]))
    found *= np.sqrt(features.shape[1]) / np.linalg.norm(found, axis=1, keepdims=True)
    return nearest(features, found)


def standardised(
    features: Floats, rank: NDArray[np.int64], *, make: "Partitioner", permanent: float
) -> Cut:
    """The same on features standardised by the share of permanent records, those of smallest
    rank: nobody else moves a border."""
    stay = features[rank < permanent * len(rank)]
    moments = np.stack([stay.mean(0), np.maximum(stay.std(0), 1e-3)])
    cut = make((features - moments[0]) / moments[1], rank)
    return replace(cut, moments=moments)


def class_vectors(features: Floats, _: NDArray[np.int64], *, vectors: Floats) -> Cut:
    """The nearest of the pre-trained classifier's own class vectors [k, d]."""
    return nearest(features, vectors)


def hyperplanes(features: Floats, _: NDArray[np.int64], *, bits: int) -> Cut:
    """The signs of random projections; a cell's prototype is the sum of its signed normals."""
    normals = np.random.default_rng(7).standard_normal((features.shape[1], bits))
    cells = ((features @ normals > 0) * 2 ** np.arange(bits)).sum(1).astype(np.int32)
    signs = 2.0 * (np.arange(2**bits)[:, None] >> np.arange(bits) & 1) - 1
    return Cut(cells, signs @ normals.T, 2**bits)


def hashed(_: Floats, rank: NDArray[np.int64], *, k: int) -> Cut:
    """Random shards."""
    found = (rank * 2654435761 % 2**32 >> 8) % k  # of the record's own number alone
    return Cut(found.astype(np.int32), None, k)


def nearest(features: Floats, prototypes: Floats) -> Cut:
    """Each record to its nearest prototype."""
    found = cdist(features, prototypes, "sqeuclidean").argmin(1).astype(np.int32)
    return Cut(found, prototypes, len(prototypes))


def head(features: Floats, labels: NDArray[np.int64]) -> Floats:
    """Ridge regression in the dual, with the bias as a last feature. [m, d], [m] → [d + 1, 10]."""
    x = np.concatenate([features, np.ones((len(features), 1))], 1)
    centred = features - features.mean(0)
    penalty = PENALTY * max((centred**2).sum(1).mean(), 1e-9)
    gram = x @ x.T + penalty * np.eye(len(x))
    found: Floats = x.T @ np.linalg.solve(gram, np.eye(10)[labels])
    return found


def accuracy(
    cut: Cut, leaves: Cells, train: tuple[Floats, Cells], held: tuple[Floats, Cells], *, near: int
) -> float:
    """The share of right answers over held-out records."""
    numbers = np.unique(leaves)
    queries = np.concatenate([held[0], np.ones((len(held[0]), 1))], 1)
    answers = np.stack(
        [queries @ head(train[0][leaves == n], train[1][leaves == n]) for n in numbers]
    )
    of = np.array([cell_of(int(n), cut.k) for n in numbers])
    if cut.prototypes is None:
        return float((answers.mean(0).argmax(1) == held[1]).mean())
    present = np.unique(of)
    each = np.stack([answers[of == cell].mean(0) for cell in present])
    far = cdist(cut.placed(held[0]), cut.prototypes[present], "sqeuclidean")
    order = np.argsort(far, 1)[:, :near]
    chosen = np.take_along_axis(far, order, 1)
    weights = np.exp(-(chosen / chosen[:, :1] - 1) / 0.2)
    weights /= weights.sum(1, keepdims=True)
    said = (weights[:, :, None] * each[order, np.arange(len(order))[:, None]]).sum(1)
    return float((said.argmax(1) == held[1]).mean())


def share(before: Cells, after: Cells, left: NDArray[np.bool_]) -> float:
    """The share of the remaining records that are in shards which the old state lacks."""
    old = {members.tobytes() for members in sets(before, np.flatnonzero(before >= 0))}
    new = sets(after, np.flatnonzero(left))
    return sum(len(m) for m in new if m.tobytes() not in old) / int(left.sum())


def sets(shard: Cells, at: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """The members of each shard."""
    order = at[np.argsort(shard[at], kind="stable")]
    yield from np.split(order, np.flatnonzero(np.diff(shard[order])) + 1)


def partitions(vectors: Floats | None) -> dict[str, tuple[Partitioner, list[int | None]]]:
    """What is tried, by name, each with its bounds. vectors: the classifier's, where features are
    those that it reads."""
    found: dict[str, tuple[Partitioner, list[int | None]]] = {
        "random 30": (partial(hashed, k=30), [None]),
        "random 1": (partial(hashed, k=1), [32, 64]),
    }
    for k in (70, 140, 280):
        found[f"landmarks {k}"] = (partial(landmarks, k=k), [None, 32])
        found[f"directions {k}"] = (partial(directions, k=k), [None, 32])
        of_scale = partial(standardised, make=found[f"directions {k}"][0], permanent=0.1)
        found[f"directions {k} of standardised features"] = (of_scale, [None, 32])
    for bits in (6, 8):
        found[f"hyperplanes {bits}"] = (partial(hyperplanes, bits=bits), [None, 32])
        of_scale = partial(standardised, make=found[f"hyperplanes {bits}"][0], permanent=0.1)
        found[f"hyperplanes {bits} of standardised features"] = (of_scale, [None, 32])
    if vectors is not None:
        found["class vectors"] = (partial(class_vectors, vectors=vectors), [None, 32])
    found["Ward 70 of 150"] = (partial(ward, k=70, sample=150), [None, 32])
    return found


def digits(last: bool) -> tuple[Floats, NDArray[np.int64], Floats | None]:
    """The features of all digits, layer-normalised [1797, d], their labels, and the class vectors
    [k, d] of the backbone's classifier, layer-normalised, where features are the last."""
    tree = {**QUICKSTART, "backbone": dict(QUICKSTART["backbone"])}
    if last:
        tree["backbone"]["readout"] = {"layer": None, "pool": "mean"}
    config = Config.model_validate(tree)
    backbone = load_backbone(
        config.backbone, choose_device("cpu"), classifier=last, data=config.data
    )
    entries = list(digit_entries())
    pixels = [prepare(entry.read(), backbone.spec, config.data.max_pixels) for entry in entries]
    labels = np.array([int(entry.label) for entry in entries])
    size = backbone.batch
    found = [
        backbone.features(np.stack(pixels[at : at + size])) for at in range(0, len(pixels), size)
    ]
    vectors = None
    if last and isinstance(backbone.classifier, torch.nn.Linear):
        vectors = normalised(backbone.classifier.weight.numpy())
    return normalised(np.concatenate(found)), labels, vectors


def normalised(rows: NDArray[np.float32]) -> Floats:
    """Each row [n, d] less its mean, by its deviation."""
    whole = rows.astype(np.float64)
    whole -= whole.mean(1, keepdims=True)
    found: Floats = whole / whole.std(1, keepdims=True)
    return found


def trial(
    features: Floats, labels: NDArray[np.int64], make: Partitioner, bound: int | None, seed: int
) -> dict[str, float]:
    """Accuracy on validation records, and shares: of one record (mean, worst), of a person."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(features))[: int(0.8 * len(features))]
    held, at = order[: len(order) // 4], order[len(order) // 4 :]
    x, y = features[at], labels[at]
    rank, hashes = rng.permutation(len(at)), rng.integers(0, 2**32, len(at)).astype(np.uint32)

    def leaves(left: NDArray[np.bool_]) -> tuple[Cut, Cells]:
        cut = make(x[left], rank[left])
        found = np.full(len(x), -1, np.int32)
        found[left] = divided(cut.cells, hashes[left], bound=bound, k=cut.k)
        return cut, found

    whole = np.ones(len(x), np.bool_)
    cut, before = leaves(whole)
    found = {
        f"accuracy of {near}": accuracy(
            cut, before, (x, y), (features[held], labels[held]), near=near
        )
        for near in ((3, 5) if cut.prototypes is not None else (0,))
    }
    ones = np.concatenate([np.argsort(rank)[:: len(x) // ASKED]])
    costs = [share(before, leaves(gone(whole, [i]))[1], gone(whole, [i])) for i in ones]
    of_ten = [rng.choice(len(x), PEOPLE, replace=False) for _ in range(6)]
    many = [share(before, leaves(gone(whole, each))[1], gone(whole, each)) for each in of_ten]
    return found | {
        "mean of one": float(np.mean(costs)),
        "worst of one": float(np.max(costs)),
        "ten scattered records": float(np.mean(many)),
    }


def gone(whole: NDArray[np.bool_], positions: object) -> NDArray[np.bool_]:
    """All but these."""
    left = whole.copy()
    left[positions] = False
    return left


def main() -> None:
    """Print a line of JSON for each partition, bound and readout: means over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--last", action="store_true", help="the last features")
    parser.add_argument("--only", default="", help="partitions whose name has this in it")
    asked = parser.parse_args()
    features, labels, vectors = digits(asked.last)
    for name, (make, bounds) in partitions(vectors).items():
        for bound in bounds if asked.only in name else ():
            found = [trial(features, labels, make, bound, seed) for seed in range(asked.seeds)]
            means = {key: round(float(np.mean([one[key] for one in found])), 4) for key in found[0]}
            print(json.dumps({"partition": name, "bound": bound, **means}), flush=True)


if __name__ == "__main__":
    main()
