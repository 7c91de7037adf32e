"""`evaluate`: the accuracy of the published state, on test records and on the remaining training
records.

    stored features → routes (which shards answer) → answers (one job a shard) → combined → accuracy
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.models.aggregation.routes import Predictions
from lmeraser_ray.pipeline.answering import Stored, predict_stored, require_an_answer
from lmeraser_ray.pipeline.flow import Flow
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import Published

TOGETHER = 1 << 14
"""Records that are predicted at a time: their features and their answers are in memory."""


@dataclass(frozen=True)
class Score:
    """Accuracy on some records: overall (None without records), by class, and by the place of the
    shard that answers first, with its number of queries."""

    accuracy: float | None
    by_class: dict[str, float]
    by_shard: dict[int, tuple[float, int]]
    records: int


@dataclass(frozen=True)
class Evaluation:
    """The scores of a published state. shard_sizes: of the shards that answer; quarantined: the
    numbers of the shards that may not."""

    test: Score
    train: Score
    shard_sizes: tuple[int, ...]
    fingerprint: str
    quarantined: tuple[int, ...] = ()


def evaluate(session: Session) -> Evaluation:
    """Score the published state. Errors: `DataError` where no training record is left to answer."""
    return session.consistently(lambda state: evaluate_state(session, state))


def evaluate_state(session: Session, state: Published) -> Evaluation:
    """Score one published state by the shards that may answer."""
    folder = session.folder
    require_an_answer(folder, state)
    manifest = state.answering
    with session.flow(folder.store, session.config(), manifest.backbone) as flow:
        index = RecordIndex.read(folder.store, [state.bucket for state in manifest.buckets])
        test = score(flow, manifest, index, np.flatnonzero(index.test))
        train = score(flow, manifest, index, index.training)
    answering = {shard.number for shard in manifest.shards}
    silent = tuple(shard.number for shard in state.manifest.shards if shard.number not in answering)
    return Evaluation(
        test,
        train,
        tuple(shard.size for shard in manifest.shards),
        state.manifest.fingerprint,
        silent,
    )


def score(
    flow: Flow, manifest: Manifest, index: RecordIndex, positions: NDArray[np.int64]
) -> Score:
    """Predict stored records, `TOGETHER` at a time, and compare with their labels. positions:
    ascending."""
    if len(positions) == 0 or not manifest.shards:
        return Score(None, {}, {}, len(positions))
    features, tally = [state.features for state in manifest.buckets], ScoreTally()
    for at in range(0, len(positions), TOGETHER):
        some = positions[at : at + TOGETHER]
        tally.count(
            predict_stored(flow, manifest, Stored(index, features, some)),
            index.names("label", some),
        )
    return tally.score()


def score_of(predicted: Predictions, labels: Sequence[str]) -> Score:
    """Compare predictions with q labels, q ≥ 1."""
    tally = ScoreTally()
    tally.count(predicted, labels)
    return tally.score()


class ScoreTally:
    """Counts right answers and queries, by class and by shard."""

    def __init__(self) -> None:
        self._classes: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        self._shards: dict[int, list[int]] = defaultdict(lambda: [0, 0])

    def count(self, predicted: Predictions, labels: Sequence[str]) -> None:
        """Compare predictions with their labels."""
        for said, label, shard in zip(
            predicted.labels, labels, predicted.routes.shards[:, 0].tolist(), strict=True
        ):
            for counts in (self._classes[label], self._shards[shard]):
                counts[0] += said == label
                counts[1] += 1

    def score(self) -> Score:
        """Return the score of what was counted, q ≥ 1."""
        right, queries = (sum(counts[i] for counts in self._classes.values()) for i in (0, 1))
        return Score(
            right / queries,
            {label: right / all_ for label, (right, all_) in sorted(self._classes.items())},
            {shard: (right / all_, all_) for shard, (right, all_) in sorted(self._shards.items())},
            queries,
        )
