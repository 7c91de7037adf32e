"""`cost`: what forgetting costs, exactly and before anyone asks: the share of training records whose constituents are trained again.

Re-clustering is included: the deletion of a sampled record moves prototypes, and border records change sides. Nothing is trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmeraser_ray.errors import DataError
from lmeraser_ray.index import RecordIndex
from lmeraser_ray.partition.adaptive import sample_order
from lmeraser_ray.partition.deletion import DeletionCosts, deletion_costs
from lmeraser_ray.partition.stage import gather
from lmeraser_ray.session import Session
from lmeraser_ray.state.manifest import Manifest


@dataclass(frozen=True)
class Costing:
    """The cost of each asked deletion. `names` are their record ids in order; `test` are asked ids that train nothing and cost nothing."""

    costs: DeletionCosts
    names: tuple[str, ...]
    test: tuple[str, ...]


def cost(session: Session, records: Sequence[str] = ()) -> Costing:
    """The cost of deleting each of the given records, or of every training record. Errors: `DataError` with unknown ids."""
    return session.consistently(lambda manifest: cost_in(session, manifest, records))


def cost_in(session: Session, manifest: Manifest, records: Sequence[str]) -> Costing:
    """The cost in one published state."""
    folder = session.folder
    config = session.config()
    index = RecordIndex.read(folder.store, [state.bucket for state in manifest.buckets])
    if len(index.training) == 0:
        raise DataError(f"{folder.root} holds no training records, so a deletion costs nothing.")
    ids = index.names("record_id", index.training)
    chosen, test = positions_of(index, ids, records)
    features = gather(folder.store, index, [state.features for state in manifest.buckets], index.training).astype(np.float32)
    order = sample_order(config.seed, ids, len(ids))
    with session.progress.stage("cost"), session.progress.bar("cost", len(chosen), "rec") as advance:
        costs = deletion_costs(features, order, config.partition, chosen, progress=advance)
    return Costing(costs, tuple(ids[i] for i in chosen), test)


def positions_of(index: RecordIndex, ids: list[str], records: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Where the asked records are among the training records `ids`, and which are test records."""
    if not records:
        return np.arange(len(ids)), ()
    where = {name: i for i, name in enumerate(ids)}
    test = set(index.names("record_id", np.flatnonzero(index.test)))
    unknown = [name for name in records if name not in where and name not in test]
    if unknown:
        raise DataError(f"The workspace holds no record {', '.join(map(repr, unknown[:5]))}: correct the ids and try again.")
    return np.array([where[name] for name in records if name in where], np.int64), tuple(name for name in records if name in test)


if __name__ == "__main__":
    from lmeraser_ray.cli import main

    main("cost")
