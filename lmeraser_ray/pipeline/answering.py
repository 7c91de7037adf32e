"""Stored records as queries: which shards answer them, and how the answers are combined."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import Config
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.errors import DataError
from lmeraser_ray.models.aggregation.answers import Answers
from lmeraser_ray.models.aggregation.routes import (
    MemberRoutes,
    Predictions,
    Queries,
    Routes,
    Serving,
    blended,
    combine,
    route,
)
from lmeraser_ray.models.partition.leaves import cell_of
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
    """Stored records as queries. index, features: of their buckets, of which those that train are
    all that any shard of the state has learned from; positions: of the queries in the index [q]
    int64, ascending."""

    index: RecordIndex
    features: Sequence[StoredObject]
    positions: NDArray[np.int64]


def predict_stored(flow: Flow, manifest: Manifest, stored: Stored) -> Predictions:
    """The predictions of a state for stored records, which need not be records of that state."""
    routes = route_stored(flow, manifest, stored)
    asked = routes.queries()
    shards = sorted(asked, key=lambda shard: -len(asked[shard]))
    jobs = (
        answer_rows(flow, manifest, stored, place, asked[place], manifest.shards[place].constituent)
        for place in shards
    )
    answers: dict[int, Answers] = {}
    with flow.progress.stage("start"):
        flow.engine.start()
    with flow.progress.bar("evaluating", sum(map(len, asked.values())), "rec") as advance:
        for at, result in flow.engine.run(jobs):
            answers[shards[at]] = result
            advance(len(asked[shards[at]]))
    return combine(routes, asked, answers, stored.index.classes)


def answer_rows(
    flow: Flow,
    manifest: Manifest,
    stored: Stored,
    place: int,
    queries: NDArray[np.int64],
    constituent: StoredObject,
) -> AnswerRows:
    """The job that asks a shard about some of the stored queries. place: of the shard in the
    manifest; queries: their places among the queries, ascending; constituent: the shard's."""
    shard = manifest.shards[place]
    positions = stored.positions[queries]
    return AnswerRows(
        constituent,
        flow.parts(stored.index, stored.features, positions, shard.member),
        place - manifest.begin_of(shard.member),
        shard.member,
    )


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
    return route_members(flow.store, flow.config, manifest, queries)


def route_members(store: Store, config: Config, manifest: Manifest, queries: Queries) -> Routes:
    """Which shards of a state, by their place in it, answer each query: those that each system
    names. A system of which no shard may answer leaves its weight to the others."""
    found = []
    for member, (system, weight) in enumerate(zip(config.members, config.weights, strict=True)):
        alone = manifest.only(member)
        if alone.shards:
            serving = serving_of(store, alone)
            routes = route(system.aggregation, queries, serving, seed=system.seed)
            found.append(MemberRoutes(routes, manifest.begin_of(member), weight))
    return blended(found)


def serving_of(store: Store, manifest: Manifest) -> Serving:
    """The k ≥ 1 shards of a state of one system that can answer, with the prototypes of their
    cells, where the partition has any."""
    numbers = tuple(shard.number for shard in manifest.shards)
    if manifest.partition is None:
        return Serving(numbers, None)
    prototypes = read_clusters(store, manifest.partition).prototypes
    of = [cell_of(number, len(prototypes)) for number in numbers]
    cells, place = np.unique(of, return_inverse=True)
    alone = len(cells) == len(numbers)
    return Serving(numbers, prototypes[of if alone else cells], None if alone else place)
