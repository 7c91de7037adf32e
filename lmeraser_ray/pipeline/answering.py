"""Stored records as queries: which shards answer them, and how the answers are combined."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.errors import DataError
from lmeraser_ray.models.aggregation.answers import Answers
from lmeraser_ray.models.aggregation.routes import (
    Predictions,
    Queries,
    Routes,
    Serving,
    combine,
    route,
)
from lmeraser_ray.models.partition.stage import gather, read_clusters
from lmeraser_ray.pipeline.flow import Flow
from lmeraser_ray.pipeline.jobs import AnswerRows, HashPixels
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.workspace_folder import Published, WorkspaceFolder
from lmeraser_ray.storage.store import Store, StoredObject


def require_an_answer(folder: WorkspaceFolder, state: Published) -> None:
    """Errors: `DataError` where no shard can answer."""
    if not state.manifest.shards:
        raise DataError(
            f"{folder.root} holds no training records, so nothing can answer: train it on some "
            "first."
        )
    if not state.answering.shards:
        raise DataError(
            f"Every constituent of {folder.root} is in quarantine, so nothing can answer until "
            "the erasure is published."
        )


@dataclass(frozen=True)
class Stored:
    """Stored records as queries. index, features: of their buckets; positions: of the queries in
    the index [q] int64, ascending."""

    index: RecordIndex
    features: Sequence[StoredObject]
    positions: NDArray[np.int64]


def predict_stored(flow: Flow, manifest: Manifest, stored: Stored) -> Predictions:
    """The predictions of a state for stored records, which need not be records of that state."""
    routes = route_stored(flow, manifest, stored)
    asked = routes.queries()
    shards = sorted(asked, key=lambda shard: -len(asked[shard]))
    jobs = (
        AnswerRows(
            manifest.shards[shard].constituent,
            flow.parts(stored.index, stored.features, stored.positions[asked[shard]]),
            shard,
        )
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
    """Which shards answer each of the stored records, by their stored features or, where there
    are no prototypes, by their pixels."""

    def features() -> NDArray[np.float32]:
        return gather(flow.store, stored.index, list(stored.features), stored.positions).astype(
            np.float32
        )

    def hashes() -> list[bytes]:
        jobs = [HashPixels((rows,)) for rows in stored.index.rows(stored.positions)]
        with flow.progress.stage("start"):
            flow.engine.start()
        found = dict(flow.engine.run(jobs))
        return [one for at in range(len(jobs)) for one in found[at]]

    queries = Queries(len(stored.positions), features, hashes)
    return route(
        flow.config.aggregation, queries, serving_of(flow.store, manifest), seed=flow.config.seed
    )


def serving_of(store: Store, manifest: Manifest) -> Serving:
    """The k ≥ 1 shards of a state that can answer, with their prototypes [k, d], where the
    partition has any."""
    numbers = tuple(shard.number for shard in manifest.shards)
    if manifest.partition is None:
        return Serving(numbers, None)
    return Serving(numbers, read_clusters(store, manifest.partition).prototypes[list(numbers)])
