"""The one flow: from the live records to a published manifest. Training, unlearning and rebuilding are this function on different records.

    buckets → features → partition → shards → plan → (train what is missing) → manifest

Invariant: what is returned is a function of the buckets, the identity half of the configuration and the backbone. What is already in the
store is only a shortcut.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lmeraser_ray.backbone import load_backbone
from lmeraser_ray.config import Config
from lmeraser_ray.data.buckets import Bucket
from lmeraser_ray.engine import Engine
from lmeraser_ray.features import FeatureStage
from lmeraser_ray.index import RecordIndex
from lmeraser_ray.learners.prompt_head import PromptHead
from lmeraser_ray.numerics import choose_device
from lmeraser_ray.partition.stage import PartitionStage
from lmeraser_ray.plan import Plan, ShardSpec, plan_shards, shard_specs
from lmeraser_ray.progress import Progress
from lmeraser_ray.state.manifest import BackboneCard, BucketState, Manifest, ShardState
from lmeraser_ray.state.store import Store, StoredObject
from lmeraser_ray.work import Trained, TrainShard


@dataclass(frozen=True)
class Evaluated:
    """A manifest, ready to be published, and the work that it took."""

    manifest: Manifest
    trained: tuple[Trained, ...]
    reused: int
    features_computed: int
    reclustered: bool


@dataclass(frozen=True)
class Flow:
    """Evaluates the function from records to manifest in one store. `card` describes the backbone that `engine` will load."""

    store: Store
    config: Config
    card: BackboneCard
    engine: Engine
    progress: Progress

    def evaluate(self, buckets: Sequence[Bucket], previous: Manifest | None) -> Evaluated:
        """Build whatever these buckets need. `previous` is the published state, whose feature rows are carried over."""
        listing = self.store.listing()
        with self.progress.stage("plan"):
            index = RecordIndex.read(self.store, buckets)
        before = {state.bucket.number: state for state in previous.buckets} if previous else {}
        with self.progress.stage("features"):
            features, computed = FeatureStage(self.store, listing, self.card, self.engine, before, self.progress).run(index)
        with self.progress.stage("partition"):
            stage = PartitionStage(self.store, listing, self.config.partition, self.config.seed, self.card.identity)
            parts = stage.run(index, features)
        with self.progress.stage("plan"):
            identity = {**PromptHead(self.config.learner).identity(), "seed": self.config.seed}
            plan = plan_shards(shard_specs(index.digests, parts.shard_of, learner=identity, backbone=self.card.identity), listing)
        with self.progress.stage("training"):
            trained = self._train(index, plan)
        constituents = {**plan.reuse, **{t.key: t.constituent for t in trained}}
        states = tuple(BucketState(*state) for state in zip(buckets, features, parts.assignments, strict=True))
        manifest = self._manifest(states, parts.partition, plan.shards, constituents)
        return Evaluated(manifest, trained, len(plan.reuse), computed, parts.reclustered)

    def _train(self, index: RecordIndex, plan: Plan) -> tuple[Trained, ...]:
        """Train the shards that are missing, the largest first."""
        jobs = [TrainShard(shard.key, index.rows(shard.members)) for shard in plan.build]
        done: list[Trained] = []
        if not jobs:
            return ()
        with self.progress.stage("start"):
            self.engine.start()
        with self.progress.bar("training", sum(job.weight for job in jobs), "rec") as advance:
            for at, result in self.engine.run(jobs):
                done.append(result)
                advance(jobs[at].weight)
        return tuple(sorted(done, key=lambda trained: trained.key))

    def _manifest(
        self,
        buckets: tuple[BucketState, ...],
        partition: StoredObject | None,
        shards: tuple[ShardSpec, ...],
        constituents: dict[str, StoredObject],
    ) -> Manifest:
        states = tuple(ShardState(len(shard.members), constituents[shard.key]) for shard in shards)
        return Manifest(identity_of(self.config), self.card, buckets, partition, states)


def identity_of(config: Config) -> dict[str, object]:
    """The identity half of a configuration as the manifest keeps it. The backbone's is its digest, which stands beside it."""
    return {name: value for name, value in config.identity().items() if name != "backbone"}


def card_of(config: Config) -> BackboneCard:
    """Load the configured backbone once, to know its identity."""
    backbone = load_backbone(config.backbone, choose_device("cpu"))
    return BackboneCard(backbone.identity, backbone.dimension, backbone.batch, backbone.spec)
