"""Studies of systems whose shards begin with what was learned from the permanent records."""

from pathlib import Path

import numpy as np

from lmeraser_ray.data.index import RecordIndex, remaining
from lmeraser_ray.operations.work import WorkPlanner
from lmeraser_ray.pipeline.flow import load_inputs
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.store import Store
from lmeraser_ray.study.asked_unit import ONE_RECORD
from lmeraser_ray.study.ingested_flow import ingested_flow
from lmeraser_ray.study.measure import Extent, measure
from lmeraser_ray.study.trial import Alone, course
from tests.support.permanent import common_start
from tests.support.world import World


def test_a_trial_trains_the_start_first(world: World) -> None:
    """And measures what the flow finds; a curve has an accuracy for each epoch of the shards."""
    config = world.config(**common_start(world))
    store = Store(Path(str(world.space())), "run")
    store.create()
    with ingested_flow(Session(world.folder), store, load_inputs(config)) as (flow, buckets):
        *_, last = course("one", flow, buckets, Alone(), ONE_RECORD)
        assert last.result is not None
        evaluated = flow.evaluate(buckets, None)
        assert evaluated.trained == ()
        found = measure("one", flow, buckets, Extent(0, 0), curve=True)
        assert found["accuracy"]["test"] == last.result["accuracy"]["test"] == last.at_most
        assert len(found["curve"]) == 2, "half of four epochs"
        assert found["curve"][-1] == found["accuracy"]["test"]


def test_the_work_of_an_addition_is_what_it_takes(world: World) -> None:
    """Of a permanent record, and of another one."""
    config = world.config(**common_start(world, "permanent"))
    store = Store(Path(str(world.space())), "run")
    store.create()
    with ingested_flow(Session(world.folder), store, load_inputs(config)) as (flow, buckets):
        whole = flow.evaluate(buckets, None)
        planner = WorkPlanner(store, flow.config, whole.manifest, RecordIndex.read(store, buckets))
        index = planner.index
        for mask in (index.permanent, ~index.permanent & ~index.test):
            came = np.flatnonzero(mask)[:1]
            gone = np.zeros(len(index), np.bool_)
            gone[came] = True
            less = flow.evaluate(remaining(store, index, gone), whole.manifest)
            kept = {*less.manifest.objects(), *(item for b in buckets for item in (b.records,))}
            kept |= {bucket.pictures for bucket in buckets}
            store.purge(kept)
            again = flow.evaluate(buckets, less.manifest)
            said = planner.coming(came)
            assert said.passes == sum(work.passes for work in again.trained)
            assert again.manifest == whole.manifest
