"""The one flow: the function from the live records to a manifest. Training, unlearning and
rebuilding are this function on different records.

    buckets → features → partition → shards → plan → (train what is missing) → manifest

Invariant: the manifest is a function of the buckets, the identity half of the configuration, the
backbone and, where there are any, the public prototypes. Objects that are already in the store only
save work.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from lmeraser_ray.config import Config, PublicConfig
from lmeraser_ray.data.buckets import Bucket
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.order import Positions
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.backbone import Backbone, load_backbone
from lmeraser_ray.models.learners.base import Learner
from lmeraser_ray.models.learners.registry import make_learner
from lmeraser_ray.models.numerics import choose_device
from lmeraser_ray.models.partition.public import public_prototypes
from lmeraser_ray.models.partition.stage import Partitioned, PartitionStage
from lmeraser_ray.models.requirements import check_labels, check_requirements
from lmeraser_ray.pipeline.choice import Choice
from lmeraser_ray.pipeline.engine import Engine
from lmeraser_ray.pipeline.features import FeatureStage
from lmeraser_ray.pipeline.jobs import Part, TrainConstituent, Trained
from lmeraser_ray.pipeline.manifest import BackboneCard, BucketState, Manifest, ShardState
from lmeraser_ray.pipeline.plan import (
    Build,
    ConstituentRecipe,
    ConstituentSpec,
    Plan,
    constituent_specs,
    plan_constituents,
)
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.storage.digests import canonical_json
from lmeraser_ray.storage.store import Listing, Store, StoredObject


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
    """What the live records need: their features by bucket, their shards, and the plan of
    constituents."""

    index: RecordIndex
    features: list[StoredObject]
    parts: Partitioned
    plan: Plan
    features_computed: int

    @property
    def states(self) -> tuple[BucketState, ...]:
        """The buckets, as the manifest names them."""
        return tuple(
            BucketState(*state)
            for state in zip(self.index.buckets, self.features, self.parts.assignments, strict=True)
        )


@dataclass(frozen=True)
class Flow:
    """Evaluates the function from records to manifest in one store.

    card: of the backbone that the engine will load; public: the stored public prototypes, where
    the partition has any; choice: of the sweep that chose the configuration, where one did.
    """

    store: Store
    config: Config
    card: BackboneCard
    engine: Engine
    progress: Progress
    public: StoredObject | None = None
    choice: Choice | None = None

    def evaluate(
        self, buckets: Sequence[Bucket], previous: Manifest | None, known: RecordIndex | None = None
    ) -> Evaluated:
        """Build whatever these buckets need. previous: the published state, whose feature rows are
        reused; known: the index of that state."""
        planned = self.plan(buckets, previous, known)
        with self.progress.stage("training"):
            trained = self._train(planned)
        manifest = self.manifest(
            planned, {item.key: item for work in trained for item in work.stages}
        )
        reused = len(planned.plan.specs) - len(planned.plan.build)
        return Evaluated(
            manifest, trained, reused, planned.features_computed, planned.parts.reclustered
        )

    def manifest(self, planned: Planned, built: Mapping[str, StoredObject]) -> Manifest:
        """The manifest of a plan. built: the objects that the plan lacked, by key."""
        shards = shard_states(planned.plan.specs, {**planned.plan.reuse, **built})
        choice = self.choice.state(planned.index) if self.choice else None
        return Manifest(
            identity_of(self.config),
            self.card,
            planned.states,
            planned.parts.partition,
            shards,
            choice,
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
            stage = PartitionStage(
                self.store,
                listing,
                self.config.partition,
                self.config.seed,
                self.card.identity,
                self.public,
            )
            parts = stage.run(index, features)
        with self.progress.stage("plan"):
            plan = self._plan(index, parts, listing)
        return Planned(index, features, parts, plan, computed)

    def _plan(self, index: RecordIndex, parts: Partitioned, listing: Listing) -> Plan:
        slices = self.config.learner.slices
        found = index.hashed(self.config.seed, "slice", slices) if slices > 1 else None
        specs = constituent_specs(
            index.digests_at, parts.shard_of, recipe=recipe_of(self.config, self.card), slices=found
        )
        return plan_constituents(specs, listing)

    def _train(self, planned: Planned) -> tuple[Trained, ...]:
        """Train what is missing, the most work first."""
        builds = planned.plan.build
        done: list[Trained] = []
        if not builds:
            return ()
        with self.progress.stage("start"):
            self.engine.start()
        weights = [build.spec.passes(build.first) for build in builds]
        with self.progress.bar("training", sum(weights), "rec") as advance:
            for at, result in self.engine.run(self.job(planned, build) for build in builds):
                done.append(result)
                advance(weights[at])
        return tuple(sorted(done, key=lambda trained: trained.key))

    def job(self, planned: Planned, build: Build) -> TrainConstituent:
        """The job that trains a constituent from its first missing stage on."""
        spec = build.spec
        slices = tuple(self.parts(planned.index, planned.features, part) for part in spec.slices)
        groups = (
            None if spec.groups is None else spec.groups[spec.slices[0].argsort()]
        )  # a job has its rows in ascending order
        before = planned.plan.reuse[spec.keys[build.first - 1]] if build.first else None
        return TrainConstituent(
            spec.keys, slices, epoch_share(self.config.learner.slices), build.first, before, groups
        )

    def parts(
        self, index: RecordIndex, features: Sequence[StoredObject], positions: Positions
    ) -> tuple[Part, ...]:
        """Ascending positions as the parts of a job; with the buckets' features where the learner
        needs features."""
        return parts_of(index, features if self._learner.needs == "features" else None, positions)

    @cached_property
    def _learner(self) -> Learner:
        return make_learner(self.config)


def epoch_share(slices: int) -> float:
    """The share of the epochs that each of R stages has, 2 / (R + 1): with equal slices all stages
    together see as many records as one training without slices."""
    return 2 / (slices + 1)


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
    """The shards, as the manifest names them. found: the constituents, by key."""
    return tuple(
        ShardState(number, size, tuple(found[key] for key in spec.keys))
        for spec in specs
        for number, size in zip(spec.shards, spec.sizes, strict=True)
    )


def recipe_of(config: Config, card: BackboneCard) -> ConstituentRecipe:
    """The recipe of the configured learner."""
    learner = make_learner(config)
    identity = {**learner.identity(), "seed": config.seed}
    if learner.needs_classifier:
        identity["classifier"] = card.classifier
    return ConstituentRecipe(identity, card.identity, learner.joint)


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

    def prototypes(
        self, store: Store, *, expected: StoredObject | None = None
    ) -> StoredObject | None:
        """The public prototypes in the store, computed first where they are not there; None where
        the partition has none.

        Errors: `ConfigError` where the public pictures are not those that `expected`, the published
        prototypes, were made from.
        """
        if not isinstance(self.config.partition, PublicConfig):
            return None
        return public_prototypes(
            self.config, self.config.partition, self.backbone, store, expected=expected
        )


def load_inputs(config: Config, loaded: dict[str, Backbone] | None = None) -> Inputs:
    """Load the configured backbone, with its classifier if the learner needs that, and check that
    the configuration suits it. loaded: backbones that other configurations loaded, by what they
    are; this one's is taken from there or added.

    Errors: `ConfigError`, before any record is read and before anything is written.
    """
    loaded = {} if loaded is None else loaded
    classifier = make_learner(config).needs_classifier
    key = canonical_json([config.backbone.model_dump(mode="json"), classifier]).decode()
    if key not in loaded:
        loaded[key] = load_backbone(config.backbone, choose_device("cpu"), classifier=classifier)
    check_requirements(config, loaded[key])
    return Inputs(config, loaded[key])


def refused(configs: Mapping[str, Config]) -> dict[str, str]:
    """Why some of these configurations cannot be trained, by name. No record is read."""
    loaded: dict[str, Backbone] = {}
    found: dict[str, str] = {}
    for name, config in configs.items():
        try:
            load_inputs(config, loaded)
        except ConfigError as error:
            found[name] = str(error)
    return found
