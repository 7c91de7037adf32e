"""The law where shards begin with what was learned from the permanent records: `learner.start:
permanent`. The work is asserted too: which constituents were trained, and how long."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.operations.cost import CostQuestion, cost
from lmeraser_ray.operations.predict import predict
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.session import Session
from tests.support.law import expect_equal, never_seen, remaining, trained_and_unlearned
from tests.support.permanent import PARTITIONS, RANDOM, STAFF, common_start, those
from tests.support.world import Recorder, World, picture

EXAMPLES = settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def published(session: Session) -> Manifest:
    """The published state."""
    return session.folder.require_published()


def ids_of(root: Path, *, permanent: bool) -> list[str]:
    """The ids of the training records that are permanent, or are not."""
    index = remaining(root).index
    chosen = index.permanent if permanent else ~index.permanent & ~index.test
    return index.names("record_id", np.flatnonzero(chosen))


@EXAMPLES
@given(data=st.data())
def test_unlearning_equals_never_having_seen(data: st.DataObject) -> None:
    """For each partition, slices and any records."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        chosen = common_start(
            world,
            data.draw(st.sampled_from(sorted(PARTITIONS)), "partition"),
            slices=data.draw(st.sampled_from([1, 2]), "slices"),
            head_init=data.draw(st.sampled_from(["zero", "ridge"]), "head"),
        )
        gone = data.draw(st.lists(st.sampled_from(world.ids), min_size=1, unique=True), "U")
        truth = never_seen(world, gone, **chosen)
        expect_equal(trained_and_unlearned(world, [ErasureTargets(tuple(gone))], **chosen), truth)


@pytest.mark.parametrize("kind", ["random", "permanent"])
def test_order_does_not_matter(world: World, kind: str) -> None:
    chosen = common_start(world, kind)
    plain = next(name for name in world.ids if name not in those(world, STAFF))
    requests = [ErasureTargets((plain,)), ErasureTargets(subjects=(STAFF[1],))]
    truth = never_seen(world, [plain, *those(world, STAFF[1:2])], **chosen)
    for order in (requests, requests[::-1]):
        expect_equal(trained_and_unlearned(world, order, **chosen), truth)


def test_a_plain_record_trains_its_shard_from_the_same_start(world: World) -> None:
    recorder = Recorder()
    session = recorder.session(world.space())
    train(session, world.config(**common_start(world)))
    before = published(session)
    [start] = {shard.start for shard in before.shards}
    assert start is not None
    assert recorder.trained[0] == start.key, "the others go on from it"
    assert len(recorder.trained) == 1 + len(before.shards)
    recorder.work.clear()
    done = unlearn(session, ErasureTargets((ids_of(session.folder.root, permanent=False)[0],)))
    after = published(session)
    changed = [shard for shard in after.shards if shard not in before.shards]
    assert recorder.trained == [shard.constituent.key for shard in changed]
    assert len(changed) == 1
    assert {shard.start for shard in after.shards} == {start}
    assert done.passes == 2 * changed[0].size, "half of four epochs"


def test_a_permanent_record_trains_everything(world: World) -> None:
    """The start first, then every shard; the certificate names all of them."""
    recorder = Recorder()
    session = recorder.session(world.space())
    train(session, world.config(**common_start(world)))
    before, staff = published(session), ids_of(session.folder.root, permanent=True)
    recorder.work.clear()
    done = unlearn(session, ErasureTargets((staff[0],)))
    after = published(session)
    [start] = {shard.start for shard in after.shards}
    assert start not in {shard.start for shard in before.shards}
    assert recorder.trained[0] == start.key
    assert set(recorder.trained) == {start.key, *(shard.constituent.key for shard in after.shards)}
    assert set(done.rebuilt) == set(recorder.trained)
    assert done.passes == 4 * (len(staff) - 1) + 2 * after.training_records
    assert set(before.trained).isdisjoint(after.trained)


@pytest.mark.parametrize("kind", ["random", "people"])
def test_without_permanent_records_shards_begin_by_themselves(world: World, kind: str) -> None:
    """And have all epochs."""
    chosen = common_start(world, kind)
    root = trained_and_unlearned(world, [ErasureTargets(subjects=STAFF)], **chosen)
    expect_equal(root, never_seen(world, those(world, STAFF), **chosen))
    manifest = published(Session(root))
    assert not any(shard.start for shard in manifest.shards)
    assert "start" not in manifest.to_bytes().decode().replace('"start":"permanent"', "")


@pytest.mark.parametrize("of", ["permanent", "others"])
def test_a_class_that_only_some_have(world: World, of: str) -> None:
    """A constituent has the classes of its own shard, whatever the start has."""
    chosen = common_start(world)
    labels = dict(zip(world.ids, world.labels, strict=True))
    staff = set(those(world, STAFF))
    mine = [n for n in world.ids if (n in staff) is (of != "permanent") and labels[n] == "class-0"]
    root = trained_and_unlearned(world, [ErasureTargets(tuple(mine))], **chosen)
    expect_equal(root, never_seen(world, mine, **chosen))
    session = Session(root)
    index, store = remaining(root).index, session.folder.store
    for shard in published(session).shards:
        found = Constituent.from_bytes(store.read(shard.constituent))
        assert set(found.classes) <= set(index.classes)
    assert len(predict(session, [picture(n) for n in range(5)]).predictions.labels) == 5


@pytest.mark.parametrize("kind", ["random", "permanent", "bounded"])
def test_what_cost_says_is_what_a_deletion_trains(world: World, kind: str) -> None:
    """Of plain and permanent records, sampled and not, and of all permanent ones at once."""
    chosen = common_start(world, kind, slices=2 if kind == "random" else 1)
    root = trained_and_unlearned(world, [], **chosen)
    session = Session(root)
    found = cost(session)
    said = {n: found.costs.passes[i] for i, n in enumerate(found.names)}
    touched = {n: found.costs.touched[i] for i, n in enumerate(found.names)}
    totals = {n: found.costs.total[i] for i, n in enumerate(found.names)}
    staff, others = (ids_of(root, permanent=stays) for stays in (True, False))
    for name in (*staff[:2], others[0]):
        done = unlearn(Session(trained_and_unlearned(world, [], **chosen)), ErasureTargets((name,)))
        assert done.passes == said[name]
        one = cost(session, CostQuestion(ErasureTargets((name,)))).erasure
        assert (one.passes, one.shards) == (said[name], touched[name])
        assert one.total == totals[name]
        again = Session(never_seen(world, [name], **chosen))
        assert cost(again).passes == one.total - len(remaining(again.folder.root).index)
    gone = ErasureTargets(subjects=STAFF)
    done = unlearn(Session(trained_and_unlearned(world, [], **chosen)), gone)
    assert done.passes == cost(session, CostQuestion(gone)).erasure.passes


def test_the_last_permanent_record(world: World) -> None:
    """`cost` foretells it too."""
    chosen = common_start(world, "permanent")
    first = trained_and_unlearned(world, [], **chosen)
    last, *rest = ids_of(first, permanent=True)
    session = Session(first)
    unlearn(session, ErasureTargets(tuple(rest)))
    found = cost(session)
    said = dict(zip(found.names, found.costs.passes.tolist(), strict=True))
    other = ids_of(first, permanent=False)[0]
    assert said[other] < said[last]
    assert unlearn(session, ErasureTargets((other,))).passes == said[other]
    foretold = cost(session, CostQuestion(ErasureTargets((last,)))).erasure
    assert unlearn(session, ErasureTargets((last,))).passes == foretold.passes


def test_a_state_with_a_start_is_sound(world: World) -> None:
    """What a purge leaves is named, and the rebuilt state is the same."""
    requests = [ErasureTargets((name,)) for name in (world.ids[0], world.ids[3])]
    session = Session(trained_and_unlearned(world, requests, **common_start(world, "permanent")))
    assert verify(session, rebuild=True).ok
    manifest = published(session)
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest
    starts = {shard.start for shard in manifest.shards}
    assert starts <= set(manifest.objects())


def test_two_systems_of_a_blend_share_a_start(world: World) -> None:
    """And one beside it begins by itself."""
    chosen = common_start(world)
    learner = chosen["learner"]
    other = {"partition": {**RANDOM, "shards": 2}, "aggregation": {"kind": "all"}, "weight": 1.0}
    ridge = {"partition": {**RANDOM, "shards": 1}, "learner": {"kind": "ridge"}, "weight": 1.0}
    chosen["aggregation"] = {
        "kind": "blend",
        "own": "all",
        "others": [{**other, "learner": learner}, {**ridge, "aggregation": {"kind": "all"}}],
    }
    recorder = Recorder()
    session = recorder.session(world.space())
    train(session, world.config(**chosen))
    starts = [shard.start for shard in published(session).shards]
    assert len(set(starts) - {None}) == 1
    assert starts[-1] is None
    assert recorder.trained.count(starts[0].key) == 1
    name = ids_of(session.folder.root, permanent=True)[0]
    foretold = cost(session, CostQuestion(ErasureTargets((name,)))).erasure
    unlearn(session, ErasureTargets((name,)))
    expect_equal(session.folder.root, never_seen(world, [name], **chosen))
    assert foretold.passes > 0
