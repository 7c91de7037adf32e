"""A method that only approximates unlearning, as a negative example: fine-tuning on what remains.

Every constituent that had a record to forget is trained on for a share of its epochs, on the rest
of its shard. Prototypes and shards stay as the forgotten records helped to make them. A system
without keys might do this; `attack` shows what it leaves behind.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import Config
from lmeraser_ray.config.learner import SgdConfig
from lmeraser_ray.data.order import Digests, Positions
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.registry import make_learners
from lmeraser_ray.pipeline.flow import Flow, Planned
from lmeraser_ray.pipeline.jobs import TrainConstituent
from lmeraser_ray.pipeline.manifest import Manifest, ShardState
from lmeraser_ray.storage.digests import canonical_json, key_of
from lmeraser_ray.storage.store import Store, StoredObject


def can_fine_tune(config: Config) -> bool:
    """Whether constituents can be trained on: by gradient descent, each shard by itself."""
    return all(isinstance(system.learner, SgdConfig) for system in config.members) and not any(
        learner.joint for learner in make_learners(config)
    )


def fine_tune(
    flow: Flow, planned: Planned, before: Manifest, gone: NDArray[np.bool_], *, share: float
) -> Manifest:
    """Return the manifest `before` with every constituent that had a record of `gone` [n] bool
    trained on without it, for `share` of the epochs.

    planned: the plan that `before` was made by. A shard of which no record is left is removed.
    """
    states = {shard.number: shard for shard in before.shards}
    jobs: dict[int, TrainConstituent] = {}
    after: list[ShardState] = []
    for spec in planned.plan.specs:
        members = np.concatenate(spec.slices)
        left = np.sort(members[~gone[members]])
        old = states[spec.shards[0]]
        if len(left) == len(members):
            after.append(old)
        elif len(left):
            jobs[len(after)] = training_on(
                flow, planned, old, left, planned.index.digests_at(left), share
            )
            after.append(replace(old, size=len(left)))
    places = sorted(jobs, key=lambda at: -jobs[at].weight)
    if jobs:
        flow.engine.start()
        for at, trained in flow.engine.run(jobs[at] for at in places):
            after[places[at]] = replace(after[places[at]], stages=trained.stages)
    return replace(before, shards=tuple(after))


def training_on(
    flow: Flow, planned: Planned, old: ShardState, left: Positions, digests: Digests, share: float
) -> TrainConstituent:
    """Return the job that trains a shard's constituent on the remaining records. left: their
    positions, ascending; digests: their digests."""
    classes = tuple(sorted(set(planned.index.names("label", left))))
    start = with_classes(flow.store, old.constituent, classes)
    parts = flow.parts(planned.index, planned.features, left, old.member)
    key = key_of("fine-tuned/1", bytes.fromhex(start.key), canonical_json(share), digests.tobytes())
    return TrainConstituent((key,), (parts,), share, 0, start, member=old.member)


def with_classes(store: Store, old: StoredObject, classes: tuple[str, ...]) -> StoredObject:
    """Return a stored constituent whose head has only the given ones of its classes."""
    constituent = Constituent.from_bytes(store.read(old))
    if constituent.classes == classes:
        return old
    rows = [constituent.classes.index(name) for name in classes]
    tensors = {
        name: t[rows] if name in ("weight", "bias") else t
        for name, t in constituent.tensors.items()
    }
    key = key_of("fewer-classes/1", bytes.fromhex(old.key), canonical_json(list(classes)))
    return store.put(
        "constituents", key, [Constituent(classes, tensors, constituent.about).to_bytes()]
    )
