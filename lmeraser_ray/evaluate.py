"""`evaluate`: how good the published state is, on test records and on the training records that remain.

stored features → nearest prototypes → each shard answers its queries (one job a shard) → averaged → accuracy
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.aggregation.nearest import Predictions, combine, route
from lmeraser_ray.errors import DataError
from lmeraser_ray.flow import Flow
from lmeraser_ray.index import RecordIndex
from lmeraser_ray.partition.stage import gather, read_partition
from lmeraser_ray.session import Session
from lmeraser_ray.state.manifest import Manifest
from lmeraser_ray.state.store import StoredObject
from lmeraser_ray.work import AnswerRows, Answers


@dataclass(frozen=True)
class Score:
    """Accuracy on some records: overall, by class, and by the shard that is nearest (with the number of queries)."""

    accuracy: float | None
    by_class: dict[str, float]
    by_shard: dict[int, tuple[float, int]]
    records: int


@dataclass(frozen=True)
class Evaluation:
    """The scores of a published state."""

    test: Score
    train: Score
    shard_sizes: tuple[int, ...]
    fingerprint: str


def evaluate(session: Session) -> Evaluation:
    """Score the published state. Errors: `DataError` where no training record is left to answer."""
    return session.consistently(lambda manifest: evaluate_state(session, manifest))


def evaluate_state(session: Session, manifest: Manifest) -> Evaluation:
    """Score one published state."""
    folder = session.folder
    if manifest.partition is None:
        raise DataError(f"{folder.root} holds no training records, so there is nothing to evaluate: train it on some first.")
    with session.flow(folder.store, session.config(), manifest.backbone) as flow:
        index = RecordIndex.read(folder.store, [state.bucket for state in manifest.buckets])
        test = score(flow, manifest, index, np.flatnonzero(index.test))
        train = score(flow, manifest, index, index.training)
    return Evaluation(test, train, tuple(shard.size for shard in manifest.shards), manifest.fingerprint)


def score(flow: Flow, manifest: Manifest, index: RecordIndex, positions: NDArray[np.int64]) -> Score:
    """Predict stored records and compare with their labels. `positions` are ascending."""
    if len(positions) == 0 or manifest.partition is None:
        return Score(None, {}, {}, len(positions))
    predicted = predict_stored(flow, manifest, manifest.partition, index, positions)
    labels = index.names("label", positions)
    right = np.array([a == b for a, b in zip(predicted.labels, labels, strict=True)])
    by_class, by_shard = defaultdict(list), defaultdict(list)
    for correct, label, shard in zip(right.tolist(), labels, predicted.routes.shards[:, 0].tolist(), strict=True):
        by_class[label].append(correct)
        by_shard[shard].append(correct)
    return Score(
        float(right.mean()),
        {label: float(np.mean(found)) for label, found in sorted(by_class.items())},
        {shard: (float(np.mean(found)), len(found)) for shard, found in sorted(by_shard.items())},
        len(positions),
    )


def predict_stored(
    flow: Flow, manifest: Manifest, partition: StoredObject, index: RecordIndex, positions: NDArray[np.int64]
) -> Predictions:
    """Predictions for stored records, from their stored features."""
    features = gather(flow.store, index, [state.features for state in manifest.buckets], positions).astype(np.float32)
    prototypes = read_partition(flow.store, partition).prototypes
    routes = route(features, prototypes, flow.config.aggregation)
    asked = routes.queries()
    shards = list(asked)
    jobs = [AnswerRows(manifest.shards[shard].constituent, index.rows(positions[asked[shard]])) for shard in shards]
    answers: dict[int, Answers] = {}
    with flow.progress.stage("start"):
        flow.engine.start()
    with flow.progress.bar("evaluating", sum(job.weight for job in jobs), "rec") as advance:
        for at, result in flow.engine.run(jobs):
            answers[shards[at]] = result
            advance(jobs[at].weight)
    return combine(routes, asked, answers)


if __name__ == "__main__":
    from lmeraser_ray.cli import main

    main("evaluate")
