"""Stored records as queries: which shards answer them, and how the answers are combined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

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
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.prepared import BLOCK, PreparedQueries
from lmeraser_ray.pipeline.queries import AnswerRows, HashPixels, QueryRows
from lmeraser_ray.pipeline.work_ahead import WorkAhead
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
    flow.engine.choose(answers_ahead(flow, manifest, stored))
    asking = Asking(flow, manifest, stored)
    routes, asked = asking.routes, asking.asked
    shards = sorted(asked, key=lambda shard: -len(asked[shard]))
    with flow.progress.stage("start"):
        flow.engine.start()
    jobs = (asking.job(place, asked[place], manifest.shards[place].constituent) for place in shards)
    answers: dict[int, Answers] = {}
    work = sum(map(len, asked.values()))
    with flow.progress.bar("evaluating", work, "rec") as advance:
        for at, result in flow.engine.run(jobs, work):
            answers[shards[at]] = result
            advance(len(asked[shards[at]]))
    return combine(routes, asked, answers, stored.index.classes)


def answers_ahead(flow: Flow, manifest: Manifest, stored: Stored) -> WorkAhead:
    """The answers to stored queries: as many shards answer each as the aggregation asks, at
    most."""
    q, seen, rows, decoded = len(stored.positions), 0, 0, False
    for member, system in enumerate(flow.config.members):
        how, shards = system.aggregation, len(manifest.only(member).shards)
        each = 1 if how.kind == "hash" else min(shards, getattr(how, "shards", shards))
        if flow.sees_pictures(member):
            seen += q * each
        else:
            rows += q * each
        decoded |= how.kind == "hash" or flow.sees_pictures(member)
    index = stored.index
    nbytes = sum(int(part.lengths.sum()) for part in index.columns) * q // max(1, len(index))
    return WorkAhead("answers", index, pictures=seen, rows=rows, nbytes=nbytes * decoded)


@dataclass(frozen=True)
class Asking:
    """The shards of a state are asked about stored queries, each of which is decoded once."""

    flow: Flow
    manifest: Manifest
    stored: Stored

    @cached_property
    def routes(self) -> Routes:
        """Which shards answer each query, by the stored features or, where there are no
        prototypes, by the pixels."""
        count = len(self.stored.positions)
        queries = Queries(count, self._features, self._hashes)
        servings = servings_of(self.flow.store, self.manifest)
        return route_members(self.flow.config, servings, queries)

    @cached_property
    def asked(self) -> dict[int, NDArray[np.int64]]:
        """Which queries each shard is asked, by its place, ascending."""
        return self.routes.queries()

    def job(self, place: int, queries: NDArray[np.int64], constituent: StoredObject) -> AnswerRows:
        """The job that asks a shard about some of the queries. place: of the shard in the
        manifest; queries: their numbers, ascending; constituent: the shard's."""
        member = self.manifest.shards[place].member
        if self.flow.sees_pictures(member):
            rows = self._shared.rows(queries)
        else:
            stored = self.stored
            positions = stored.positions[queries]
            parts = self.flow.parts(stored.index, stored.features, positions, member)
            rows = QueryRows(parts, np.arange(len(queries)))
        return AnswerRows(constituent, rows, place - self.manifest.begin_of(member), member)

    @cached_property
    def _prepared(self) -> PreparedQueries:
        stored, size = self.stored, self.flow.card.spec.input_size
        return PreparedQueries(self.flow.engine, stored.index, stored.positions, size)

    @cached_property
    def _shared(self) -> PreparedQueries:
        """Holds the queries that several shards see."""
        times = np.zeros(len(self.stored.positions), np.int64)
        for place, queries in self.asked.items():
            times[queries] += self.flow.sees_pictures(self.manifest.shards[place].member)
        self._prepared.hold(np.flatnonzero(times > 1))
        return self._prepared

    def _features(self) -> NDArray[np.float32]:
        stored = self.stored
        found = gather(self.flow.store, stored.index, list(stored.features), stored.positions)
        return found.astype(np.float32)

    def _hashes(self) -> list[bytes]:
        """What hashes pixels holds them: whoever answers sees the same."""
        with self.flow.progress.stage("start"):
            self.flow.engine.start()
        every = np.arange(len(self.stored.positions))
        self._prepared.hold(every)
        blocks = [every[at : at + BLOCK] for at in range(0, len(every), BLOCK)]
        jobs = [HashPixels(self._prepared.rows(block)) for block in blocks]
        found = dict(self.flow.engine.run(jobs))
        return [one for at in range(len(jobs)) for one in found[at]]


@dataclass(frozen=True)
class MemberServing:
    """The shards of one system that can answer. first: the place of the first one among those of
    all systems."""

    serving: Serving
    first: int


def servings_of(store: Store, manifest: Manifest) -> dict[int, MemberServing]:
    """The shards that can answer of each system of a state that has any, by its place in it."""
    alone = ((member, manifest.only(member)) for member in range(len(manifest.members)))
    return {
        member: MemberServing(serving_of(store, own), manifest.begin_of(member))
        for member, own in alone
        if own.shards
    }


def route_members(
    config: Config, servings: Mapping[int, MemberServing], queries: Queries
) -> Routes:
    """Which shards, by their place, answer each query: those that each system names. servings: of
    the systems of which a shard may answer; any other one leaves its weight to these."""
    found = []
    for member, (system, weight) in enumerate(zip(config.members, config.weights, strict=True)):
        if member in servings:
            own = servings[member]
            routes = route(system.aggregation, queries, own.serving, seed=system.seed)
            found.append(MemberRoutes(routes, own.first, weight))
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
