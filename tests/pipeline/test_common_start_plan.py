"""The planner where shards have a common start: built once and first, and part of their keys."""

from dataclasses import replace

import numpy as np

from lmeraser_ray.pipeline.plan import (
    ConstituentRecipe,
    constituent_specs,
    plan_constituents,
    start_spec,
)
from lmeraser_ray.storage.store import StoredObject

RECIPE = ConstituentRecipe({"kind": "prompt_head"}, "ab" * 32)
DIGESTS = np.frombuffer(b"".join(bytes([9 - i]) * 32 for i in range(8)), np.uint8).reshape(-1, 32)
SHARDS = np.array([0, 1, 0, 1, 1, 0, -1, -1], np.int32)


def test_a_start_that_two_systems_share_is_built_once_and_first() -> None:
    start = start_spec(DIGESTS.__getitem__, np.array([1, 2, 4]), RECIPE)
    assert start.shards == start.sizes == ()
    assert start.slices[0].tolist() == [4, 2, 1], "in the order of their digests"
    specs = constituent_specs(DIGESTS.__getitem__, SHARDS, recipe=replace(RECIPE, start=start.key))
    assert {spec.start for spec in specs} == {start.key}
    both = (*specs, *(spec.of_member(1) for spec in specs))
    plan = plan_constituents(both, {}, [start, start.of_member(1)])
    assert [build.spec.key for build in plan.first] == [start.key]
    assert start.key not in {build.spec.key for build in plan.build}
    assert start.key in set(plan.keys)
    made = StoredObject("constituents", start.key, "f" * 64)
    begun = plan.begun({start.key: made})
    assert (begun.first, begun.reuse[start.key]) == ((), made)
    listing = {("constituents", start.key): made}
    there = plan_constituents(both, listing, [start])
    assert (there.first, there.reuse) == ((), {start.key: made})


def test_the_start_is_in_the_keys_of_shards_and_follows_its_members() -> None:
    keys = set()
    for members in ([1, 2], [1, 2, 4], [2]):
        start = start_spec(DIGESTS.__getitem__, np.array(members), RECIPE)
        recipe = replace(RECIPE, start=start.key)
        for slices in (None, np.arange(8, dtype=np.int32) % 2):
            specs = constituent_specs(DIGESTS.__getitem__, SHARDS, recipe=recipe, slices=slices)
            keys |= {start.key, *(key for spec in specs for key in spec.keys)}
    plain = constituent_specs(DIGESTS.__getitem__, SHARDS, recipe=RECIPE)
    assert len(keys) == 3 * (1 + 2 + 4)
    assert keys.isdisjoint(spec.key for spec in plain)
