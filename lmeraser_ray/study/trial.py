"""One value of a sweep, step by step: planned, costed, trained in parts, measured.

    plan → expected cost, backbone passes, bound on the accuracy
        → (train a part, bound) … → `measure`, as `compare` measures

A trial may be stopped after any step: what it trained is in the store. A constituent that another
trial is training is awaited and not trained twice (`TrainingClaims`). Nothing here knows Ray.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from lmeraser_ray.data.buckets import Bucket
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.models.aggregation.answers import Answers
from lmeraser_ray.models.learners.registry import make_learner
from lmeraser_ray.models.partition.expected import DeletionCosts, summarize
from lmeraser_ray.operations.cost import costs_of
from lmeraser_ray.pipeline.answering import Stored, route_stored
from lmeraser_ray.pipeline.flow import Flow, Planned, identity_of
from lmeraser_ray.pipeline.jobs import AnswerRows, Trained
from lmeraser_ray.pipeline.manifest import Manifest, ShardState
from lmeraser_ray.pipeline.plan import Build, ConstituentSpec
from lmeraser_ray.storage.store import StoredObject
from lmeraser_ray.study.bound import Bound
from lmeraser_ray.study.measure import Extent, measure, passes_of

PARTS = 8
"""Into about how many steps the training is divided; a trial can be stopped after each."""


class TrainingClaims(Protocol):
    """Decides which trial trains a constituent that several trials need."""

    def next(self, keys: Sequence[str]) -> tuple[str, bool]:
        """Return one of the keys, and whether the caller is to train it (else it is in the store).
        Waits while other trials are training all of them."""

    def made(self, key: str) -> None:
        """Note that a key which the caller was to train is in the store."""


class Alone:
    """Claims for trials that run one after the other: what an earlier trial trained was found when
    the next was planned."""

    def next(self, keys: Sequence[str]) -> tuple[str, bool]:
        """Return the first key, to be trained."""
        return keys[0], True

    def made(self, key: str) -> None:
        """Do nothing: no other trial waits."""


@dataclass(frozen=True)
class Step:
    """How far a trial is.

    cost: the expected share of a training that a deletion costs; passes: of the backbone for a
    query; at_most: the accuracy that the trial can still reach; trained: keys of the constituents
    that were trained since the last step; records: the record passes of their training; result: the
    measurement, in the last step.
    """

    cost: float
    passes: float
    at_most: float
    trained: tuple[str, ...] = ()
    records: int = 0
    result: dict[str, Any] | None = None


@dataclass
class Course:
    """The state of one trial under way."""

    flow: Flow
    planned: Planned
    claims: TrainingClaims
    skeleton: Manifest = field(init=False)
    stored: Stored = field(init=False)
    bound: Bound = field(init=False)

    def __post_init__(self) -> None:
        planned = self.planned
        self.skeleton = skeleton_of(self.flow, planned)
        queries = np.flatnonzero(planned.index.test)
        self.stored = Stored(planned.index, planned.features, queries)
        self.routes = route_stored(self.flow, self.skeleton, self.stored)
        self.places = {shard.number: place for place, shard in enumerate(self.skeleton.shards)}
        self.bound = Bound(self.routes, planned.index.names("label", queries), self._possible())

    def _possible(self) -> dict[int, set[str]]:
        """Return the labels that each shard can answer, by place: those of its members; with a
        joint learner those of all records."""
        index = self.planned.index
        everyone = index.training_labels if make_learner(self.flow.config).joint else None
        found: dict[int, set[str]] = {}
        for spec in self.planned.plan.specs:
            said = everyone or set(index.names("label", np.sort(np.concatenate(spec.slices))))
            found.update({self.places[number]: said for number in spec.shards})
        return found

    def hear(self, spec: ConstituentSpec, item: StoredObject) -> None:
        """Have a stored constituent answer its queries, where that can still change the bound."""
        asked = [
            place for number in spec.shards if (place := self.places[number]) in self.bound.waiting
        ]
        index, features, queries = self.stored.index, self.stored.features, self.stored.positions
        jobs = [
            AnswerRows(
                item, self.flow.parts(index, features, queries[self.bound.asked[place]]), place
            )
            for place in asked
        ]
        answers: dict[int, Answers] = dict(self.flow.engine.run(jobs))
        for at, place in enumerate(asked):
            self.bound.hear(place, answers[at])

    def builds(self) -> dict[str, Build]:
        """Return what is to be trained, by key, in the order of queries decided per record pass."""
        asked = {place: len(queries) for place, queries in self.bound.asked.items()}

        def worth(build: Build) -> tuple[float, str]:
            decided = sum(asked.get(self.places[number], 0) for number in build.spec.shards)
            return -decided / build.spec.passes(build.first), build.spec.key

        return {build.spec.key: build for build in sorted(self.planned.plan.build, key=worth)}

    def train(self, step: Step) -> Iterator[Step]:
        """Train or await the missing constituents. Yields a step after each part."""
        left = self.builds()
        part = sum(build.spec.passes(build.first) for build in left.values()) / PARTS
        weight = 0
        while left:
            key, ours = self.claims.next(list(left))
            build = left.pop(key)
            weight += build.spec.passes(build.first)
            if ours:
                item = self._make(build).stages[-1]
                self.claims.made(key)
                step = replace(
                    step,
                    trained=(*step.trained, key),
                    records=step.records + build.spec.passes(build.first),
                )
            else:
                item = self._find(key)
            self.hear(build.spec, item)
            step = replace(step, at_most=self.bound.accuracy)
            if left and weight >= part:
                yield step
                weight, step = 0, replace(step, trained=(), records=0)
        yield step

    def _make(self, build: Build) -> Trained:
        [(_, trained)] = self.flow.engine.run([self.flow.job(self.planned, build)])
        return trained

    def _find(self, key: str) -> StoredObject:
        found = self.flow.store.listing().get(("constituents", key))
        if found is None:
            raise ExecutionError(
                "A constituent that another trial trained is not in the store: run the same "
                "command again."
            )
        return found


def course(
    name: str, flow: Flow, buckets: Sequence[Bucket], claims: TrainingClaims
) -> Generator[Step, None, None]:
    """Run a trial step by step. The last step has the result."""
    planned = flow.plan(buckets, None)
    flow.engine.start()
    trial = Course(flow, planned, claims)
    costs = planned_costs(flow, trial.skeleton, planned)
    cost = summarize(costs)["expected_share"]
    for spec in planned.plan.specs:
        known = planned.plan.reuse.get(spec.key)
        if known:
            trial.hear(spec, known)
    begun = Step(cost or 0.0, passes_of(flow.config, trial.routes), trial.bound.accuracy)
    yield begun
    if planned.plan.build:
        yield from trial.train(begun)
    result = measure(name, flow, buckets, Extent(0, 0), known=costs)
    yield replace(begun, at_most=trial.bound.accuracy, result=result)


def skeleton_of(flow: Flow, planned: Planned) -> Manifest:
    """Return the planned state, its shards without constituents: enough to route queries and to
    compute what a deletion costs."""
    shards = tuple(
        ShardState(number, size, ())
        for spec in planned.plan.specs
        for number, size in zip(spec.shards, spec.sizes, strict=True)
    )
    return Manifest(
        identity_of(flow.config), flow.card, planned.states, planned.parts.partition, shards
    )


def planned_costs(flow: Flow, skeleton: Manifest, planned: Planned) -> DeletionCosts:
    """Return what the deletion of each training record costs, before anything is trained."""
    everyone = np.arange(len(planned.index.training))
    return costs_of(flow.store, flow.config, skeleton, planned.index, everyone, flow.progress)
