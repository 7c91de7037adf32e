"""The cost of a deletion in every system equals that of doing it: the real planner, with all old
constituents in the store."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lmeraser_ray.config import AdaptiveConfig, LinearProbeConfig, NeighborsConfig
from lmeraser_ray.models.learners.passes import StagePasses, every_record, stage_passes
from lmeraser_ray.models.partition import recluster
from lmeraser_ray.models.partition.adaptive import Labels
from lmeraser_ray.models.partition.chains import Chains
from lmeraser_ray.models.partition.deletion import DeletionCosts, fixed_costs
from lmeraser_ray.models.partition.expected import spread, summarize
from lmeraser_ray.pipeline.plan import (
    Build,
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
LEARNERS = st.sampled_from(
    [NeighborsConfig(), LinearProbeConfig(epochs=3, batch=2), LinearProbeConfig(epochs=1, batch=5)]
)


@dataclass(frozen=True)
class System:
    """A partition (clusters, or the shard of each record once and for all), slices and a kind of
    learner."""

    features: Features
    order: Positions
    partition: AdaptiveConfig | Labels
    slices: Labels | None
    joint: bool
    classes: Labels | None = None
    passes: StagePasses = every_record
    fewest: int | None = None

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
                classes=self.classes,
                passes=self.passes,
                fewest=self.fewest,
                joint=self.joint,
            )
        old = Chains.of(self.partition, self.slices, self.classes, self.passes, self.fewest)
        return fixed_costs(old, positions, joint=self.joint)

    def work(self, spec: ConstituentSpec, live: NDArray[np.bool_], first: int = 0) -> int:
        """The record passes of a constituent's stages from `first` on, one stage at a time."""
        seen: list[int] = []
        found = 0
        for at, part in enumerate(spec.slices):
            seen += np.flatnonzero(live)[part].tolist()
            kinds = 1 if self.classes is None else len(np.unique(self.classes[seen]))
            if at >= first:
                found += int(self.passes(np.array(len(seen)), np.array(kinds > 1)))
        return found

    def again(self, build: Build, live: NDArray[np.bool_]) -> int:
        """The record passes of what is trained: of a shard that keeps statistics, as it did before,
        the rows that left the shard of its number, and those that came."""
        if self.fewest is None:
            return self.work(build.spec, live, build.first)
        now = set(np.flatnonzero(live)[build.spec.slices[0]].tolist())
        old = self.specs(np.ones(len(self.order), np.bool_))
        before = {spec.shards[0]: set(spec.slices[0].tolist()) for spec in old}
        base = before.get(build.spec.shards[0], set())
        kept = min(len(base), len(now)) >= self.fewest
        return min(len(base ^ now), len(now)) if kept else len(now)

    def done(self, positions: Positions) -> list[tuple[int, int, int, int]]:
        """What is done: members, passes, touched and total."""
        everybody = np.ones(len(self.order), np.bool_)
        old = {key for spec in self.specs(everybody) for key in spec.keys}
        listing: Listing = {
            ("constituents", key): StoredObject("constituents", key, "00" * 32) for key in old
        }
        found = []
        for position in positions.tolist():
            live = np.arange(len(self.order)) != position
            specs = self.specs(live)
            builds = plan_constituents(specs, listing).build
            found.append(
                (
                    sum(sum(build.spec.sizes) for build in builds),
                    sum(self.again(build, live) for build in builds),
                    sum(len(build.spec.shards) for build in builds),
                    sum(self.work(spec, live) for spec in specs) + int(live.sum()),
                )
            )
        return found


def rows(costs: DeletionCosts) -> list[tuple[int, int, int, int]]:
    columns = (costs.members, costs.passes, costs.touched, costs.total)
    return list(zip(*(column.tolist() for column in columns), strict=True))


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
        generator.integers(draw(st.integers(1, 4)), size=n).astype(np.int32),
        stage_passes(draw(LEARNERS).model_copy(update={"slices": r})),
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
    assert costs.share.tolist() == [passes / total if total else 0 for _, passes, _, total in done]
    assert costs.positions.tolist() == positions.tolist()


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(1, 6), st.booleans())
def test_sums_are_subtracted(
    case: tuple[Features, Positions, AdaptiveConfig, Positions], fewest: int, moves: bool
) -> None:
    features, order, config, positions = case
    shards = (order % 3).astype(np.int32)
    system = System(features, order, config if moves else shards, None, joint=False, fewest=fewest)
    assert rows(system.costs(positions)) == system.done(positions)


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
) -> list[tuple[int, int, int, int]]:
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
    # A training of those that remain takes one feature pass each besides.
    assert fixed("0000001", "0112220", [5, 1, 0, 6]) == [
        (5, 5, 1, 16),
        (5, 7, 1, 15),
        (5, 7, 1, 14),
        (0, 0, 0, 16),
    ]
    # The first slice goes: the second begins the chain, and nothing that was trained after the
    # first is of use.
    assert fixed("0000", "0111", [0]) == [(3, 3, 1, 6)]
    # The last one goes: its stage does, and the one before is what answers.
    assert fixed("0000", "0002", [3]) == [(0, 0, 0, 6)]
    # A slice between them goes.
    assert fixed("0000", "0122", [1]) == [(3, 3, 1, 7)]


def test_a_joint_learner_trains_everything_again() -> None:
    assert fixed("00123", "00000", [0, 4], joint=True) == [(4, 4, 4, 8), (4, 4, 3, 8)]
    assert fixed("0", "0", [0], joint=True) == [(0, 0, 0, 0)]


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
    assert rows(system.costs(np.array([1]))) == system.done(np.array([1])) == [(2, 2, 1, 7)]


def test_nothing_is_asked() -> None:
    none = np.empty(0, np.int64)
    for costs in (
        costs_of(np.ones((4, 3), np.float32), np.arange(4), config_of(2, "average", 1.0), none),
        fixed_costs(Chains.of(np.zeros(4, np.int32)), none),
        fixed_costs(Chains.of(np.zeros(4, np.int32)), none, joint=True),
    ):
        assert rows(costs) == []
        assert set(summarize(costs).values()) == {None}


def test_summary() -> None:
    sampled = np.array([True, False, False, True])
    costs = DeletionCosts(
        11,
        np.arange(4),
        sampled,
        np.array([10, 1, 2, 5]),
        np.array([10, 1, 2, 5]),
        np.array([20, 1, 2, 5]),
        np.array([3, 1, 1, 1], np.int32),
        np.array([20, 10, 10, 10]),
    )
    found = summarize(costs)
    assert json.loads(json.dumps(found)) == {
        "expected_share": 0.45,
        "p50_share": 0.2,
        "p99_share": 1.0,
        "worst_share": 1.0,
        "expected_share_unsampled": pytest.approx(0.15),
        "expected_share_sampled": 0.75,
        "shards_touched": 1.5,
        "worst_shards_touched": 3,
    }
    assert spread(np.array([1.0] * 99 + [5.0])) == {
        "mean": 1.04,
        "p50": 1.0,
        "p99": 1.0,
        "worst": 5.0,
    }


def test_summary_of_unsampled_records_only() -> None:
    features = mixture(50, 4, centres=3, spread=0.3, seed=0)
    costs = costs_of(features, np.arange(50), config_of(10, "average", 1.5), np.arange(10, 50))
    found = summarize(costs)
    assert found["expected_share_sampled"] is None
    assert found["expected_share_unsampled"] == found["expected_share"]
    assert found["worst_shards_touched"] == 1
