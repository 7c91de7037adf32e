"""The law where permanent records carry the prototypes: `partition.sampled: permanent`. The work is
asserted too: nobody else's deletion or addition moves a border."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.operations.cost import CostQuestion, cost
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.session import Session
from tests.support.law import (
    expect_equal,
    index_of,
    never_seen,
    remaining,
    shards_by_id,
    trained_and_unlearned,
)
from tests.support.permanent import STAFF, listed, those
from tests.support.world import Recorder, World

EXAMPLES = settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def sections(world: World, subjects: Sequence[str] = STAFF, **partition: object) -> dict[str, Any]:
    """Sections of a configuration in which these subjects are permanent."""
    chosen = {"sampled": "permanent", "sample_size": 6, "shards": 4, **partition}
    data = {"permanent": listed(world, subjects)}
    return {"partition": chosen, "data": data, "learner": {"kind": "ridge"}}


@EXAMPLES
@given(data=st.data())
def test_unlearning_equals_never_having_seen(data: st.DataObject) -> None:
    """For each unit and bound, any permanent subjects and any records; and what `Remaining`
    foretells is so."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), n=data.draw(st.integers(10, 24), "records"))
        people = sorted(set(world.subjects))
        staff = data.draw(st.lists(st.sampled_from(people), min_size=1, unique=True), "staff")
        gone = data.draw(st.lists(st.sampled_from(world.ids), min_size=1, unique=True), "U")
        chosen = sections(
            world,
            staff,
            unit=data.draw(st.sampled_from(["record", "subject"]), "unit"),
            bound=data.draw(st.sampled_from([None, 3]), "bound"),
            sample_size=data.draw(st.sampled_from([2, 6]), "sample"),
        )
        try:
            trained = trained_and_unlearned(world, [], **chosen)
        except DataError as error:
            assert "No training record is permanent" in str(error)
            return
        before = remaining(trained)
        truth = never_seen(world, gone, **chosen)
        expect_equal(trained_and_unlearned(world, [ErasureTargets(tuple(gone))], **chosen), truth)
        foretold = before.without(before.index.held("record_id", gone))
        names = before.index.names("record_id")
        assert shards_by_id(truth) == {
            name: shard
            for name, shard in zip(names, foretold.tolist(), strict=True)
            if name not in gone
        }


@pytest.mark.parametrize("unit", ["record", "subject"])
def test_nobody_else_moves_a_border(world: World, unit: str) -> None:
    """A deletion of one who is not permanent trains that one's shard and no other, and an addition
    too; that of a permanent one clusters again."""
    recorder = Recorder()
    session = recorder.session(world.space())
    chosen = sections(world, unit=unit)
    train(session, world.config(**chosen))
    prototypes = session.folder.require_published().partition
    others = [name for name in world.ids if name not in those(world, STAFF)]
    for name in others[::7]:
        recorder.work.clear()
        done = unlearn(session, ErasureTargets((name,)))
        assert not done.reclustered
        assert len(recorder.trained) <= (1 if unit == "record" else 2)
        assert session.folder.require_published().partition == prototypes
    _, sampled = index_of(session.folder.root)
    assert sampled and sampled <= set(those(world, STAFF))
    assert unlearn(session, ErasureTargets((min(sampled),))).reclustered


def test_an_addition_moves_no_border(world: World) -> None:
    recorder = Recorder()
    session = recorder.session(world.space())
    chosen, new = sections(world), [name for name in world.ids if name not in those(world, STAFF)]
    train(session, world.without(new[3:4], **chosen))
    prototypes = session.folder.require_published().partition
    recorder.work.clear()
    train(session, world.config(**chosen))
    assert session.folder.require_published().partition == prototypes
    assert len(recorder.trained) <= 1
    expect_equal(session.folder.root, never_seen(world, [], **chosen))


@pytest.mark.parametrize("unit", ["record", "subject"])
def test_without_permanent_records_the_sample_is_of_all(world: World, unit: str) -> None:
    """Their erasure is refused to nobody: with the last of them the partition is of all records,
    as in a training that never saw one."""
    chosen = sections(world, unit=unit)
    root = trained_and_unlearned(world, [ErasureTargets(subjects=STAFF)], **chosen)
    expect_equal(root, never_seen(world, those(world, STAFF), **chosen))
    _, sampled = index_of(root)
    assert sampled
    plain = {**chosen, "partition": {**chosen["partition"], "sampled": "all"}}
    assert shards_by_id(root) == shards_by_id(never_seen(world, those(world, STAFF), **plain))


def test_who_is_permanent_is_a_fact_of_the_state(world: World) -> None:
    """A later training that says otherwise is a change of the state; one that says nothing has the
    bytes of a workspace without permanent records."""
    root, few = world.space(), sections(world, STAFF[:4])
    train(Session(root), world.config(**sections(world)))
    train(Session(root), world.config(**few))
    expect_equal(root, never_seen(world, [], **few))
    plain = {"learner": {"kind": "ridge"}}
    one, other = world.space(), world.space()
    train(Session(one), world.config(**plain, data={"permanent": listed(world, STAFF)}))
    train(Session(other), world.config(**plain))
    names = [{item.name for item in Session(at).folder.store.objects()} for at in (one, other)]
    assert names[0] != names[1], "buckets with permanent records have keys of their own"
    train(Session(one), world.config(**plain))
    expect_equal(one, other)


@pytest.mark.parametrize("staff", [STAFF, STAFF[:1]])
@pytest.mark.parametrize("unit", ["record", "subject"])
def test_what_cost_says_is_what_a_deletion_trains(
    world: World, unit: str, staff: tuple[str, ...]
) -> None:
    """Of plain and permanent records, and of the last permanent one."""
    session = Session(world.space())
    chosen = sections(world, ["person-1", *staff][: len(staff)], unit=unit)
    train(session, world.config(**chosen))
    index, _ = index_of(session.folder.root)
    found = cost(session)
    said = dict(zip(found.names, found.costs.passes.tolist(), strict=True))
    moved = dict(zip(found.names, found.costs.sampled.tolist(), strict=True))
    permanent = set(index.names("record_id", index.permanent.nonzero()[0]))
    assert {name for name, moves in moved.items() if moves} <= permanent
    asked = [*sorted(permanent)[:2], *sorted(set(said) - permanent)[::15]]
    for name in asked:
        root = trained_and_unlearned(world, [], **chosen)
        done = unlearn(Session(root), ErasureTargets((name,)))
        assert (done.passes, done.reclustered) == (said[name], moved[name])
        one = CostQuestion(ErasureTargets((name,)))
        assert cost(session, one).erasure.passes == said[name]


def test_permanent_records_that_are_not_there(world: World) -> None:
    with pytest.raises(ValueError, match="nothing says which records are"):
        world.config(partition={"sampled": "permanent"})
    with pytest.raises(DataError, match="No training record is permanent"):
        train(Session(world.space()), world.config(**sections(world, ["nobody"])))
    missing = {"permanent": str(world.folder / "none.txt")}
    with pytest.raises(ConfigError, match=r"data\.permanent .* cannot be read"):
        train(Session(world.space()), world.config(data=missing))


def test_a_state_with_permanent_records_is_sound(world: World) -> None:
    root = trained_and_unlearned(world, [ErasureTargets((world.ids[0],))], **sections(world))
    assert verify(Session(root), rebuild=True).ok
