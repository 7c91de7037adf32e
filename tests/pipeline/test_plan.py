"""The planner: a shard's key knows all that a constituent is a function of, and nothing else."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lmeraser_ray.config import PromptConfig, PromptHeadConfig
from lmeraser_ray.data.order import canonical_order
from lmeraser_ray.models.learners.prompt_head import PromptHead
from lmeraser_ray.pipeline import plan
from lmeraser_ray.pipeline.plan import (
    Build,
    ConstituentRecipe,
    ConstituentSpec,
    constituent_specs,
    joint_key,
    plan_constituents,
    shard_key,
    stage_key,
)
from lmeraser_ray.storage.store import StoredObject

LEARNER = PromptHead(PromptHeadConfig()).identity()
BACKBONE = "ab" * 32
RECIPE = ConstituentRecipe(LEARNER, BACKBONE)
JOINT = ConstituentRecipe(LEARNER, BACKBONE, joint=True)


def rows(names: list[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(names), np.uint8).reshape(-1, 32)


digest_lists = st.lists(
    # Few different bytes, so that digests agree in long prefixes, and high bytes, which signed
    # comparison would put first.
    st.lists(st.sampled_from([0, 1, 127, 128, 255]), min_size=32, max_size=32).map(bytes)
    | st.binary(min_size=32, max_size=32),
    min_size=1,
    max_size=20,
    unique=True,
)


@given(digest_lists)
def test_canonical_order_is_that_of_the_bytes(names: list[bytes]) -> None:
    order = canonical_order(rows(names))
    assert [names[i] for i in order] == sorted(names)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-1, 6), max_size=60), st.sampled_from([1, 2, 7, 1 << 16]))
def test_members_by_shard_whatever_is_sorted_at_a_time(numbers: list[int], together: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "TOGETHER", together)
        grouped, bounds = plan.members_by_shard(np.array(numbers, np.int32))
    shards = range(max(numbers, default=-1) + 1)
    assert [grouped[bounds[k] : bounds[k + 1]].tolist() for k in shards] == [
        [i for i, n in enumerate(numbers) if n == k] for k in shards
    ]
    assert len(bounds) == len(shards) + 1 and bounds[-1] == len(grouped)


def test_canonical_order_of_nothing() -> None:
    assert canonical_order(np.empty((0, 32), np.uint8)).tolist() == []


@settings(deadline=None, max_examples=40)
@given(digest_lists, st.data())
def test_every_record_is_in_exactly_one_shard(names: list[bytes], data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.integers(-1, 4), min_size=len(names), max_size=len(names)))
    used = {k: i for i, k in enumerate(sorted({k for k in wanted if k >= 0}))}
    assignment = np.array([used.get(k, -1) for k in wanted], np.int32)
    specs = constituent_specs(rows(names).__getitem__, assignment, recipe=RECIPE)
    assert len(specs) == len(used)
    assert [spec.shards for spec in specs] == [(k,) for k in range(len(specs))]
    for k, spec in enumerate(specs):
        (everyone,) = spec.slices
        assert sorted(everyone.tolist()) == np.flatnonzero(assignment == k).tolist()
        assert spec.sizes == (len(everyone),)
        inside = [names[i] for i in everyone]
        assert inside == sorted(inside)
        assert spec.keys == (spec.key,)
        assert spec.key == shard_key(RECIPE, rows(inside))
    assert len({spec.key for spec in specs}) == len(specs)


@settings(deadline=None, max_examples=40)
@given(digest_lists, st.data())
def test_a_key_is_a_function_of_the_set_of_members(names: list[bytes], data: st.DataObject) -> None:
    """Whoever else is there, in whatever position, under whatever shard number: the same members
    have the same key."""
    mine = data.draw(st.sets(st.sampled_from(names), min_size=1))
    shuffled = data.draw(st.permutations(names))
    keys = set()
    beside = int(len(mine) < len(names))
    for order, number in ((names, 0), (shuffled, beside), (sorted(mine), 0)):
        assignment = np.array([number if name in mine else number - 1 for name in order], np.int32)
        keys.add(
            constituent_specs(rows(list(order)).__getitem__, assignment, recipe=RECIPE)[number].key
        )
    assert len(keys) == 1


@settings(deadline=None, max_examples=40)
@given(digest_lists, st.data())
def test_another_set_of_members_is_another_key(names: list[bytes], data: st.DataObject) -> None:
    groups = data.draw(
        st.lists(st.sets(st.sampled_from(names), min_size=1).map(frozenset), min_size=1, max_size=6)
    )
    keys = {group: shard_key(RECIPE, rows(sorted(group))) for group in groups}
    assert len(set(keys.values())) == len(keys)


def test_every_learner_field_and_the_backbone_are_in_the_key() -> None:
    """A field that is not in the key would let a constituent of other settings be reused."""
    member = rows([b"m" * 32])
    other = {
        "prompt": None, "head_init": "ridge", "ridge": 0.5, "ridge_scale": 5.0, "optimizer": "sgd",
        "head_lr": 0.5, "momentum": 0.5, "weight_decay": 0.5, "warmup": 0.5, "epochs": 3, "batch":
        3, "crop": 3, "flip": True, "dtype": "bfloat16", "slices": 3, "start": "permanent",
        "share": 0.5,
    }  # fmt: skip
    prompt = {"kind": "fixed_patch", "width": 5, "init": "random", "lr": 0.5}
    assert {*other, "kind"} == set(PromptHeadConfig.model_fields), (
        "a new field needs its value here"
    )
    assert set(prompt) == set(PromptConfig.model_fields), "a new field needs its value here"
    changed = [{name: value} for name, value in other.items() if name != "prompt"] + [
        {"prompt": {k: v}} for k, v in prompt.items()
    ]
    keys = [shard_key(RECIPE, member), shard_key(ConstituentRecipe(LEARNER, "cd" * 32), member)]
    keys.append(shard_key(ConstituentRecipe({**LEARNER, "recipe": 99}, BACKBONE), member))
    keys += [
        shard_key(ConstituentRecipe(LEARNER, BACKBONE, start=2 * s), member)
        for s in (BACKBONE[:32], 32 * "c")
    ]
    for fields in changed:
        settings = PromptHeadConfig.model_validate(fields)
        assert settings != PromptHeadConfig()
        keys.append(shard_key(ConstituentRecipe(PromptHead(settings).identity(), BACKBONE), member))
    assert len(set(keys)) == len(keys)


def test_the_order_of_a_learners_fields_is_not_in_the_key() -> None:
    member = rows([b"m" * 32])
    assert shard_key(
        ConstituentRecipe(dict(reversed(LEARNER.items())), BACKBONE), member
    ) == shard_key(RECIPE, member)


def test_plan_reuses_what_is_there_and_builds_the_rest_the_largest_first() -> None:
    names = rows([bytes([i]) * 32 for i in range(10)])
    specs = constituent_specs(
        names.__getitem__, np.array([0, 1, 1, 1, 2, 2, 2, 2, 2, 3], np.int32), recipe=RECIPE
    )
    stored = StoredObject("constituents", specs[1].key, "f" * 64)
    decoy = StoredObject("features", specs[0].key, "f" * 64)
    stale = StoredObject("constituents", "0" * 64, "f" * 64)
    listing = {(item.kind, item.key): item for item in (stored, decoy, stale)}
    plan = plan_constituents(specs, listing)
    assert plan.specs == specs
    assert plan.reuse == {specs[1].key: stored}
    assert [build.spec.sizes for build in plan.build] == [(5,), (1,), (1,)]
    assert {build.first for build in plan.build} == {0}
    assert [build.spec.key for build in plan.build[1:]] == sorted(
        spec.key for spec in (specs[0], specs[3])
    )
    assert plan_constituents((), listing).build == ()


def test_planning_everything_that_exists_builds_nothing() -> None:
    specs = constituent_specs(
        rows([b"a" * 32, b"b" * 32]).__getitem__, np.array([0, 1], np.int32), recipe=RECIPE
    )
    listing = {
        ("constituents", spec.key): StoredObject("constituents", spec.key, "f" * 64)
        for spec in specs
    }
    plan = plan_constituents(specs, listing)
    assert plan.build == ()
    assert list(plan.reuse) == [spec.key for spec in specs]


def stored(*keys: str) -> dict[tuple[str, str], StoredObject]:
    return {("constituents", key): StoredObject("constituents", key, "f" * 64) for key in keys}


def sliced(
    names: Sequence[bytes], where: Sequence[int], *, shard: Sequence[int] | None = None
) -> tuple[ConstituentSpec, ...]:
    """The constituents of records, each with its slice (and shard)."""
    numbers = np.zeros(len(names), np.int32) if shard is None else np.array(shard, np.int32)
    return constituent_specs(
        rows(list(names)).__getitem__, numbers, recipe=RECIPE, slices=np.array(where, np.int32)
    )


class TestSlices:
    """A chain of keys, one a stage: SISA's slices."""

    NAMES = tuple(bytes([i]) * 32 for i in (7, 3, 9, 1, 5, 8, 2))
    WHERE = (0, 2, 1, 0, 2, 1, 3)

    def test_the_chain(self) -> None:
        """By slice, within a slice in the order of the digests; each key stands on the one
        before."""
        (spec,) = sliced(self.NAMES, self.WHERE)
        assert [part.tolist() for part in spec.slices] == [[3, 0], [5, 2], [1, 4], [6]]
        parts = [rows([self.NAMES[i] for i in part]) for part in spec.slices]
        first = shard_key(RECIPE, parts[0])
        second = stage_key(first, parts[1])
        third = stage_key(second, parts[2])
        assert spec.keys == (first, second, third, stage_key(third, parts[3]))
        assert spec.key == spec.keys[-1]
        assert len(set(spec.keys)) == 4
        assert (spec.shards, spec.sizes, spec.groups) == ((0,), (7,), None)

    def test_the_cost_of_a_stage_is_all_that_it_sees(self) -> None:
        """Slices of 2, 2, 2 and 1: the stages see 2, 4, 6 and 7 records."""
        (spec,) = sliced(self.NAMES, self.WHERE)
        assert [spec.passes(first) for first in range(4)] == [19, 17, 13, 7]

    @settings(deadline=None, max_examples=60)
    @given(digest_lists, st.data())
    def test_a_deletion_changes_the_keys_from_its_slice_on(
        self, names: list[bytes], data: st.DataObject
    ) -> None:
        """And no others: the stages before are reused, and training goes on at the first that
        changed."""
        where = data.draw(st.lists(st.integers(0, 4), min_size=len(names), max_size=len(names)))
        gone = data.draw(st.integers(0, len(names) - 1))
        (before,) = sliced(names, where)
        left, left_in = names[:gone] + names[gone + 1 :], where[:gone] + where[gone + 1 :]
        if not left:
            assert sliced(left, left_in) == ()
            return
        (after,) = sliced(left, left_in)
        same = len({r for r in where if r < where[gone]})
        assert after.keys[:same] == before.keys[:same]
        assert not {*after.keys[same:]} & {*before.keys}
        plan = plan_constituents((after,), stored(*before.keys))
        assert list(plan.reuse) == list(before.keys[:same])
        assert [build.first for build in plan.build] == ([same] if len(after.keys) > same else [])

    def test_a_deletion_of_all_of_the_last_slice_trains_nothing(self) -> None:
        """What is left is an earlier stage, which is there."""
        (before,) = sliced(self.NAMES, self.WHERE)
        (after,) = sliced(self.NAMES[:-1], self.WHERE[:-1])
        assert after.keys == before.keys[:-1]
        plan = plan_constituents((after,), stored(*before.keys))
        assert plan.build == ()
        assert set(plan.reuse) == set(after.keys)

    def test_an_empty_slice_is_no_stage(self) -> None:
        """Neither the first nor one between: who is in which stage decides, and not a slice's
        number."""
        some = [name for name, r in zip(self.NAMES, self.WHERE, strict=True) if r in (1, 3)]
        (gaps,) = sliced(some, [1, 1, 3])
        (dense,) = sliced(some, [0, 0, 1])
        assert gaps.keys == dense.keys
        assert [len(part) for part in gaps.slices] == [2, 1]
        (one,) = sliced(some, [3, 3, 3])
        assert one.keys == (shard_key(RECIPE, rows(sorted(some))),)

    def test_another_slice_is_another_constituent(self) -> None:
        """The same members in other slices were trained in another order."""
        keys = {
            sliced(self.NAMES, where)[0].key
            for where in (self.WHERE, (0,) * 7, (1, 2, 1, 0, 2, 1, 3), (2, 0, 1, 2, 0, 1, 3))
        }
        assert len(keys) == 4

    def test_each_shard_has_its_own_chain(self) -> None:
        first, second = sliced(self.NAMES, self.WHERE, shard=(0, 1, 0, 1, 0, 1, 0))
        assert [part.tolist() for part in first.slices] == [[0], [2], [4], [6]]
        assert [part.tolist() for part in second.slices] == [[3], [5], [1]]
        assert not {*first.keys} & {*second.keys}
        alone = [i for i in range(7) if i % 2]
        (again,) = sliced([self.NAMES[i] for i in alone], [self.WHERE[i] for i in alone])
        assert again.keys == second.keys

    @pytest.mark.parametrize(
        ("there", "first"),
        [
            ((), 0),
            ((0,), 1),
            ((0, 1, 2), 3),
            ((1, 2, 3), 0),
            ((0, 2, 3), 1),
            ((0, 1, 3), 2),
            ((0, 1, 2, 3), None),
        ],
        ids=str,
    )
    def test_the_longest_prefix_is_reused_and_nothing_behind_a_hole(
        self, there: tuple[int, ...], first: int | None
    ) -> None:
        """A stage behind a missing one is trained too: its file may be there, but the plan does not
        lean on it."""
        (spec,) = sliced(self.NAMES, self.WHERE)
        plan = plan_constituents((spec,), stored(*(spec.keys[i] for i in there)))
        assert plan.build == (() if first is None else (Build(spec, first),))
        assert list(plan.reuse) == list(spec.keys[: 4 if first is None else first])

    def test_the_most_remaining_work_first(self) -> None:
        """Not the largest shard: what of it is there is not trained."""
        large, small = sliced(
            [*self.NAMES, b"x" * 32, b"y" * 32], [*self.WHERE, 0, 1], shard=[0] * 7 + [1] * 2
        )
        assert [build.spec for build in plan_constituents((large, small), {}).build] == [
            large,
            small,
        ]
        nearly = plan_constituents((large, small), stored(*large.keys[:3])).build
        assert [(build.spec, build.first) for build in nearly] == [(large, 3), (small, 0)]
        more = sliced(
            [*self.NAMES, *(bytes([i]) * 32 for i in range(100, 110))],
            [*self.WHERE, *[0] * 10],
            shard=[0] * 7 + [1] * 10,
        )
        assert [
            build.spec for build in plan_constituents(more, stored(*more[0].keys[:3])).build
        ] == list(more[::-1])


class TestJoint:
    """One constituent for all shards."""

    NAMES = tuple(bytes([i]) * 32 for i in (7, 3, 9, 1, 5))

    def spec(self, *assignment: int, names: Sequence[bytes] = NAMES) -> ConstituentSpec:
        (found,) = constituent_specs(
            rows(list(names)).__getitem__, np.array(assignment, np.int32), recipe=JOINT
        )
        return found

    def test_one_constituent_serves_all_shards(self) -> None:
        """Empty shards are left out, and records of no shard; `groups` are places and not
        numbers."""
        found = self.spec(4, 0, 4, -1, 2)
        assert (found.shards, found.sizes) == ((0, 2, 4), (1, 1, 2))
        assert [part.tolist() for part in found.slices] == [[1, 4, 0, 2]]
        assert found.groups is not None
        assert found.groups.tolist() == [0, 1, 2, 2]
        assert found.groups.dtype == np.int32
        assert found.keys == (
            joint_key(JOINT, rows([self.NAMES[i] for i in (1, 4, 0, 2)]), found.groups),
        )
        assert found.passes() == 4

    def test_who_is_in_which_shard_is_in_the_key(self) -> None:
        keys = {
            self.spec(*assignment).key
            for assignment in (
                (0, 0, 0, 1, 1),
                (0, 0, 1, 1, 1),
                (1, 1, 1, 0, 0),
                (0,) * 5,
                (0, 0, 0, 1, -1),
            )
        }
        assert len(keys) == 5

    def test_the_numbers_of_the_shards_and_the_order_of_the_records_are_not(self) -> None:
        """Only which record is with which: a shard's number depends on the numbers that are
        empty."""
        found = self.spec(0, 0, 0, 1, 1)
        assert self.spec(3, 3, 3, 7, 7).key == found.key
        assert self.spec(1, 1, 0, 0, 0, names=self.NAMES[::-1]).key == found.key

    def test_no_shards_no_constituent(self) -> None:
        assert (
            constituent_specs(
                rows(list(self.NAMES)).__getitem__, np.full(5, -1, np.int32), recipe=JOINT
            )
            == ()
        )

    def test_a_joint_constituent_is_not_that_of_a_shard(self) -> None:
        assert self.spec(0, 0, 0, 0, 0).key != sliced(self.NAMES, (0,) * 5)[0].key

    def test_any_change_trains_it_again(self) -> None:
        before = self.spec(0, 0, 0, 1, 1)
        after = self.spec(0, 0, 0, 1, names=self.NAMES[:4])
        plan = plan_constituents((after,), stored(*before.keys))
        assert (dict(plan.reuse), plan.build) == ({}, (Build(after, 0),))
        assert plan_constituents((before,), stored(*before.keys)).build == ()
