"""The cost of a deletion in every system equals that of doing it: the real planner, with all old
constituents in the store."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lmeraser_ray.config import AdaptiveConfig
from lmeraser_ray.models.partition import recluster
from lmeraser_ray.models.partition.adaptive import Labels
from lmeraser_ray.models.partition.deletion import DeletionCosts, fixed_costs
from lmeraser_ray.models.partition.expected import spread, summarize
from lmeraser_ray.pipeline.plan import (
    ConstituentRecipe,
    ConstituentSpec,
    constituent_specs,
    plan_constituents,
)
from lmeraser_ray.storage.digests import digest
from lmeraser_ray.storage.store import Listing, StoredObject
from tests.support.reclustering import (
    Features,
    Positions,
    assignment,
    cases,
    config_of,
    costs_of,
    mixture,
)

SLICES = st.sampled_from([1, 2, 3, 5])


@dataclass(frozen=True)
class System:
    """A partition (clusters, or the shard of each record once and for all), slices and a kind of
    learner."""

    features: Features
    order: Positions
    partition: AdaptiveConfig | Labels
    slices: Labels | None
    joint: bool

    def specs(self, live: NDArray[np.bool_]) -> tuple[ConstituentSpec, ...]:
        """What must be trained on the records that live, which are all that is planned with, as in
        a workspace."""
        if isinstance(self.partition, AdaptiveConfig):
            shards = assignment(self.features, self.order[live[self.order]], self.partition)
        else:
            shards = self.partition
        digests = np.frombuffer(
            b"".join(digest("made up", str(i).encode()) for i in np.flatnonzero(live)), np.uint8
        ).reshape(-1, 32)
        recipe = ConstituentRecipe({"kind": "made up"}, "ab" * 32, self.joint)
        return constituent_specs(
            digests.__getitem__,
            shards[live],
            recipe=recipe,
            slices=None if self.slices is None else self.slices[live],
        )

    def costs(self, positions: Positions) -> DeletionCosts:
        """What is said."""
        if isinstance(self.partition, AdaptiveConfig):
            return costs_of(
                self.features,
                self.order,
                self.partition,
                positions,
                slices=self.slices,
                joint=self.joint,
            )
        return fixed_costs(self.partition, positions, slices=self.slices, joint=self.joint)

    def done(self, positions: Positions) -> list[tuple[int, int, int]]:
        """What is done: retrained, touched and total."""
        everybody = np.ones(len(self.order), np.bool_)
        old = {key for spec in self.specs(everybody) for key in spec.keys}
        listing: Listing = {
            ("constituents", key): StoredObject("constituents", key, "00" * 32) for key in old
        }
        found = []
        for position in positions.tolist():
            specs = self.specs(np.arange(len(self.order)) != position)
            builds = plan_constituents(specs, listing).build
            trained = sum(build.spec.passes(build.first) for build in builds)
            found.append(
                (
                    trained,
                    sum(len(build.spec.shards) for build in builds),
                    sum(spec.passes() for spec in specs),
                )
            )
        return found


def rows(costs: DeletionCosts) -> list[tuple[int, int, int]]:
    return list(
        zip(costs.retrained.tolist(), costs.touched.tolist(), costs.total.tolist(), strict=True)
    )


@st.composite
def systems(draw: st.DrawFn) -> tuple[System, Positions]:
    """Few records, so that slices and shards are empty, or become so."""
    features, order, config, positions = draw(cases())
    n, r = len(order), draw(SLICES)
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    slices = (
        None if r == 1 and draw(st.booleans()) else generator.integers(r, size=n).astype(np.int32)
    )
    fixed = generator.integers(draw(st.integers(1, 9)), size=n).astype(np.int32)
    return System(
        features,
        order,
        fixed if draw(st.booleans()) else config,
        slices,
        draw(st.integers(0, 3)) == 0,
    ), positions


@settings(max_examples=300, deadline=None)
@given(systems(), st.sampled_from([1, 400, 2**28]))
def test_costs_equal_doing_it(case: tuple[System, Positions], block_bytes: int) -> None:
    system, positions = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recluster, "BLOCK_BYTES", block_bytes)
        costs = system.costs(positions)
    done = system.done(positions)
    assert rows(costs) == done
    assert costs.share.tolist() == [trained / total if total else 0 for trained, _, total in done]
    assert costs.positions.tolist() == positions.tolist()


@pytest.mark.parametrize("slices", [2, 3, 5, 40])
@pytest.mark.parametrize(("linkage", "cut"), [("average", 5.5), ("ward", 6)])
def test_a_mixture_in_slices(linkage: str, cut: float | int, slices: int) -> None:
    generator = np.random.default_rng(5)
    order = generator.permutation(300)
    config = config_of(60, linkage, cut)
    system = System(
        mixture(300, 24, centres=12, spread=0.8, seed=3),
        order,
        config,
        generator.integers(slices, size=300).astype(np.int32),
        joint=False,
    )
    positions = order[:90:2]
    assert rows(system.costs(positions)) == system.done(positions)


def fixed(
    shards: str, slices: str, positions: list[int], *, joint: bool = False
) -> list[tuple[int, int, int]]:
    """A partition as digits, a record each."""
    shard, part = (np.array([int(c) for c in text], np.int32) for text in (shards, slices))
    system = System(
        np.zeros((len(shards), 1), np.float32), np.arange(len(shards)), shard, part, joint
    )
    chosen = np.array(positions, np.int64)
    assert rows(system.costs(chosen)) == system.done(chosen)
    return rows(system.costs(chosen))


def test_a_deletion_restarts_at_its_slice() -> None:
    # Slices of 1, 2 and 3 records: stages that see 1, 3 and 6. Another shard's stages see 1.
    assert fixed("0000001", "0112220", [5, 1, 0, 6]) == [
        (5, 1, 10),
        (7, 1, 9),
        (7, 1, 8),
        (0, 0, 10),
    ]
    # The first slice goes: the second begins the chain, and nothing that was trained after the
    # first is of use.
    assert fixed("0000", "0111", [0]) == [(3, 1, 3)]
    # The last one goes: its stage does, and the one before is what answers.
    assert fixed("0000", "0002", [3]) == [(0, 0, 3)]
    # A slice between them goes.
    assert fixed("0000", "0122", [1]) == [(3, 1, 4)]


def test_a_joint_learner_trains_everything_again() -> None:
    assert fixed("00123", "00000", [0, 4], joint=True) == [(4, 4, 4), (4, 3, 4)]
    assert fixed("0", "0", [0], joint=True) == [(0, 0, 0)]


def test_a_stage_of_any_old_shard_is_reused() -> None:
    """Records 3 and 1 are sampled, of old shards {3, 2} and {1, 0}. Without 1 they are {3, 0} and
    {2}: what was trained on 0 alone, in the second old shard, is where the first new one goes on;
    what was trained on 2 alone is the whole of the second."""
    features, order, slices = (
        np.array([[7], [6], [2], [5]], np.float32),
        np.array([3, 1, 2, 0]),
        np.array([0, 1, 0, 1], np.int32),
    )
    system = System(features, order, config_of(2, "average", 3), slices, joint=False)
    assert rows(system.costs(np.array([1]))) == system.done(np.array([1])) == [(2, 1, 4)]


def test_nothing_is_asked() -> None:
    none = np.empty(0, np.int64)
    for costs in (
        costs_of(np.ones((4, 3), np.float32), np.arange(4), config_of(2, "average", 1.0), none),
        fixed_costs(np.zeros(4, np.int32), none),
        fixed_costs(np.zeros(4, np.int32), none, joint=True),
    ):
        assert rows(costs) == []
        assert set(summarize(costs).values()) == {None}


def test_summary() -> None:
    sampled = np.array([True, False, False, True])
    costs = DeletionCosts(
        11,
        np.arange(4),
        sampled,
        np.array([20, 1, 2, 5]),
        np.array([3, 1, 1, 1], np.int32),
        np.array([20, 10, 10, 10]),
    )
    found = summarize(costs)
    assert json.loads(json.dumps(found)) == {
        "expected_share": 0.45,
        "p99_share": 1.0,
        "worst_share": 1.0,
        "expected_share_unsampled": pytest.approx(0.15),
        "expected_share_sampled": 0.75,
        "shards_touched": 1.5,
        "worst_shards_touched": 3,
    }
    assert spread(np.array([1.0] * 99 + [5.0])) == {"mean": 1.04, "p99": 1.0, "worst": 5.0}


def test_summary_of_unsampled_records_only() -> None:
    features = mixture(50, 4, centres=3, spread=0.3, seed=0)
    costs = costs_of(features, np.arange(50), config_of(10, "average", 1.5), np.arange(10, 50))
    found = summarize(costs)
    assert found["expected_share_sampled"] is None
    assert found["expected_share_unsampled"] == found["expected_share"]
    assert found["worst_shards_touched"] == 1
