"""`evaluate`: how good the published state is, on test records, and its accuracy on the remaining
training records.

    stored features → routes (which shards answer) → answers (one job a shard) → combined → quality
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.reader import Pixels, Reader
from lmeraser_ray.models.aggregation.routes import Predictions
from lmeraser_ray.operations.quality import Quality, Witnessed
from lmeraser_ray.pipeline.answering import Stored, predict_stored, require_an_answer
from lmeraser_ray.pipeline.flow import Flow
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import Published

if TYPE_CHECKING:
    from pandas import DataFrame

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

    def __repr__(self) -> str:
        accuracy = "n/a" if self.accuracy is None else f"{self.accuracy:.4f}"
        return f"Score({accuracy} on {self.records:,} records)"


@dataclass(frozen=True)
class Mistake:
    """A test record that was predicted wrongly: its id, its class, what was said and with which
    probability; its picture [3, s, s] uint8."""

    record: str
    truth: str
    said: str
    probability: float
    picture: Pixels

    def __repr__(self) -> str:
        return f"Mistake({self.truth!r} taken for {self.said!r}, {self.probability:.3f})"


@dataclass(frozen=True)
class Evaluation:
    """The scores of a published state. shard_sizes: of the shards that answer; quarantined: the
    numbers of the shards that may not; quality: of the test records, None where there are none;
    worst: the wrong predictions that were surest, as many as were asked for."""

    test: Score
    train: Score
    shard_sizes: tuple[int, ...]
    fingerprint: str
    quarantined: tuple[int, ...] = ()
    quality: Quality | None = None
    worst: tuple[Mistake, ...] = ()

    def __repr__(self) -> str:
        test, train = (
            "n/a" if one.accuracy is None else f"{one.accuracy:.4f}"
            for one in (self.test, self.train)
        )
        return f"Evaluation(test {test}, train {train}, {len(self.shard_sizes)} shards)"

    def to_pandas(self) -> "DataFrame":
        """Return a row a class: its test records, recall with its interval, precision and F1."""
        from pandas import DataFrame

        rows = [
            {
                "class": one.name,
                "records": one.records,
                "predicted": one.predicted,
                **dict(zip(("recall", "low", "high"), one.recall or [None] * 3, strict=True)),
                "precision": one.precision,
                "f1": one.f1,
            }
            for one in (self.quality.by_class if self.quality else ())
        ]
        return DataFrame(rows)

    def _repr_html_(self) -> str:
        return f"<p>{self!r}</p>{self.to_pandas().to_html(max_rows=20)}"


def evaluate(session: Session, *, worst: int = 0) -> Evaluation:
    """Score the published state. worst: how many of the surest mistakes are returned with their
    pictures. Errors: `DataError` where no training record is left to answer."""
    return session.consistently(lambda state: evaluate_state(session, state, worst=worst))


def evaluate_state(session: Session, state: Published, *, worst: int = 0) -> Evaluation:
    """Score one published state by the shards that may answer."""
    folder = session.folder
    require_an_answer(folder, state)
    manifest = state.answering
    with session.flow(folder.store, session.config(), manifest.backbone) as flow:
        index = RecordIndex.read(folder.store, [state.bucket for state in manifest.buckets])
        tested = np.flatnonzero(index.test)
        labels = {*index.names("label", tested), *index.training_labels}
        seen = Witnessed(sorted(labels))

        def witness(predicted: Predictions, some: NDArray[np.int64]) -> None:
            seen.add(predicted, index.names("label", some), index.names("subject_id", some))

        test = score(flow, manifest, index, tested, witness)
        train = score(flow, manifest, index, index.training)
        reader = Reader(folder.store, manifest.backbone.spec, flow.config.data.max_pixels)
    measured = test.accuracy is not None
    answering = {shard.number for shard in manifest.shards}
    silent = tuple(shard.number for shard in state.manifest.shards if shard.number not in answering)
    return Evaluation(
        test,
        train,
        tuple(shard.size for shard in manifest.shards),
        state.manifest.fingerprint,
        silent,
        seen.quality() if measured else None,
        mistakes(seen, index, tested, reader, worst) if measured else (),
    )


def mistakes(
    seen: Witnessed, index: RecordIndex, tested: NDArray[np.int64], reader: Reader, count: int
) -> tuple[Mistake, ...]:
    """Return the surest mistakes among the test records at `tested`, the surest first."""
    truth, said, _, sure = seen.columns
    return tuple(
        Mistake(
            index.names("record_id", tested[[at]])[0],
            seen.classes[truth[at]],
            seen.classes[said[at]],
            float(sure[at]),
            np.concatenate([reader.pixels(rows) for rows in index.rows(tested[[at]])])[0],
        )
        for at in seen.worst(count)
    )


def unwatched(_: Predictions, __: NDArray[np.int64]) -> None:
    """Look at no prediction but for its score."""


def score(
    flow: Flow,
    manifest: Manifest,
    index: RecordIndex,
    positions: NDArray[np.int64],
    watch: Callable[[Predictions, NDArray[np.int64]], None] = unwatched,
) -> Score:
    """Predict stored records, `TOGETHER` at a time, and compare with their labels. positions:
    ascending; watch: gets the predictions of some of them, with their positions."""
    if len(positions) == 0 or not manifest.shards:
        return Score(None, {}, {}, len(positions))
    features, tally = [state.features for state in manifest.buckets], ScoreTally()
    for at in range(0, len(positions), TOGETHER):
        some = positions[at : at + TOGETHER]
        found = predict_stored(flow, manifest, Stored(index, features, some))
        tally.count(found, index.names("label", some))
        watch(found, some)
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
