"""The work that is said is the work that is done: record passes, feature passes and shards of
deletions and additions of any records, in every kind of system."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lmeraser_ray.data.index import RecordIndex, remaining
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.models.partition.chains import dense
from lmeraser_ray.operations.single_costs import costs_by_system
from lmeraser_ray.operations.work import NUMBER_BYTES, ChangeWork, WorkPlanner, table_of
from lmeraser_ray.pipeline.flow import Evaluated, Flow, load_inputs
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.store import Store
from lmeraser_ray.study.ingested_flow import ingested_flow
from lmeraser_ray.study.measure import storage
from tests.support.quick import cases
from tests.support.systems import blend, system
from tests.support.world import World

CASES = [
    ("adaptive", "padding", "nearest", 1),
    ("adaptive", "linear_probe", "mean", 1),
    ("adaptive", "linear_probe", "nearest", 3),
    ("adaptive", "neighbors", "nearest", 3),
    ("adaptive", "shared_head", "mean", 1),
    ("average", "linear_probe", "nearest", 2),
    ("random", "label_mapping", "hash", 1),
    ("random", "linear_probe", "mean", 4),
    ("random", "class_means", "mean", 1),
    ("one", "ridge", "mean", 1),
    ("one", "linear_probe", "mean", 1),
    ("public", "ridge_relu", "nearest", 1),
    ("public", "linear_probe", "nearest", 2),
    ("blend", ("adaptive", "linear_probe", "nearest", 1.0), ("random", "class_means", "mean", 0.5)),
    ("blend", ("random", "linear_probe", "mean", 1.0), ("random", "linear_probe", "vote", 0.5)),
]


@dataclass(frozen=True)
class Trained:
    """A system that is trained on all records of a world."""

    flow: Flow
    buckets: list[Bucket]
    whole: Evaluated

    @property
    def planner(self) -> WorkPlanner:
        index = RecordIndex.read(self.flow.store, self.buckets)
        return WorkPlanner(self.flow.store, self.flow.config, self.whole.manifest, index)

    def away(self, gone: NDArray[np.int64]) -> Evaluated:
        """The deletion, carried out where nothing but the present state is in the store."""
        keep_only(self.flow.store, self.whole.manifest, self.buckets)
        index = RecordIndex.read(self.flow.store, self.buckets)
        lost = np.zeros(len(index), np.bool_)
        lost[gone] = True
        left = remaining(self.flow.store, index, lost)
        return self.flow.evaluate(left, self.whole.manifest)

    def back(self, less: Evaluated) -> Evaluated:
        """The addition, where nothing but the state without the records is in the store; the
        present state is there again afterwards."""
        keep_only(self.flow.store, less.manifest, self.buckets)
        return self.flow.evaluate(self.buckets, less.manifest)


def keep_only(store: Store, manifest: Manifest, buckets: list[Bucket]) -> None:
    """Purge, as a publication does; the records themselves stay."""
    kept = {*manifest.objects(), *(item for b in buckets for item in (b.records, b.pictures))}
    for item in store.objects():
        if item not in kept:
            store.path(item).unlink()


@contextmanager
def trained(world: World, *case: object) -> Iterator[Trained]:
    config = (
        blend(world, *case[1:])  # type: ignore[arg-type]
        if case[0] == "blend"
        else system(world, *case)  # type: ignore[arg-type]
    )
    store = Store(Path(str(world.space())), "run")
    store.create()
    with ingested_flow(Session(world.folder), store, load_inputs(config)) as (flow, buckets):
        yield Trained(flow, buckets, flow.evaluate(buckets, None))


def passes(done: Evaluated) -> int:
    return sum(work.passes for work in done.trained)


def check(made: Trained, gone: NDArray[np.int64]) -> tuple[ChangeWork, ChangeWork]:
    """A deletion and the way back, each said and done."""
    planner = made.planner
    said, back = planner.leaving(gone), planner.coming(gone)
    less = made.away(gone)
    assert (said.passes, said.features) == (passes(less), less.features_computed)
    again = made.back(less)
    assert (back.passes, back.features) == (passes(again), again.features_computed)
    assert again.manifest.fingerprint == made.whole.manifest.fingerprint
    if not planner.systems[0].joint:
        assert (said.shards, back.shards) == (len(less.trained), len(again.trained))
    everything = passes(made.whole) + made.whole.features_computed
    assert back.total == everything
    assert said.records == back.records == len(gone)
    return said, back


@pytest.mark.parametrize(
    "case", cases([(case,) for case in CASES], quick=[(CASES[1],), (CASES[7],)])
)
def test_what_is_said_is_what_is_done(world: World, case: tuple[object, ...]) -> None:
    """One record, sampled or not; a person; several, a test record among them; all but one."""
    with trained(world, *case) as made:
        index = made.planner.index
        training, test = index.training, np.flatnonzero(index.test)
        rng = np.random.default_rng(0)
        for gone in (
            *([position] for position in rng.choice(training, 2, replace=False)),
            index.of_subject(index.names("subject_id", training[:1])[0]),
            [*rng.choice(training, 7, replace=False), *test[:2]],
            training[1:],
        ):
            check(made, np.sort(np.array(gone, np.int64)))
        said, back = check(made, test[:1])
        assert (said.passes, said.shards, back.passes, back.features) == (0, 0, 0, 1)
        assert said.rows_read > said.rows_written > 0


@pytest.mark.parametrize(
    "case", cases([(CASES[i],) for i in (0, 4, 8, 9, 13, 14)], quick=[(CASES[9],)])
)
def test_one_record_by_itself_is_an_erasure_of_one(world: World, case: tuple[object, ...]) -> None:
    """Passes, shards, rows and bytes of the quick way are those of any erasure."""
    with trained(world, *case) as made:
        flow, planner = made.flow, made.planner
        everyone = np.arange(len(planner.index.training))
        costs = costs_by_system(
            flow.store, flow.config, made.whole.manifest, planner.index, everyone, flow.progress
        )
        erasures = (planner.leaving(planner.index.training[[at]]) for at in everyone)
        found, expected = planner.single(costs), table_of(erasures)
        assert (np.abs(found - expected) <= 1).all(), "a byte is rounded"


def test_who_subtracts_reads_the_rows_that_left_and_the_statistics(world: World) -> None:
    with trained(world, "one", "ridge", "mean", 1) as made:
        planner, manifest = made.planner, made.whole.manifest
        at = planner.index.training[:1]
        bucket = int(np.searchsorted(planner.index.starts, at[0], "right")) - 1
        rows = int(np.diff(planner.index.starts)[bucket])
        [shard] = manifest.shards
        assert shard.statistics is not None
        sums = made.flow.store.path(shard.statistics).stat().st_size
        said = planner.leaving(at)
        assert said.rows_read == rows + 1, "its bucket, and the row that leaves"
        row = manifest.backbone.dimension * NUMBER_BYTES
        assert said.bytes_read == int(planner.bytes_of_buckets[bucket]) + row + sums
        assert said.bytes_written > sums
        kept = storage(made.flow.store, manifest)
        assert kept["statistics"] == sums
        assert kept["constituents"] == made.flow.store.path(shard.constituent).stat().st_size


def test_numbers_with_gaps_are_made_dense() -> None:
    before, after = np.array([7, 900_000, -1, 7], np.int32), np.array([-1, 900_000, 3, 7], np.int32)
    found = [shards.tolist() for shards in dense(before, after)]
    assert found == [[1, 2, -1, 1], [-1, 2, 0, 1]]


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_records_of_any_system(made_of: dict[str, Trained], data: st.DataObject) -> None:
    made = made_of[data.draw(st.sampled_from(sorted(made_of)))]
    n = len(made.planner.index)
    gone = data.draw(st.sets(st.integers(0, n - 1), min_size=1, max_size=n - 1))
    chosen = np.array(sorted(gone), np.int64)
    if not set(made.planner.index.training.tolist()) <= gone:
        check(made, chosen)


@pytest.fixture(scope="module")
def made_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Trained]]:
    """Two systems over 16 records."""
    world = World(tmp_path_factory.mktemp("work"), 16)
    with (
        trained(world, "adaptive", "linear_probe", "nearest", 3) as one,
        trained(world, "average", "neighbors", "mean", 1) as two,
    ):
        yield {"slices": one, "average": two}
