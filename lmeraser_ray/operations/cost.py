"""`cost`: the exact share of a full training that each deletion trains again, known before anyone
asks for a deletion.

Re-clustering is included: the deletion of a sampled record moves prototypes, and records near a
border change shards. So are slices, and learners that serve all shards at once. Nothing is trained.
Features are read in blocks, and only for the deletion of sampled records.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import AdaptiveConfig, Config
from lmeraser_ray.data.feature_file import Features, read_features
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.errors import DataError
from lmeraser_ray.models.learners.parameters import count_parameters
from lmeraser_ray.models.learners.registry import make_learner
from lmeraser_ray.models.partition.adaptive import Labels
from lmeraser_ray.models.partition.chains import Positions
from lmeraser_ray.models.partition.deletion import DeletionCosts, deletion_costs, fixed_costs
from lmeraser_ray.models.partition.expected import spread
from lmeraser_ray.models.partition.feature_rows import joined
from lmeraser_ray.models.partition.stage import gather, sample_positions, stored_shards
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.store import Store, StoredObject


@dataclass(frozen=True)
class Costing:
    """The costs of q deletions.

    index: of the state; test: requested ids of test records, whose deletion costs nothing;
    retrained [q] float64: the parameters that each deletion trains again: the mean size of the
    present constituents times the touched shards, since the size of a constituent that does not
    exist yet depends on its classes; a joint learner's one constituent counts whole; sizes: the
    parameters of each present constituent.
    """

    costs: DeletionCosts
    index: RecordIndex = field(repr=False)
    test: tuple[str, ...]
    retrained: NDArray[np.float64]
    sizes: tuple[int, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The record ids of the deletions, in order."""
        return tuple(self.index.names("record_id", self.index.training[self.costs.positions]))

    @property
    def parameters(self) -> dict[str, float | None]:
        """The parameters that a deletion trains again (mean, p99, worst), those of a constituent on
        average, and those of all, as JSON numbers."""
        return {
            **spread(self.retrained),
            "constituent": sum(self.sizes) / len(self.sizes),
            "total": sum(self.sizes),
        }


def cost(session: Session, records: Sequence[str] = ()) -> Costing:
    """Return the cost of deleting each of the given records, or each training record if none is
    given. Errors: `DataError` with the unknown ids."""
    config, store = session.config(), session.folder.store
    return session.consistently(
        lambda state: costs_in(store, config, state.manifest, records, progress=session.progress)
    )


def costs_in(
    store: Store,
    config: Config,
    manifest: Manifest,
    records: Sequence[str],
    *,
    progress: Progress,
    known: DeletionCosts | None = None,
) -> Costing:
    """Return the costs in one state of a store. known: the costs, where they are computed
    already."""
    index = RecordIndex.read(store, [state.bucket for state in manifest.buckets])
    if index.test.all():
        raise DataError(
            f"{store.root.parent} holds no training records, so a deletion costs nothing."
        )
    chosen, test = positions_of(index, config, records)
    with progress.stage("cost"):
        costs = known or costs_of(store, config, manifest, index, chosen, progress)
        sizes = sizes_of(store, config, manifest)
    touched = costs.touched > 0 if make_learner(config).joint else costs.touched
    return Costing(
        costs, index, test, touched.astype(np.float64) * (sum(sizes) / len(sizes)), sizes
    )


def costs_of(
    store: Store,
    config: Config,
    manifest: Manifest,
    index: RecordIndex,
    chosen: Positions,
    progress: Progress,
) -> DeletionCosts:
    """Return the cost of deleting each of `chosen` [q] int64, positions among the training
    records."""
    joint, slices = make_learner(config).joint, None
    if config.learner.slices > 1:
        slices = index.hashed(config.seed, "slice", config.learner.slices)[~index.test]
    shard = shards_in(store, config, manifest, index)
    if not isinstance(config.partition, AdaptiveConfig):
        return fixed_costs(shard, chosen, slices=slices, joint=joint)
    features = StoredRows(store, index, [state.features for state in manifest.buckets])
    order = np.searchsorted(
        index.training, sample_positions(index, config.seed, config.partition.sample_size + 1)
    )
    with progress.bar("cost", len(chosen), "rec") as advance:
        return deletion_costs(
            features,
            shard,
            order,
            config.partition,
            chosen,
            slices=slices,
            joint=joint,
            progress=advance,
        )


@dataclass(frozen=True)
class StoredRows:
    """The features of an index's training records, read a bucket at a time. items: the features
    object of each bucket."""

    store: Store
    index: RecordIndex
    items: Sequence[StoredObject]

    def at(self, positions: Positions) -> Features:
        """Return the features of some training records, in the given order [m, d] float32."""
        return gather(self.store, self.index, self.items, self.index.training[positions]).astype(
            np.float32
        )

    def blocks(self, height: int) -> Iterator[Features]:
        """Yield all features, `height` rows at a time."""
        buckets = zip(self.items, self.index.columns, strict=True)
        return joined(
            (read_features(self.store, item)[~columns.test] for item, columns in buckets), height
        )


def shards_in(store: Store, config: Config, manifest: Manifest, index: RecordIndex) -> Labels:
    """Return the shard of each training record [n] int32."""
    found = stored_shards(
        store,
        config.partition,
        config.seed,
        [state.assignments for state in manifest.buckets],
        index,
    )
    return found[~index.test]


def sizes_of(store: Store, config: Config, manifest: Manifest) -> tuple[int, ...]:
    """Return the parameters of each constituent, read from the heads of their files."""
    size = manifest.backbone.spec.input_size
    constituents = dict.fromkeys(
        shard.constituent for shard in manifest.shards
    )  # a joint one stands with every shard
    return tuple(count_parameters(store, item, config.learner, size) for item in constituents)


def positions_of(
    index: RecordIndex, config: Config, records: Sequence[str]
) -> tuple[Positions, tuple[str, ...]]:
    """Return the positions of the requested records among the training records (all, if none is
    requested), and which of them are test records."""
    if not records:
        return np.arange(len(index.training)), ()
    places = index.places(config.seed, records, config.data.buckets)
    unknown = [name for name in records if name not in places]
    if unknown:
        raise DataError(
            f"The workspace holds no record {', '.join(map(repr, unknown[:5]))}: correct the ids "
            "and try again."
        )
    asked = np.array([places[name] for name in records], np.int64)
    test = index.test[asked]
    return np.searchsorted(index.training, asked[~test]), tuple(
        name for name, apart in zip(records, test, strict=True) if apart
    )
