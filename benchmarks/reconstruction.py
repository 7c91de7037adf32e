"""`python -m benchmarks.reconstruction`: what two published ridge heads, one before and one after a
deletion, reveal of who was deleted. Minutes. `--out docs/results/reconstruction.json` keeps it.

The attack of "Reconstruction Attacks on Machine Unlearning: Simple Models are Vulnerable" (arXiv
2405.20272), on digits: the change of the weights, multiplied by the covariance of features, is the
sum of the deleted records' centred features, each times its residuals. So it spans a subspace with
as many directions as records were deleted (at most classes less one). Reported are two cosines of a
record's centred feature, of those deleted and, as a control, of as many that stayed: with the best
of these directions (a reconstruction: one feature that is read off), and with the subspace (what
any reconstruction from it can reach). With one deletion they are the same.

The attacker knows the backbone, the penalty, and features of other people (the test records), of
which it takes mean and covariance; `exact` is an attacker who knows these of the training records.
The heads are those that the flow publishes, with the byte law.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine
from lmeraser_ray.config import Config
from lmeraser_ray.config.quickstart import QUICKSTART
from lmeraser_ray.data.feature_file import read_features
from lmeraser_ray.data.index import RecordIndex, remaining
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.pipeline.flow import Flow, load_inputs
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.store import Store
from lmeraser_ray.study.ingested_flow import ingested_flow

TOGETHER = (1, 10, 100)
"""How many records are deleted between the two heads."""
Floats = NDArray[np.float64]
RIDGE = {
    "partition": {"kind": "random", "shards": 1},
    "learner": {"kind": "ridge"},
    "aggregation": {"kind": "all"},
    "execution": {"engine": "inline"},
}
"""One head over all records."""


@dataclass(frozen=True)
class Published:
    """A state with one ridge head. features [n, d]: of its live records; weight [d, c]."""

    flow: Flow
    manifest: Manifest
    index: RecordIndex
    features: Floats
    weight: Floats


def backbone(pool: str) -> dict[str, Any]:
    """The quickstart's backbone, its fourth stage pooled so."""
    return {**QUICKSTART["backbone"], "readout": {"layer": 3, "pool": pool}}


def weight_of(store: Store, manifest: Manifest) -> Floats:
    """The weights of a state's head [d, c]."""
    [shard] = manifest.shards
    tensors = Constituent.from_bytes(store.read(shard.constituent)).tensors
    return tensors["weight"].astype(np.float64).T


def after(before: Published, gone: NDArray[np.int64]) -> Floats:
    """The weights of the state without some records, by position."""
    lost = np.zeros(len(before.index), np.bool_)
    lost[gone] = True
    buckets = remaining(before.flow.store, before.index, lost)
    found = before.flow.evaluate(buckets, before.manifest, before.index)
    return weight_of(before.flow.store, found.manifest)


def subspace(change: Floats, known: Floats, penalty: float, directions: int) -> Floats:
    """The directions [d, r] that the change of the weights [d, c] reveals. known [m, d]: features
    whose covariance the attacker takes; penalty: for each record, relative to the mean squared
    norm."""
    centred = known - known.mean(0)
    covariance = centred.T @ centred / len(known)
    ridge = penalty * covariance.trace() * np.eye(len(covariance))
    left, _, _ = np.linalg.svd((covariance + ridge) @ change, full_matrices=False)
    return left[:, :directions]


def cosines(features: Floats, mean: Floats, basis: Floats) -> tuple[list[float], list[float]]:
    """Of each feature [k, d], centred: with the best direction of a basis [d, r], and with the
    subspace."""
    centred = features - mean
    along = np.abs(centred @ basis) / np.linalg.norm(centred, axis=1, keepdims=True)
    return along.max(1).tolist(), np.linalg.norm(along, axis=1).tolist()


def attack(before: Published, together: int, times: int, penalty: float) -> dict[str, Any]:
    """Delete so many records, so many times; the cosines of those deleted and of others."""
    rng, classes = np.random.default_rng(together), before.weight.shape[1]
    test, training = np.flatnonzero(before.index.test), before.index.training
    knows = {"public": before.features[test], "exact": before.features[training]}
    found: dict[str, list[float]] = {
        f"{who}, {whom}, {of}": []
        for who in knows
        for whom in ("deleted", "stayed")
        for of in ("direction", "subspace")
    }
    for _ in range(times):
        chosen = rng.choice(training, 2 * together, replace=False)
        gone, stayed = chosen[:together], chosen[together:]
        change = before.weight - after(before, gone)
        for who, known in knows.items():
            basis = subspace(change, known, penalty, min(together, classes - 1))
            for whom, rows in (("deleted", gone), ("stayed", stayed)):
                best, most = cosines(before.features[rows], known.mean(0), basis)
                found[f"{who}, {whom}, direction"] += best
                found[f"{who}, {whom}, subspace"] += most
    return {
        "deleted": together,
        "times": times,
        "directions": min(together, classes - 1),
        "cosine": {name: summary(each) for name, each in found.items()},
    }


def summary(values: list[float]) -> dict[str, float]:
    """Median, and the 5th and 95th percentile."""
    median, low, high = np.percentile(values, [50, 5, 95]).round(3).tolist()
    return {"median": median, "p5": low, "p95": high}


def main() -> None:
    """Train, delete, attack, report."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.reconstruction", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--times", type=int, nargs=3, default=[30, 10, 3])
    parser.add_argument("--pool", default="mean", help="backbone.readout.pool of the fourth stage")
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    options = parser.parse_args()
    config = Config.model_validate({**QUICKSTART, "backbone": backbone(options.pool), **RIDGE})
    with tempfile.TemporaryDirectory(prefix="lmeraser-reconstruction-") as folder:
        store = Store(Path(folder, "objects"), "benchmark")
        store.create()
        session = Session(Path(folder, "workspace"))
        with ingested_flow(session, store, load_inputs(config)) as (flow, buckets):
            manifest = flow.evaluate(buckets, None).manifest
            machine.say("trained")
            index = RecordIndex.read(store, buckets)
            features = np.concatenate(
                [read_features(store, state.features) for state in manifest.buckets]
            ).astype(np.float64)
            before = Published(flow, manifest, index, features, weight_of(store, manifest))
            penalty = float(flow.config.learner.identity()["penalty"]) / len(index.training)
            attacks = [
                attack(before, together, times, penalty)
                for together, times in zip(TOGETHER, options.times, strict=True)
            ]
    result = {
        "benchmark": "reconstruction",
        "pool": options.pool,
        "records": {"training": len(index.training), "public": int(index.test.sum())},
        "dimension": features.shape[1],
        "attacks": attacks,
        "machine": machine.describe(),
    }
    machine.report(result, options.out)


if __name__ == "__main__":
    main()
