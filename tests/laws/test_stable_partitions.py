"""The law where people stay together and shards have a bound: `partition.unit` and
`partition.bound`. The work is asserted too: a person costs one shard, a deletion no more than the
bound."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.operations.cost import cost
from lmeraser_ray.operations.predict import predict
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from tests.support.law import (
    expect_equal,
    never_seen,
    remaining,
    shards_by_id,
    trained_and_unlearned,
)
from tests.support.systems import public
from tests.support.world import Recorder, World, picture

RIDGE = {"kind": "ridge"}
ALL, NEAREST = {"kind": "all"}, {"kind": "nearest", "shards": 2}
EXAMPLES = settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def sections(world: World, kind: str, **fields: object) -> dict[str, Any]:
    """Sections of a configuration with such a partition."""
    partition: dict[str, object] = {"kind": kind, "shards": 3, **fields}
    if kind != "random":
        partition |= {"sample_size": 6}
    if kind == "public":
        partition["path"] = str(public(world.folder / "public"))
    way = ALL if kind == "random" else NEAREST
    return {"partition": partition, "learner": RIDGE, "aggregation": way}


@EXAMPLES
@given(data=st.data())
def test_unlearning_equals_never_having_seen(data: st.DataObject) -> None:
    """For each kind, unit and bound, and any records; and what `Remaining` foretells is so."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), n=data.draw(st.integers(8, 24), "records"))
        gone = data.draw(st.lists(st.sampled_from(world.ids), min_size=1, unique=True), "U")
        chosen = sections(
            world,
            data.draw(st.sampled_from(["random", "adaptive", "public"]), "kind"),
            unit=data.draw(st.sampled_from(["record", "subject"]), "unit"),
            bound=data.draw(st.sampled_from([None, 1, 3, 6]), "bound"),
        )
        chosen["learner"] = {**RIDGE, "slices": data.draw(st.sampled_from([1, 2]), "slices")}
        before = remaining(trained_and_unlearned(world, [], **chosen))
        truth = never_seen(world, gone, **chosen)
        expect_equal(trained_and_unlearned(world, [ErasureTargets(tuple(gone))], **chosen), truth)
        foretold = before.without(before.index.held("record_id", gone))
        names = before.index.names("record_id")
        assert shards_by_id(truth) == {
            name: shard
            for name, shard in zip(names, foretold.tolist(), strict=True)
            if name not in gone
        }


def test_order_does_not_matter(world: World) -> None:
    chosen = sections(world, "adaptive", unit="subject", bound=4)
    requests = [ErasureTargets((world.ids[1],)), ErasureTargets(subjects=("person-7",))]
    truth = never_seen(world, [world.ids[1], world.ids[14], world.ids[15]], **chosen)
    for order in (requests, requests[::-1]):
        expect_equal(trained_and_unlearned(world, order, **chosen), truth)


@pytest.mark.parametrize("slices", [1, 3])
def test_a_person_costs_one_shard(world: World, slices: int) -> None:
    """And one slice: all of a person's training records are there."""
    recorder = Recorder()
    session = recorder.session(world.space())
    chosen = sections(world, "random", shards=5, unit=None)
    train(session, world.config(**chosen | {"learner": {**RIDGE, "slices": slices}}))
    assert session.config().partition.unit == "subject", "the records have subjects"
    for person in ("person-2", "person-9", "person-11"):
        recorder.work.clear()
        unlearn(session, ErasureTargets(subjects=(person,)))
        assert len(recorder.trained) <= 1
    found = shards_by_id(session.folder.root)
    for one, other in zip(world.ids[::2], world.ids[1::2], strict=True):
        if one in found and other in found and min(found[one], found[other]) >= 0:
            assert found[one] == found[other]


def test_without_subjects_the_unit_is_the_record(world: World) -> None:
    """And the configuration's identity is that of a workspace without the field."""
    session = Session(world.space())
    chosen = sections(world, "random", unit=None) | {"data": {"subject_column": None}}
    train(session, world.config(**chosen))
    assert session.config().partition.unit == "record"
    assert "unit" not in session.folder.require_published().identity["partition"]


def test_clusters_keep_the_record_though_there_are_subjects(world: World) -> None:
    session = Session(world.space())
    train(session, world.config(**sections(world, "adaptive", unit=None)))
    assert session.config().partition.unit == "record"


def test_a_bound_alone_begins_with_one_cell(world: World) -> None:
    """So that how many shards there are follows the records, and nothing was chosen by them."""
    session = Session(world.space())
    train(session, world.config(**sections(world, "random", shards=None, bound=5)))
    assert session.config().partition.shards == 1
    sizes = [shard.size for shard in session.folder.require_published().shards]
    assert max(sizes) <= 5
    assert sum(sizes) / 5 <= len(sizes) <= sum(sizes)


@pytest.mark.parametrize("kind", ["random", "adaptive"])
def test_no_deletion_trains_more_than_the_bound(world: World, kind: str) -> None:
    """A deletion without a re-clustering trains its leaf, or the two that fit together again; all
    other leaves keep their numbers and constituents."""
    bound, recorder = 5, Recorder()
    session = recorder.session(world.space())
    chosen = sections(world, kind, shards=1, bound=bound)
    train(session, world.config(**chosen))
    for name in world.ids[::8]:
        before = {s.number: s for s in session.folder.require_published().shards}
        assert max(shard.size for shard in before.values()) <= bound
        recorder.work.clear()
        done = unlearn(session, ErasureTargets((name,)))
        after = {s.number: s for s in session.folder.require_published().shards}
        if done.reclustered:
            continue
        new = [number for number in after if before.get(number) != after[number]]
        assert len(new) == len(recorder.trained) <= 1
        assert all(after[number].size <= bound for number in new)
        assert sum(number not in after for number in before) in (0, 1, 2)


@pytest.mark.parametrize(
    ("kind", "unit", "bound"),
    [("random", "subject", 4), ("adaptive", "subject", None), ("adaptive", "record", 5)],
)
def test_what_cost_says_is_what_a_deletion_trains(
    world: World, kind: str, unit: str, bound: int | None
) -> None:
    session = Session(world.space())
    chosen = sections(world, kind, unit=unit, bound=bound)
    train(session, world.config(**chosen))
    found = cost(session)
    said = dict(zip(found.names, found.costs.members.tolist(), strict=True))
    known = {shard.constituent for shard in session.folder.require_published().shards}
    for name in list(said)[::12]:
        shards = WorkspaceFolder(never_seen(world, [name], **chosen)).require_published().shards
        assert said[name] == sum(shard.size for shard in shards if shard.constituent not in known)


def test_leaves_of_one_cell_answer_as_one(world: World) -> None:
    """Each query is answered by all leaves of its nearest cells, and their weights sum to 1."""
    session = Session(world.space())
    train(session, world.config(**sections(world, "adaptive", bound=4)))
    shards = session.folder.require_published().shards
    routes = predict(session, [picture(n) for n in range(7)]).predictions.routes
    np.testing.assert_allclose(routes.weights.sum(1), 1)
    for row, weights in zip(routes.shards, routes.weights, strict=True):
        asked = {shards[at].number % 3 for at, weight in zip(row, weights, strict=True) if weight}
        whole = {at for at, shard in enumerate(shards) if shard.number % 3 in asked}
        assert {at for at, weight in zip(row, weights, strict=True) if weight} == whole
    assert verify(session, rebuild=True).ok
