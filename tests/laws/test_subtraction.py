"""The law where sums are subtracted: a shard that starts from the statistics of the state before
has the very bytes of one that is counted anew; and only rows that left or came are read."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmeraser_ray.config import Config
from lmeraser_ray.erasure.certificate.keystore import key_folder
from lmeraser_ray.erasure.queue.loop import queue_of
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.models.learners.class_means import ClassMeans
from lmeraser_ray.models.learners.ridge import Ridge
from lmeraser_ray.models.learners.statistics import Statistics
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.files import write_atomic
from lmeraser_ray.storage.store import Kind, Store, StoredObject
from tests.support.law import expect_equal, held
from tests.support.world import Recorder, World

SUMMING = {
    "class_means": {"kind": "class_means"},
    "ridge": {"kind": "ridge"},
    "ridge_relu": {"kind": "ridge", "projection": 48, "solve": "gram"},
}


class Counted:
    """A world, and workspaces that are trained on some of its records. Features have 16 numbers,
    so that a shard of ridge keeps statistics from 16 records on; of `ridge_relu` always."""

    def __init__(self, folder: Path, learner: str, *, shards: int = 1, slices: int = 1) -> None:
        self.world = World(folder, n=36)
        self.learner, self.shards, self.slices = SUMMING[learner], shards, slices

    def config(self, without: Sequence[str] = (), *, back: Sequence[str] = ()) -> Config:
        """Train on all records but these. back: erased ones that are let in again."""
        readmit = self.world.folder / "readmit.txt"
        readmit.write_text("".join(f"{name}\n" for name in back))
        return self.world.without(
            without,
            partition={"kind": "random", "shards": self.shards},
            learner={**self.learner, "slices": self.slices},
            aggregation={"kind": "all"},
            data={"test_fraction": 0.0, **({"readmit": str(readmit)} if back else {})},
        )

    def trained(self, without: Sequence[str] = ()) -> Path:
        root = self.world.space()
        train(Session(root), self.config(without))
        return root


def damage(path: Path, root: Path) -> None:
    """On a disk or in object storage."""
    write_atomic(path, b"\x01" * 1000, scratch=root)


def published(root: Path) -> Manifest:
    return Session(root).folder.require_published()


ridge = pytest.mark.parametrize("counted", ["ridge"], indirect=True)
"""One learner is enough."""


@pytest.fixture(params=SUMMING)
def counted(request: pytest.FixtureRequest, tmp_path: Path) -> Counted:
    return Counted(tmp_path / "counted", request.param)


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_order_of_deletions_and_additions(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Law 1 and 2, for random sets, one after the other, in one shard or more."""
    learner = data.draw(st.sampled_from(sorted(SUMMING)), "learner")
    counted = Counted(
        tmp_path_factory.mktemp("any"), learner, shards=data.draw(st.integers(1, 3), "shards")
    )
    ids = counted.world.ids
    missing = set(data.draw(st.lists(st.sampled_from(ids), max_size=12, unique=True), "missing"))
    root = counted.trained(sorted(missing))
    if data.draw(st.booleans(), "added"):
        back = data.draw(st.sets(st.sampled_from(sorted(missing))), "back") if missing else set()
        missing -= back
        train(Session(root), counted.config(sorted(missing)))
    live = sorted({*ids} - missing)
    gone = data.draw(st.lists(st.sampled_from(live), min_size=1, max_size=6, unique=True), "gone")
    cut = data.draw(st.integers(0, len(gone)), "cut")
    for part in (gone[:cut], gone[cut:]):
        if part:
            unlearn(Session(root), ErasureTargets(tuple(part)))
    expect_equal(root, counted.trained([*missing, *gone]))


def test_only_the_rows_that_left_are_read(counted: Counted) -> None:
    recorder, root = Recorder(), counted.trained()
    [shard] = published(root).shards
    assert shard.statistics is not None
    done = unlearn(recorder.session(root), ErasureTargets(tuple(counted.world.ids[:2])))
    assert [work.passes for work in recorder.work] == [2]
    assert (done.passes, len(done.rebuilt)) == (2, 1)
    assert verify(Session(root), rebuild=True).differences == ()


def test_only_the_rows_that_came_are_read(counted: Counted) -> None:
    root, recorder = counted.trained(counted.world.ids[:3]), Recorder()
    train(recorder.session(root), counted.config())
    assert [work.passes for work in recorder.work] == [3]
    expect_equal(root, counted.trained())


@ridge
def test_a_picture_that_was_replaced_leaves_and_comes(counted: Counted) -> None:
    """A record of the same id with other bytes is another record."""
    root, recorder = counted.trained(), Recorder()
    table = pq.read_table(counted.world.path)
    images = table["image"].to_pylist()
    images[4] = counted.world.images[5][:-12] + counted.world.images[5][-12:]
    at = table.schema.get_field_index("image")
    pq.write_table(table.set_column(at, "image", pa.array(images)), counted.world.path)
    train(recorder.session(root), counted.config())
    assert [work.passes for work in recorder.work] == [2]
    expect_equal(root, counted.trained())


def test_where_most_members_leave_the_rest_is_counted(counted: Counted) -> None:
    """Fewer rows are read than by subtraction."""
    root, recorder = counted.trained(), Recorder()
    gone = counted.world.ids[:20]
    done = unlearn(recorder.session(root), ErasureTargets(tuple(gone)))
    assert done.passes == sum(work.passes for work in recorder.work) == 16
    expect_equal(root, counted.trained(gone))


def test_a_class_goes_and_comes_back(counted: Counted) -> None:
    world, recorder = counted.world, Recorder()
    gone = [name for name, each in zip(world.ids, world.labels, strict=True) if each == "class-1"]
    root = counted.trained()
    unlearn(recorder.session(root), ErasureTargets(tuple(gone)))
    expect_equal(root, counted.trained(gone))
    train(recorder.session(root), counted.config(gone[1:], back=gone[:1]))
    assert [work.passes for work in recorder.work] == [len(gone), 1]
    expect_equal(root, counted.trained(gone[1:]))


def test_with_fewer_records_than_features_the_rows_are_read(tmp_path: Path) -> None:
    """At 16 members a shard keeps statistics, at 15 it does not; back at 16 it is counted anew."""
    counted = Counted(tmp_path / "few", "ridge")
    ids, recorder = counted.world.ids, Recorder()
    root = counted.trained(ids[17:])
    for gone, kept, passes in ((16, True, 1), (15, False, 15)):
        unlearn(recorder.session(root), ErasureTargets((ids[gone],)))
        assert bool(published(root).shards[0].statistics) == kept
        assert recorder.work[-1].passes == passes
        expect_equal(root, counted.trained(ids[gone:]))
    train(recorder.session(root), counted.config(ids[16:], back=[ids[15]]))
    assert recorder.work[-1].passes == 16
    expect_equal(root, counted.trained(ids[16:]))


def test_a_shard_in_slices_keeps_none(tmp_path: Path) -> None:
    """Its stages are counted from their rows."""
    counted = Counted(tmp_path / "slices", "class_means", slices=3)
    root = counted.trained()
    unlearn(Session(root), ErasureTargets((counted.world.ids[3],)))
    assert published(root).shards[0].statistics is None
    expect_equal(root, counted.trained([counted.world.ids[3]]))


def test_statistics_that_are_there_are_not_counted(tmp_path: Path) -> None:
    """They are a function of the records, and not of what is solved with them: a system with
    another penalty finds them, and reads no row."""
    counted, recorder = Counted(tmp_path / "penalties", "ridge"), Recorder()
    session = recorder.session(counted.trained())
    [shard] = published(session.root).shards
    config = counted.config()
    other = config.model_copy(
        update={"learner": config.learner.model_copy(update={"penalty": 1.0})}
    )
    before = published(session.root)
    with (
        session.folder.locked() as folder,
        session.flow(folder.store, other, before.backbone) as flow,
    ):
        found = flow.evaluate([state.bucket for state in before.buckets], None)
    [made] = found.manifest.shards
    assert (made.statistics, found.trained[0].passes) == (shard.statistics, 0)
    assert made.constituent.key != shard.constituent.key


@ridge
def test_a_state_of_an_earlier_release_is_counted_once(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its constituents are there, its statistics are not: the next command makes them."""
    counted.shards = 2
    with monkeypatch.context() as patch:
        for learner in (ClassMeans, Ridge):
            patch.setattr(learner, "fewest", lambda *_: 10**9)
        root = counted.trained()
    shards = published(root).shards
    assert [shard.statistics for shard in shards] == [None, None]
    recorder = Recorder()
    done = unlearn(recorder.session(root), ErasureTargets((counted.world.ids[0],)))
    assert sum(work.passes for work in recorder.work) == 35
    assert (len(done.rebuilt), done.passes) == (1, min(w.passes for w in recorder.work if w.stages))
    expect_equal(root, counted.trained([counted.world.ids[0]]))
    recorder.work.clear()
    unlearn(recorder.session(root), ErasureTargets((counted.world.ids[1],)))
    assert [work.passes for work in recorder.work] == [1]


@ridge
@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_a_damaged_shortcut_stops_no_deletion(counted: Counted, how: str) -> None:
    """The sums cannot be read: `verify` names them, and the shard is counted anew."""
    root, recorder, gone = counted.trained(), Recorder(), counted.world.ids[4]
    [path] = (root / "objects" / "statistics").iterdir()
    path.unlink() if how == "missing" else damage(path, root)
    assert path.name in verify(Session(root)).differences[0]
    done = unlearn(recorder.session(root), ErasureTargets((gone,)))
    assert done.passes == recorder.work[-1].passes == 35
    expect_equal(root, counted.trained([gone]))


@ridge
def test_training_again_repairs_statistics(counted: Counted) -> None:
    root, recorder = counted.trained(), Recorder()
    wanted = held(root)
    [path] = (root / "objects" / "statistics").iterdir()
    damage(path, root)
    done = train(recorder.session(root), counted.config())
    assert (done.evaluated.reused, done.passes) == (1, 36)
    assert held(root) == wanted


def test_sums_that_keep_who_left_are_caught(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: where nothing is subtracted, the law breaks, and this suite sees it."""
    gone = counted.world.ids[4]
    root, truth = counted.trained(), counted.trained([gone])
    monkeypatch.setattr(Statistics, "__sub__", lambda total, _: total)
    unlearn(Session(root), ErasureTargets((gone,)))
    assert held(root).keys() != held(truth).keys()


class Killed(BaseException):
    """The process ends here."""


def dying(last: int, put: Callable[..., StoredObject]) -> Callable[..., StoredObject]:
    """`Store.put` of a process that ends before this write."""
    writes = itertools.count()

    def run(store: Store, kind: Kind, key: str, chunks: Iterable[bytes]) -> StoredObject:
        if next(writes) == last:
            raise Killed
        return put(store, kind, key, chunks)

    return run


def test_a_crash_at_every_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next queue ends where the one that died would have."""
    counted = Counted(tmp_path / "crash", "ridge")
    gone, keys = counted.world.ids[4], key_folder(None)
    truth = held(counted.trained([gone]))
    died, last = True, 0
    while died:
        root = counted.trained()
        with monkeypatch.context() as patch:
            patch.setattr(Store, "put", dying(last, Store.put))
            try:
                unlearn(Session(root), ErasureTargets((gone,)), keys=keys)
                died = False
            except Killed:
                last += 1
        with queue_of(Session(root), keys=keys) as queue:
            queue.round(patient=False, stop=lambda: False)
        assert held(root) == truth, f"after {last} writes"
    assert last >= 6
