"""The planner: a shard's key knows all that a constituent is a function of, and nothing else."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lmeraser_ray.config import PromptHeadConfig
from lmeraser_ray.learners.prompt_head import PromptHead
from lmeraser_ray.plan import canonical_order, plan_shards, shard_key, shard_specs
from lmeraser_ray.state.store import StoredObject

LEARNER = PromptHead(PromptHeadConfig()).identity()
BACKBONE = "ab" * 32


def rows(names: list[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(names), np.uint8).reshape(-1, 32)


digest_lists = st.lists(
    # Few different bytes, so that digests agree in long prefixes, and high bytes, which signed comparison would put first.
    st.lists(st.sampled_from([0, 1, 127, 128, 255]), min_size=32, max_size=32).map(bytes) | st.binary(min_size=32, max_size=32),
    min_size=1,
    max_size=20,
    unique=True,
)


@given(digest_lists)
def test_canonical_order_is_that_of_the_bytes(names: list[bytes]) -> None:
    order = canonical_order(rows(names))
    assert [names[i] for i in order] == sorted(names)


def test_canonical_order_of_nothing() -> None:
    assert canonical_order(np.empty((0, 32), np.uint8)).tolist() == []


@settings(deadline=None, max_examples=40)
@given(digest_lists, st.data())
def test_every_record_is_in_exactly_one_shard(names: list[bytes], data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.integers(-1, 4), min_size=len(names), max_size=len(names)))
    used = {k: i for i, k in enumerate(sorted({k for k in wanted if k >= 0}))}
    assignment = np.array([used.get(k, -1) for k in wanted], np.int32)
    specs = shard_specs(rows(names), assignment, learner=LEARNER, backbone=BACKBONE)
    assert len(specs) == len(used)
    for k, spec in enumerate(specs):
        assert sorted(spec.members.tolist()) == np.flatnonzero(assignment == k).tolist()
        inside = [names[i] for i in spec.members]
        assert inside == sorted(inside)
        assert spec.key == shard_key(LEARNER, BACKBONE, rows(inside))
    assert len({spec.key for spec in specs}) == len(specs)


@settings(deadline=None, max_examples=40)
@given(digest_lists, st.data())
def test_a_key_is_a_function_of_the_set_of_members(names: list[bytes], data: st.DataObject) -> None:
    """Whoever else is there, in whatever position, under whatever shard number: the same members have the same key."""
    mine = data.draw(st.sets(st.sampled_from(names), min_size=1))
    shuffled = data.draw(st.permutations(names))
    keys = set()
    beside = int(len(mine) < len(names))
    for order, number in ((names, 0), (shuffled, beside), (sorted(mine), 0)):
        assignment = np.array([number if name in mine else number - 1 for name in order], np.int32)
        keys.add(shard_specs(rows(list(order)), assignment, learner=LEARNER, backbone=BACKBONE)[number].key)
    assert len(keys) == 1


@settings(deadline=None, max_examples=40)
@given(digest_lists, st.data())
def test_another_set_of_members_is_another_key(names: list[bytes], data: st.DataObject) -> None:
    groups = data.draw(st.lists(st.sets(st.sampled_from(names), min_size=1).map(frozenset), min_size=1, max_size=6))
    keys = {group: shard_key(LEARNER, BACKBONE, rows(sorted(group))) for group in groups}
    assert len(set(keys.values())) == len(keys)


def test_every_learner_field_and_the_backbone_are_in_the_key() -> None:
    """A field that is not in the key would let a constituent of other settings be reused."""
    member = rows([b"m" * 32])
    other = {
        "prompt_width": 5, "prompt_init": "random", "head_init": "ridge", "ridge": 0.5, "ridge_scale": 5.0, "optimizer": "sgd",
        "prompt_lr": 0.5, "head_lr": 0.5, "momentum": 0.5, "weight_decay": 0.5, "warmup": 0.5, "epochs": 3, "batch": 3, "crop": 3,
        "flip": True, "dtype": "bfloat16",
    }  # fmt: skip
    assert {*other, "kind"} == set(PromptHeadConfig.model_fields), "a new field needs its value here"
    keys = [shard_key(LEARNER, BACKBONE, member), shard_key(LEARNER, "cd" * 32, member)]
    keys.append(shard_key({**LEARNER, "recipe": 99}, BACKBONE, member))
    for name, value in other.items():
        assert getattr(PromptHeadConfig(), name) != value
        keys.append(shard_key(PromptHead(PromptHeadConfig(**{name: value})).identity(), BACKBONE, member))
    assert len(set(keys)) == len(keys)


def test_the_order_of_a_learners_fields_is_not_in_the_key() -> None:
    member = rows([b"m" * 32])
    assert shard_key(dict(reversed(LEARNER.items())), BACKBONE, member) == shard_key(LEARNER, BACKBONE, member)


def test_plan_reuses_what_is_there_and_builds_the_rest_the_largest_first() -> None:
    names = rows([bytes([i]) * 32 for i in range(10)])
    specs = shard_specs(names, np.array([0, 1, 1, 1, 2, 2, 2, 2, 2, 3], np.int32), learner=LEARNER, backbone=BACKBONE)
    stored = StoredObject("constituents", specs[1].key, "f" * 64)
    decoy = StoredObject("features", specs[0].key, "f" * 64)
    stale = StoredObject("constituents", "0" * 64, "f" * 64)
    listing = {(item.kind, item.key): item for item in (stored, decoy, stale)}
    plan = plan_shards(specs, listing)
    assert plan.shards == specs
    assert plan.reuse == {specs[1].key: stored}
    assert [len(spec.members) for spec in plan.build] == [5, 1, 1]
    assert [spec.key for spec in plan.build[1:]] == sorted(spec.key for spec in (specs[0], specs[3]))
    assert plan_shards((), listing).build == ()


def test_planning_everything_that_exists_builds_nothing() -> None:
    specs = shard_specs(rows([b"a" * 32, b"b" * 32]), np.array([0, 1], np.int32), learner=LEARNER, backbone=BACKBONE)
    listing = {("constituents", spec.key): StoredObject("constituents", spec.key, "f" * 64) for spec in specs}
    plan = plan_shards(specs, listing)
    assert plan.build == ()
    assert list(plan.reuse) == [spec.key for spec in specs]
