"""The one flow: the function from the live records to a manifest. Training, unlearning and
rebuilding are this function on different records.

    buckets → features → partition → shards → plan → (train what is missing) → manifest

Invariant: the manifest is a function of the buckets, the identity half of the configuration, the
backbone and, where there are any, the public prototypes. Objects that are already in the store only
save work.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lmeraser_ray.config import Config, PublicConfig
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.order import Positions
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.models.backbone import Backbone, load_backbone
from lmeraser_ray.models.learners.base import Learner
from lmeraser_ray.models.learners.closed_form import SummingLearner
from lmeraser_ray.models.learners.passes import stage_share
from lmeraser_ray.models.learners.registry import make_learner, make_learners
from lmeraser_ray.models.numerics import choose_device
from lmeraser_ray.models.partition.people import slices_of
from lmeraser_ray.models.partition.public import public_prototypes
from lmeraser_ray.models.partition.stage import Partitioned, PartitionStage
from lmeraser_ray.models.requirements import check_labels, check_requirements
from lmeraser_ray.pipeline.choice import Choice
from lmeraser_ray.pipeline.difference import StateBefore, continues, with_differences
from lmeraser_ray.pipeline.engine import Engine
from lmeraser_ray.pipeline.features import FeatureStage
from lmeraser_ray.pipeline.jobs import Job, Part, TrainConstituent, Trained
from lmeraser_ray.pipeline.manifest import (
    BackboneCard,
    BucketState,
    Manifest,
    MemberState,
    ShardState,
)
from lmeraser_ray.pipeline.plan import (
    Build,
    ConstituentRecipe,
    ConstituentSpec,
    Plan,
    SumsRecipe,
    constituent_specs,
    plan_constituents,
    start_spec,
)
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.pipeline.subtraction import TrainFromStatistics
from lmeraser_ray.pipeline.work_ahead import WorkAhead
from lmeraser_ray.storage.digests import canonical_json
from lmeraser_ray.storage.store import Listing, Store, StoredObject

Prototypes = tuple[StoredObject | None, ...]
"""The stored public prototypes of each system of a blend, or of the one system that there is; None
where a partition has none."""


@dataclass(frozen=True)
class Evaluated:
    """A manifest, ready to be published, and the work that it took. reused: how many constituents
    needed no training; features_computed: for how many records; reclustered: whether the partition
    was computed anew."""

    manifest: Manifest
    trained: tuple[Trained, ...]
    reused: int
    features_computed: int
    reclustered: bool


@dataclass(frozen=True)
class Planned:
    """What the live records need: their features by bucket, their shards in each system of a blend
    (in the one system, where there is one), and the plan of constituents. before: the state that
    differences start from, where there are any."""

    index: RecordIndex
    features: list[StoredObject]
    parts: tuple[Partitioned, ...]
    plan: Plan
    features_computed: int
    before: StateBefore | None = None

    @property
    def states(self) -> tuple[BucketState, ...]:
        """The buckets, as the manifest names them."""
        return tuple(
            BucketState(*state)
            for state in zip(
                self.index.buckets, self.features, self.parts[0].assignments, strict=True
            )
        )

    @property
    def others(self) -> tuple[MemberState, ...]:
        """The systems behind the first, as the manifest names them."""
        return tuple(MemberState(part.partition, part.assignments) for part in self.parts[1:])

    def needed(self) -> Iterator[StoredObject]:
        """Every object that is in the store already and that the plan needs."""
        for bucket in self.index.buckets:
            yield from (bucket.records, bucket.pictures)
        yield from self.features
        for part in self.parts:
            yield from (item for item in (*part.assignments, part.partition) if item)
        yield from self.plan.reuse.values()


@dataclass(frozen=True)
class Flow:
    """Evaluates the function from records to manifest in one store.

    card: of the backbone that the engine will load; public: the stored public prototypes, empty
    where no partition has any; choice: of the sweep that chose the configuration, where one did.
    """

    store: Store
    config: Config
    card: BackboneCard
    engine: Engine
    progress: Progress
    public: Prototypes = ()
    choice: Choice | None = None

    def evaluate(
        self, buckets: Sequence[Bucket], previous: Manifest | None, known: RecordIndex | None = None
    ) -> Evaluated:
        """Build whatever these buckets need. previous: the published state, whose feature rows are
        reused; known: the index of that state."""
        planned = self.plan(buckets, previous, known)
        with self.progress.stage("training"):
            planned, begun = self.begin(planned)
            trained = (*begun, *self._train(planned))
        built: dict[str, StoredObject] = {}
        for work in trained:
            built |= work.objects
        manifest = self.manifest(planned, built)
        reused = len(planned.plan.specs) - sum(build.trains for build in planned.plan.build)
        return Evaluated(
            manifest,
            trained,
            reused,
            planned.features_computed,
            any(part.reclustered for part in planned.parts),
        )

    def manifest(self, planned: Planned, built: Mapping[str, StoredObject]) -> Manifest:
        """The manifest of a plan. built: the objects that the plan lacked, by key."""
        shards = shard_states(planned.plan.specs, {**planned.plan.reuse, **built})
        choice = self.choice.state(planned.index) if self.choice else None
        return Manifest(
            identity_of(self.config),
            self.card,
            planned.states,
            planned.parts[0].partition,
            shards,
            choice,
            planned.others,
        )

    def plan(
        self, buckets: Sequence[Bucket], previous: Manifest | None, known: RecordIndex | None = None
    ) -> Planned:
        """Compute features and partition, and plan the constituents, without training any."""
        listing = self.store.listing()
        with self.progress.stage("plan"):
            index = RecordIndex.read(self.store, buckets, known)
        before = {state.bucket.number: state for state in previous.buckets} if previous else {}
        with self.progress.stage("features"):
            features, computed = FeatureStage(
                self.store, listing, self.card, self.engine, before, self.progress
            ).run(index)
        with self.progress.stage("partition"):
            parts = tuple(stage.run(index, features) for stage in self._stages(listing))
        with self.progress.stage("plan"):
            plan = self._plan(index, parts, listing)
            state = None
            if previous and continues(previous, plan.build, identity_of(self.config), self.card):
                with suppress(VerificationError):  # damaged: its shards are counted
                    state = StateBefore.read(self.store, self.config, previous, known or index)
        if state is not None:
            shards = [part.shard_of for part in parts]
            plan = replace(plan, build=with_differences(plan.build, index, shards, state))
        return Planned(index, features, parts, plan, computed, state)

    def _stages(self, listing: Listing) -> Iterator[PartitionStage]:
        members, seed, backbone = self.config.members, self.config.seed, self.card.identity
        for member, public in zip(members, self.public or [None] * len(members), strict=True):
            yield PartitionStage(self.store, listing, member.partition, seed, backbone, public)

    def _plan(self, index: RecordIndex, parts: Sequence[Partitioned], listing: Listing) -> Plan:
        specs, starts = list[ConstituentSpec](), list[ConstituentSpec]()
        permanent = np.flatnonzero(index.permanent)
        for place, (member, part) in enumerate(zip(self.config.members, parts, strict=True)):
            recipe, slices = recipe_of(member, self.card), slices_of(member, index)
            if member.learner.starts_together and len(permanent):
                start = start_spec(index.digests_at, permanent, recipe).of_member(place)
                recipe = replace(recipe, start=start.key)
                starts.append(start)
            specs += (
                spec.of_member(place)
                for spec in constituent_specs(
                    index.digests_at, part.shard_of, recipe=recipe, slices=slices
                )
            )
        return plan_constituents(tuple(specs), listing, starts)

    def begin(self, planned: Planned) -> tuple[Planned, tuple[Trained, ...]]:
        """Train the common starts that are missing. Returns the plan with them."""
        trained = self._run(planned, planned.plan.first)
        made = {key: item for work in trained for key, item in work.objects.items()}
        return replace(planned, plan=planned.plan.begun(made)), trained

    def _train(self, planned: Planned) -> tuple[Trained, ...]:
        """Train what is missing. Where statistics, or rows that left, are damaged, all shards are
        counted: a damaged shortcut stops no deletion."""
        builds = planned.plan.build
        try:
            return self._run(planned, builds)
        except VerificationError:
            if all(build.difference is None for build in builds):
                raise
            return self._run(planned, tuple(replace(each, difference=None) for each in builds))

    def _run(self, planned: Planned, builds: Sequence[Build]) -> tuple[Trained, ...]:
        """Carry builds out, the most work first."""
        done: list[Trained] = []
        if not builds:
            return ()
        with self.progress.stage("start"):
            self.engine.choose(WorkAhead("training", planned.index, builds))
            self.engine.start()
        weights = [build.passes for build in builds]
        with self.progress.bar("training", sum(weights), "rec") as advance:
            jobs = (self.job(planned, build) for build in builds)
            for at, result in self.engine.run(jobs, sum(weights)):
                done.append(result)
                advance(weights[at])
        return tuple(sorted(done, key=lambda trained: trained.key))

    def job(self, planned: Planned, build: Build) -> Job[Trained]:
        """The job that makes what is missing of a constituent."""
        spec, found = build.spec, build.difference
        if spec.statistics is None:
            return self.training(planned, build)
        came = spec.slices[0] if found is None else found.came
        there = self.parts(planned.index, planned.features, came, spec.member)
        gone: tuple[Part, ...] = ()
        if planned.before and found is not None and len(found.left):
            before = planned.before
            gone = self.parts(before.index, before.features, found.left, spec.member)
        base = found.base if found is not None else None
        return TrainFromStatistics(
            spec.key, spec.statistics, base, gone, there, build.trains, spec.member
        )

    def training(self, planned: Planned, build: Build) -> TrainConstituent:
        """The job that trains a constituent from its first missing stage on, from its rows."""
        spec, member = build.spec, build.spec.member
        slices = tuple(
            self.parts(planned.index, planned.features, part, member) for part in spec.slices
        )
        learner = self.config.members[member].learner
        share = stage_share(learner, started=spec.start is not None) if spec.shards else 1.0
        groups = (
            None if spec.groups is None else spec.groups[spec.slices[0].argsort()]
        )  # a job has its rows in ascending order
        last = spec.keys[build.first - 1] if build.first else spec.start
        before = planned.plan.reuse[last] if last else None
        return TrainConstituent(spec.keys, slices, share, build.first, before, groups, member)

    def parts(
        self,
        index: RecordIndex,
        features: Sequence[StoredObject],
        positions: Positions,
        member: int = 0,
    ) -> tuple[Part, ...]:
        """Ascending positions as the parts of a job; with the buckets' features where the learner
        of the system needs features."""
        return parts_of(index, None if self.sees_pictures(member) else features, positions)

    def sees_pictures(self, member: int) -> bool:
        """Whether the learner of a system needs pictures, and no features."""
        return self._learners[member].needs == "pictures"

    @cached_property
    def _learners(self) -> tuple[Learner, ...]:
        return make_learners(self.config)


def parts_of(
    index: RecordIndex, features: Sequence[StoredObject] | None, positions: Positions
) -> tuple[Part, ...]:
    """Ascending positions as the parts of a job. features: of the buckets; None for a learner that
    needs pictures."""
    where = {} if features is None else dict(zip(index.buckets, features, strict=True))
    return tuple(Part(rows, where.get(rows.bucket)) for rows in index.rows(positions, about=True))


def shard_states(
    specs: Sequence[ConstituentSpec], found: Mapping[str, StoredObject]
) -> tuple[ShardState, ...]:
    """The shards, as the manifest names them. found: the constituents and statistics, by key."""
    return tuple(
        ShardState(
            number,
            size,
            tuple(found[key] for key in spec.keys),
            found[spec.statistics] if spec.statistics else None,
            found[spec.start] if spec.start else None,
        )
        for spec in specs
        for number, size in zip(spec.shards, spec.sizes, strict=True)
    )


def recipe_of(config: Config, card: BackboneCard) -> ConstituentRecipe:
    """The recipe of the configured learner."""
    learner = make_learner(config)
    identity = {**learner.identity(), "seed": config.seed}
    if learner.needs_classifier:
        identity["classifier"] = card.classifier
    sums = None
    if isinstance(learner, SummingLearner) and config.learner.slices == 1:
        sums = SumsRecipe(learner.counted(), learner.fewest(card.dimension))
    return ConstituentRecipe(identity, card.identity, learner.joint, sums)


def identity_of(config: Config) -> dict[str, object]:
    """The identity half of a configuration as the manifest keeps it, without the backbone: the
    manifest names that by its digest."""
    return {name: value for name, value in config.identity().items() if name != "backbone"}


@dataclass(frozen=True)
class Inputs:
    """The inputs of a training besides the records: the backbone, loaded so that its identity is
    known, and the public prototypes, where the partition has any."""

    config: Config
    backbone: Backbone

    @cached_property
    def card(self) -> BackboneCard:
        """What planning needs to know of the backbone."""
        loaded = self.backbone
        return BackboneCard(
            loaded.identity, loaded.dimension, loaded.batch, loaded.spec, loaded.classifier_identity
        )

    def check_labels(self, index: RecordIndex) -> None:
        """Errors: `ConfigError` where the learner cannot tell so many training labels apart."""
        check_labels(index.training_labels, self.backbone)

    def prototypes(self, store: Store, *, expected: Prototypes = ()) -> Prototypes:
        """The public prototypes in the store, computed first where they are not there.

        Errors: `ConfigError` where the public pictures are not those that `expected`, the published
        prototypes, were made from.
        """
        members = self.config.members
        return tuple(
            public_prototypes(member, member.partition, self.backbone, store, expected=published)
            if isinstance(member.partition, PublicConfig)
            else None
            for member, published in zip(members, expected or [None] * len(members), strict=True)
        )


def load_inputs(config: Config, loaded: dict[str, Backbone] | None = None) -> Inputs:
    """Load the configured backbone, with its classifier if the learner needs that, and check that
    the configuration suits it. loaded: backbones that other configurations loaded, by what they
    are; this one's is taken from there or added.

    Errors: `ConfigError`, before any record is read and before anything is written.
    """
    loaded = {} if loaded is None else loaded
    classifier = any(learner.needs_classifier for learner in make_learners(config))
    data, backbone = config.data, config.with_fold().backbone
    fitted = [data.fit, list(data.window) if data.window else None]
    key = canonical_json([backbone.model_dump(mode="json"), classifier, *fitted]).decode()
    if key not in loaded:
        loaded[key] = load_backbone(
            backbone, choose_device("cpu"), classifier=classifier, data=data
        )
    check_requirements(config, loaded[key])
    return Inputs(config, loaded[key])
