"""One system under one seed: its accuracy, what a deletion costs, how long each takes.

Every figure comes from the real flow in one store: features, partitions and constituents that two
systems share are computed once. A deletion here evaluates the flow on buckets without the record;
nothing is published or purged.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import Config, NearestConfig
from lmeraser_ray.data.index import RecordIndex, remaining
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.models.aggregation.routes import Routes
from lmeraser_ray.models.learners.registry import make_learners
from lmeraser_ray.models.partition.expected import DeletionCosts, summarize
from lmeraser_ray.operations.cost import CostQuestion, costs_in
from lmeraser_ray.operations.evaluate import score
from lmeraser_ray.operations.work import WorkPlanner, bytes_of
from lmeraser_ray.operations.work_units import UnitWork, of_additions, of_batches, of_people
from lmeraser_ray.pipeline.answering import Stored, predict_stored
from lmeraser_ray.pipeline.flow import Evaluated, Flow
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.storage.store import Store
from lmeraser_ray.study.curves import accuracy_by_epoch
from lmeraser_ray.study.hashed_order import hashed_order


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    deletions: how many single deletions are timed; together: how many records one joint deletion
    has; forget: shares of the training records that are erased at once.
    """

    deletions: int = 3
    together: int = 10
    forget: tuple[float, ...] = ()


@dataclass(frozen=True)
class MeasuredTrial:
    """A system that was trained on buckets: its name, its flow, its manifest and the records."""

    name: str
    flow: Flow
    buckets: Sequence[Bucket]
    manifest: Manifest
    index: RecordIndex

    def predict(self, positions: NDArray[np.int64]) -> float:
        """Predict the records at `positions`. Returns how many times the backbone sees each of them
        at most (a shard of one class answers without the backbone)."""
        stored = Stored(self.index, [state.features for state in self.manifest.buckets], positions)
        found = predict_stored(self.flow, self.manifest, stored)
        return passes_of(self.flow.config, self.manifest, found.routes)


def passes_of(config: Config, manifest: Manifest, routes: Routes) -> float:
    """Return how many times the backbone sees a query at most: once to route it, and once for each
    shard that answers with a prompt of its own."""
    needs = [learner.needs for learner in make_learners(config)]
    routed = "features" in needs or any(
        isinstance(system.aggregation, NearestConfig) for system in config.members
    )
    prompted = np.array([needs[shard.member] == "pictures" for shard in manifest.shards], np.bool_)
    asked = (prompted[routes.shards] & (routes.weights > 0)).sum(1)
    return (1.0 if routed else 0.0) + float(asked.max(initial=0))


def measure(
    name: str,
    flow: Flow,
    buckets: Sequence[Bucket],
    extent: Extent,
    *,
    known: Sequence[DeletionCosts] | None = None,
    curve: bool = False,
    units: bool = False,
) -> dict[str, Any]:
    """Train a system, score it, and measure what deletions cost. Returns a JSON value.

    known: the costs of all single deletions by system, where the caller has them; curve: measure
    the accuracy after each epoch too, which trains everything once more; units: compute the work of
    a person, of batches and of an addition besides that of one record.
    """
    flow.plan(buckets, None)  # the features are shared: not a part of the training time
    start = time.perf_counter()
    evaluated = flow.evaluate(buckets, None)
    seconds = time.perf_counter() - start
    trial = MeasuredTrial(
        name, flow, buckets, evaluated.manifest, RecordIndex.read(flow.store, buckets)
    )
    test = np.flatnonzero(trial.index.test)
    training = trial.index.training
    accuracy = score(flow, trial.manifest, trial.index, test).accuracy
    asked = time.perf_counter()
    passes = trial.predict(test) if len(test) else 0.0
    asked = time.perf_counter() - asked
    result: dict[str, Any] = {
        "accuracy": {"test": accuracy},
        "records": {"training": len(training), "test": len(test)},
        "shards": len(trial.manifest.shards),
        "cost": cost_of(trial, known, units=units),
        "training": {
            "seconds": None if evaluated.reused else round(seconds, 3),
            "passes": sum(work.passes for work in evaluated.trained),
            "trained": len(evaluated.trained),
            "reused": evaluated.reused,
        },
        "inference": {"seconds_per_query": asked / max(len(test), 1), "backbone_passes": passes},
        "storage": storage(flow.store, trial.manifest),
        "deletion": deletions(trial, extent),
        "forget": [forget(trial, share) for share in extent.forget],
    }
    if curve:
        result["curve"] = accuracy_by_epoch(flow, flow.plan(buckets, None), trial.manifest)
    return result


def cost_of(
    trial: MeasuredTrial, known: Sequence[DeletionCosts] | None, *, units: bool
) -> dict[str, Any]:
    """Return what deletions cost, before any is carried out; known and units as of `measure`."""
    flow, singles = trial.flow, CostQuestion(each=True)
    costs = costs_in(
        flow.store, flow.config, trial.manifest, singles, progress=flow.progress, known=known
    )
    return {
        **summarize(costs.costs),
        "parameters": costs.parameters,
        "work": works_of(trial, costs.units) if units else {},
    }


def works_of(trial: MeasuredTrial, single: Sequence[UnitWork]) -> dict[str, Any]:
    """Return the figures of the work of one record, of a person, of batches of 1% and 10%, and of
    adding 1%, by name. single: those of one record."""
    planner = WorkPlanner(trial.flow.store, trial.flow.config, trial.manifest, trial.index)
    found: dict[str, UnitWork] = {
        **{str(unit.unit): unit for unit in single},
        "person": of_people(planner),
        "batch 1%": of_batches(planner, 0.01),
        "batch 10%": of_batches(planner, 0.1),
        "adding 1%": of_additions(planner, 0.01),
    }
    return {name: unit.figures() for name, unit in found.items()}


def storage(store: Store, manifest: Manifest) -> dict[str, int]:
    """Return the bytes that a system adds to records and features: its constituents with all their
    stages, the statistics that it keeps, and the partition."""
    stages = {stage for shard in manifest.shards for stage in shard.chain}
    sums = {shard.statistics for shard in manifest.shards if shard.statistics}
    kept = [item for member in manifest.members for item in (member.partition, *member.assignments)]
    return {
        "constituents": bytes_of(store, stages),
        "statistics": bytes_of(store, sums),
        "partition": bytes_of(store, filter(None, kept)),
    }


def deletions(trial: MeasuredTrial, extent: Extent) -> dict[str, Any]:
    """Measure single deletions and one joint deletion: seconds, retrained constituents, and the
    accuracy after the joint one."""
    order = by_hash(trial, "deletion")[:-1]  # one training record stays
    single = [erase(trial, order[[at]])[0] for at in range(min(extent.deletions, len(order)))]
    # Other records than the single ones: their retrained shards would be in the store already.
    others = order[extent.deletions :][: extent.together]
    together = scored_erasure(trial, others) if len(others) else None
    return {"single": single, "together": together}


def erase(
    trial: MeasuredTrial, gone: NDArray[np.int64]
) -> tuple[dict[str, Any], list[Bucket], Manifest]:
    """Evaluate the flow without some records. Returns the work, and the remaining state."""
    start = time.perf_counter()
    lost = np.zeros(len(trial.index), np.bool_)
    lost[gone] = True
    buckets = remaining(trial.flow.store, trial.index, lost)
    evaluated = trial.flow.evaluate(buckets, trial.manifest)
    seconds = time.perf_counter() - start
    work = {
        "records": len(gone),
        "seconds": None if found_done(trial.manifest, evaluated) else round(seconds, 4),
        "passes": sum(work.passes for work in evaluated.trained),
        "trained": len(evaluated.trained),
    }
    return work, buckets, evaluated.manifest


def found_done(before: Manifest, after: Evaluated) -> bool:
    """Whether the store already had some of what the erasure needs, from an interrupted run: then
    the measured seconds mean nothing."""
    old = {stage for shard in before.shards for stage in shard.chain}
    new = {stage for shard in after.manifest.shards for stage in shard.chain}
    return bool(new - old - {stage for work in after.trained for stage in work.stages})


def scored_erasure(trial: MeasuredTrial, gone: NDArray[np.int64]) -> dict[str, Any]:
    """Return the work of `erase` with the accuracy after it, on test records and on the remaining
    training records."""
    work, buckets, manifest = erase(trial, gone)
    after = RecordIndex.read(trial.flow.store, buckets)
    found = {
        name: score(trial.flow, manifest, after, chosen).accuracy
        for name, chosen in (("test", np.flatnonzero(after.test)), ("retained", after.training))
    }
    return {**work, "accuracy": found}


def forget(trial: MeasuredTrial, share: float) -> dict[str, Any]:
    """Measure the erasure of a share of the training records at once."""
    order = by_hash(trial, "forget")
    return {"share": share, **scored_erasure(trial, order[: round(share * len(order))])}


def by_hash(trial: MeasuredTrial, domain: str) -> NDArray[np.int64]:
    """Return the positions [n] int64 of the training records in a hashed order. It differs between
    systems: two that share constituents would find each other's deletions in the store."""
    ids = trial.index.names("record_id", trial.index.training)
    order = hashed_order(ids, trial.flow.config.seed, f"{domain}/{trial.name}")
    return trial.index.training[order]


def settings(config: Config, extent: Extent) -> dict[str, Any]:
    """Return what a measurement is made from, as a JSON value."""
    source = config.data.model_dump(mode="json")
    backbone = config.backbone.model_dump(mode="json")
    return {
        "unit": "work",
        "identity": config.identity(),
        "data": source,
        "backbone": backbone,
        "engine": "inline" if config.execution.engine == "inline" else "ray",
        "extent": [extent.deletions, extent.together, list(extent.forget)],
    }
