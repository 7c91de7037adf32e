"""`evaluate`: how good the published state is, on test records and on the training records that remain.

stored features → who answers (aggregation) → each shard answers its queries (one job a shard) → combined → accuracy
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.errors import DataError
from lmeraser_ray.models.aggregation.routes import Predictions, Queries, Routes, Serving, combine, route
from lmeraser_ray.models.partition.stage import gather, read_clusters
from lmeraser_ray.pipeline.flow import Flow
from lmeraser_ray.pipeline.jobs import AnswerRows, Answers, HashPixels
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import Published, WorkspaceFolder
from lmeraser_ray.storage.store import Store, StoredObject

TOGETHER = 1 << 14
"""Stored records that are asked about at a time: their features and their answers are in memory."""


@dataclass(frozen=True)
class Score:
    """Accuracy on some records: overall, by class, and by the shard that is asked first (with the number of queries), by its place."""

    accuracy: float | None
    by_class: dict[str, float]
    by_shard: dict[int, tuple[float, int]]
    records: int


@dataclass(frozen=True)
class Evaluation:
    """The scores of a published state. `shard_sizes` are of the shards that answer; `quarantined` the numbers of those that may not."""

    test: Score
    train: Score
    shard_sizes: tuple[int, ...]
    fingerprint: str
    quarantined: tuple[int, ...] = ()


def evaluate(session: Session) -> Evaluation:
    """Score the published state. Errors: `DataError` where no training record is left to answer."""
    return session.consistently(lambda state: evaluate_state(session, state))


def evaluate_state(session: Session, state: Published) -> Evaluation:
    """Score one published state, by the shards that may answer."""
    folder = session.folder
    refuse_silence(folder, state)
    manifest = state.answering
    with session.flow(folder.store, session.config(), manifest.backbone) as flow:
        index = RecordIndex.read(folder.store, [state.bucket for state in manifest.buckets])
        test = score(flow, manifest, index, np.flatnonzero(index.test))
        train = score(flow, manifest, index, index.training)
    answering = {shard.number for shard in manifest.shards}
    silent = tuple(shard.number for shard in state.manifest.shards if shard.number not in answering)
    return Evaluation(test, train, tuple(shard.size for shard in manifest.shards), state.manifest.fingerprint, silent)


def refuse_silence(folder: WorkspaceFolder, state: Published) -> None:
    """Errors: `DataError` where no shard can answer."""
    if not state.manifest.shards:
        raise DataError(f"{folder.root} holds no training records, so nothing can answer: train it on some first.")
    if not state.answering.shards:
        raise DataError(f"Every constituent of {folder.root} is in quarantine, so nothing can answer until the erasure is published.")


def score(flow: Flow, manifest: Manifest, index: RecordIndex, positions: NDArray[np.int64]) -> Score:
    """Predict stored records and compare with their labels, so many at a time. `positions` are ascending."""
    if len(positions) == 0 or not manifest.shards:
        return Score(None, {}, {}, len(positions))
    features, tally = [state.features for state in manifest.buckets], Tally()
    for at in range(0, len(positions), TOGETHER):
        some = positions[at : at + TOGETHER]
        tally.count(predict_stored(flow, manifest, Stored(index, features, some)), index.names("label", some))
    return tally.score()


def score_of(predicted: Predictions, labels: Sequence[str]) -> Score:
    """Compare predictions with q labels, q ≥ 1."""
    tally = Tally()
    tally.count(predicted, labels)
    return tally.score()


class Tally:
    """Right answers and queries: of each class, and of each shard."""

    def __init__(self) -> None:
        self._classes: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        self._shards: dict[int, list[int]] = defaultdict(lambda: [0, 0])

    def count(self, predicted: Predictions, labels: Sequence[str]) -> None:
        """Compare predictions with their labels."""
        for said, label, shard in zip(predicted.labels, labels, predicted.routes.shards[:, 0].tolist(), strict=True):
            for counts in (self._classes[label], self._shards[shard]):
                counts[0] += said == label
                counts[1] += 1

    def score(self) -> Score:
        """What was counted, q ≥ 1."""
        right, queries = (sum(counts[i] for counts in self._classes.values()) for i in (0, 1))
        return Score(
            right / queries,
            {label: right / all_ for label, (right, all_) in sorted(self._classes.items())},
            {shard: (right / all_, all_) for shard, (right, all_) in sorted(self._shards.items())},
            queries,
        )


@dataclass(frozen=True)
class Stored:
    """Stored records as queries: of an index whose buckets have these `features`, those at `positions` [q] int64, ascending."""

    index: RecordIndex
    features: Sequence[StoredObject]
    positions: NDArray[np.int64]


def predict_stored(flow: Flow, manifest: Manifest, stored: Stored) -> Predictions:
    """A state's predictions for stored records, which need not be records of that state."""
    routes = route_stored(flow, manifest, stored)
    asked = routes.queries()
    shards = sorted(asked, key=lambda shard: -len(asked[shard]))
    jobs = (
        AnswerRows(manifest.shards[shard].constituent, flow.parts(stored.index, stored.features, stored.positions[asked[shard]]), shard)
        for shard in shards
    )
    answers: dict[int, Answers] = {}
    with flow.progress.stage("start"):
        flow.engine.start()
    with flow.progress.bar("evaluating", sum(map(len, asked.values())), "rec") as advance:
        for at, result in flow.engine.run(jobs):
            answers[shards[at]] = result
            advance(len(asked[shards[at]]))
    return combine(routes, asked, answers)


def route_stored(flow: Flow, manifest: Manifest, stored: Stored) -> Routes:
    """Who answers stored records, by their stored features or, where these do not decide, their pixels."""

    def features() -> NDArray[np.float32]:
        return gather(flow.store, stored.index, list(stored.features), stored.positions).astype(np.float32)

    def hashes() -> list[bytes]:
        jobs = [HashPixels((rows,)) for rows in stored.index.rows(stored.positions)]
        with flow.progress.stage("start"):
            flow.engine.start()
        found = dict(flow.engine.run(jobs))
        return [one for at in range(len(jobs)) for one in found[at]]

    queries = Queries(len(stored.positions), features, hashes)
    return route(flow.config.aggregation, queries, serving_of(flow.store, manifest), seed=flow.config.seed)


def serving_of(store: Store, manifest: Manifest) -> Serving:
    """The shards of a state that can answer, k ≥ 1, with their prototypes."""
    numbers = tuple(shard.number for shard in manifest.shards)
    if manifest.partition is None:
        return Serving(numbers, None)
    return Serving(numbers, read_clusters(store, manifest.partition).prototypes[list(numbers)])
