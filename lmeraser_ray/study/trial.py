"""One value of a sweep, step by step: planned, costed, trained in parts, measured.

    plan → expected cost, backbone passes, bound on the accuracy
        → (train a part, bound) … → `measure`, as `compare` measures

A trial may be stopped after any step: what it trained is in the store. A constituent that another
trial is training is awaited and not trained twice (`TrainingClaims`). Nothing here knows Ray.
"""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from lmeraser_ray.config import AdaptiveConfig, Config, PictureSgdConfig
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.models.aggregation.answers import Answers
from lmeraser_ray.models.partition.expected import DeletionCosts
from lmeraser_ray.operations.single_costs import costs_by_system
from lmeraser_ray.operations.work import WorkPlanner
from lmeraser_ray.operations.work_units import UnitWork, of_batches, of_people, of_records
from lmeraser_ray.pipeline.answering import Asking, Stored
from lmeraser_ray.pipeline.flow import Flow, Planned, identity_of
from lmeraser_ray.pipeline.jobs import Trained
from lmeraser_ray.pipeline.manifest import Manifest, ShardState
from lmeraser_ray.pipeline.plan import Build, ConstituentSpec
from lmeraser_ray.pipeline.work_ahead import learner_of, training_passes
from lmeraser_ray.storage.store import StoredObject
from lmeraser_ray.study.asked_unit import AskedUnit
from lmeraser_ray.study.bound import Bound
from lmeraser_ray.study.measure import Extent, measure, passes_of

PEOPLE = 30
"""How many people are drawn where a deletion clusters anew: each takes about 0.05 s with a thousand
records, and a sweep asks this of every value."""
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

    cost: the mean work of deleting the asked unit, as a share of a full training; passes: of the
    backbone for a query; at_most: the accuracy that the trial can still reach; kind: of the
    learner; trained: keys of the constituents that were trained since the last step; records: the
    records that their stages saw; done, seconds: the passes of their training through the backbone
    and how long it took; ahead: the passes that the trial has left; missing: the constituents
    that it still waits for; result: the measurement, in the last step.
    """

    cost: float
    passes: float
    at_most: float
    kind: str = ""
    trained: tuple[str, ...] = ()
    records: int = 0
    done: int = 0
    seconds: float = 0.0
    ahead: int = 0
    missing: int = 0
    result: dict[str, Any] | None = None


@dataclass
class Course:
    """The state of one trial under way."""

    flow: Flow
    planned: Planned
    claims: TrainingClaims
    skeleton: Manifest = field(init=False)
    asking: Asking = field(init=False)
    bound: Bound = field(init=False)

    def __post_init__(self) -> None:
        planned = self.planned
        self.skeleton = skeleton_of(self.flow, planned)
        queries = np.flatnonzero(planned.index.test)
        stored = Stored(planned.index, planned.features, queries)
        self.asking = Asking(self.flow, self.skeleton, stored)
        self.routes = self.asking.routes
        self.places = {shard.number: place for place, shard in enumerate(self.skeleton.shards)}
        self.bound = Bound(self.routes, planned.index.names("label", queries), self._possible())

    def _possible(self) -> dict[int, set[str]]:
        """Return the labels that each shard can answer, by place: those of its members; with a
        joint learner those of all records."""
        index = self.planned.index
        found: dict[int, set[str]] = {}
        for spec in self.planned.plan.specs:
            said = set(index.names("label", np.sort(np.concatenate(spec.slices))))
            found.update({self.places[number]: said for number in spec.shards})
        return found

    def hear(self, spec: ConstituentSpec, item: StoredObject) -> None:
        """Have a stored constituent answer its queries, where that can still change the bound."""
        asked = [
            place for number in spec.shards if (place := self.places[number]) in self.bound.waiting
        ]
        jobs = [self.asking.job(place, self.bound.asked[place], item) for place in asked]
        answers: dict[int, Answers] = dict(self.flow.engine.run(jobs))
        for at, place in enumerate(asked):
            self.bound.hear(place, answers[at])

    def builds(self) -> dict[str, Build]:
        """Return what is to be trained, by key, in the order of queries decided per record pass."""
        asked = {place: len(queries) for place, queries in self.bound.asked.items()}

        def worth(build: Build) -> tuple[float, str]:
            decided = sum(asked.get(self.places[number], 0) for number in build.spec.shards)
            return -decided / max(build.passes, 1), build.spec.key

        return {build.spec.key: build for build in sorted(self.planned.plan.build, key=worth)}

    def train(self, step: Step) -> Iterator[Step]:
        """Train or await the missing constituents. Yields a step after each part."""
        step = self._begin(step)
        left = self.builds()
        part = sum(build.passes for build in left.values()) / PARTS
        weight = 0
        while left:
            key, ours = self.claims.next(list(left))
            build = left.pop(key)
            weight += build.passes
            began = time.perf_counter()
            if ours:
                made = self._make(build).stages  # none, where only statistics were missing
                item = made[-1] if made else self.planned.plan.reuse[key]
                self.claims.made(key)
                step = replace(
                    step,
                    trained=(*step.trained, key),
                    records=step.records + build.passes,
                    done=step.done + self.descent(build),
                    seconds=step.seconds + time.perf_counter() - began,
                )
            else:
                item = self._find(key)
            self.hear(build.spec, item)
            step = replace(
                step,
                at_most=self.bound.accuracy,
                ahead=step.ahead - self.descent(build),
                missing=len(left),
            )
            if left and weight >= part:
                yield step
                weight, step = 0, replace(step, trained=(), records=0, done=0, seconds=0.0)
        yield step

    def _begin(self, step: Step) -> Step:
        """Train the common starts that are missing."""
        began = time.perf_counter()
        self.planned, made = self.flow.begin(self.planned)
        passes = sum(trained.passes for trained in made)
        return replace(
            step,
            records=step.records + passes,
            done=step.done + passes,
            seconds=step.seconds + time.perf_counter() - began,
        )

    def descent(self, build: Build) -> int:
        """Return how many passes forward and back through the backbone a training takes: none for a
        learner of features."""
        if not isinstance(learner_of(self.flow.config, build), PictureSgdConfig):
            return 0
        return training_passes(self.flow.config, self.planned.index, build)

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
    name: str, flow: Flow, buckets: Sequence[Bucket], claims: TrainingClaims, unit: AskedUnit
) -> Generator[Step, None, None]:
    """Run a trial step by step. unit: what the cost is of. The last step has the result."""
    planned = flow.plan(buckets, None)
    flow.engine.start()
    trial = Course(flow, planned, claims)
    costs = planned_costs(flow, trial.skeleton, planned)
    planner = WorkPlanner(flow.store, flow.config, trial.skeleton, planned.index)
    asked = asked_work(planner, costs, unit).figures()
    for spec in planned.plan.specs:
        known = planned.plan.reuse.get(spec.key)
        if known:
            trial.hear(spec, known)
    missing = planned.plan.build
    ahead = sum(map(trial.descent, missing))
    passes = passes_of(flow.config, trial.skeleton, trial.routes)
    kind = kind_of(flow.config)
    begun = Step(
        share_of(asked), passes, trial.bound.accuracy, kind, ahead=ahead, missing=len(missing)
    )
    yield begun
    if planned.plan.build:
        yield from trial.train(begun)
    result = measure(name, flow, buckets, Extent(0, 0), known=costs)
    result["asked"] = asked
    yield replace(begun, ahead=0, missing=0, at_most=trial.bound.accuracy, result=result)


def asked_work(planner: WorkPlanner, costs: Sequence[DeletionCosts], unit: AskedUnit) -> UnitWork:
    """Return the work of deleting a unit. costs: of each training record by itself, in each of the
    systems that train."""
    if unit.kind == "person":
        moves = any(isinstance(m.partition, AdaptiveConfig) for m in planner.config.members)
        return of_people(planner, most=PEOPLE if moves else None)
    if unit.kind == "batch":
        return of_batches(planner, unit.share or 0.0)
    return of_records(planner, costs)


def share_of(asked: Mapping[str, Any]) -> float:
    """Return the mean work as a share of a full training, from `UnitWork.figures`; 0 of no
    deletion."""
    return float(asked["mean_share"] or 0.0)


def kind_of(config: Config) -> str:
    """Return the kind of learner that decides how long a trial takes: one that sees pictures."""
    kinds = [m.learner.kind for m in config.members if isinstance(m.learner, PictureSgdConfig)]
    return (*kinds, config.learner.kind)[0]


def skeleton_of(flow: Flow, planned: Planned) -> Manifest:
    """Return the planned state, its shards without constituents: enough to route queries and to
    compute what a deletion costs."""
    shards = tuple(
        ShardState(number, size, ())
        for spec in planned.plan.specs
        for number, size in zip(spec.shards, spec.sizes, strict=True)
    )
    partition = planned.parts[0].partition
    return Manifest(
        identity_of(flow.config),
        flow.card,
        planned.states,
        partition,
        shards,
        others=planned.others,
    )


def planned_costs(flow: Flow, skeleton: Manifest, planned: Planned) -> tuple[DeletionCosts, ...]:
    """Return what the deletion of each training record costs in each of the systems that train,
    before anything is trained."""
    everyone = np.arange(len(planned.index.training))
    return costs_by_system(
        flow.store, flow.config, skeleton, planned.index, everyone, flow.progress
    )
