"""The law where little is left: one class, no record of a class, one record, none; from a source
that really lost them, for every partition, learner and aggregation."""

import itertools
from typing import Any

import pyarrow.parquet as pq
import pytest

from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import DataError
from lmeraser_ray.operations.predict import predict
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.session import Session
from tests.support.law import expect_equal
from tests.support.systems import AGGREGATIONS, LEARNERS, PARTITIONS, system
from tests.support.world import World, picture

SYSTEMS = [
    (partition, learner, way)
    for partition, learner, way in itertools.product(
        (*PARTITIONS, "public"), LEARNERS, AGGREGATIONS
    )
    if way != "nearest" or partition not in ("random", "one")
]
FEW = [
    ("adaptive", "padding", "nearest"),
    ("random", "ridge", "mean"),
    ("one", "whole_model", "vote"),
    ("public", "label_mapping", "nearest"),
    ("average", "shared_head", "hash"),
]
"""Systems in which each partition, each way to answer and most kinds of learner are used."""
LEFT = ["one class", "one record"]


def kept(world: World, left: str) -> list[str]:
    """The records that stay."""
    one = [name for name, label in zip(world.ids, world.labels, strict=True) if label == "class-1"]
    return {"one class": one, "one record": one[:1], "nothing": []}[left]


def lose(world: World, names: list[str]) -> None:
    """Take records out of the source, as the law obliges."""
    table = pq.read_table(world.path)
    keep = [name not in names for name in table["record_id"].to_pylist()]
    pq.write_table(table.filter(keep), world.path)


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize(
    ("partition", "learner", "way"),
    [*FEW, *(pytest.param(*case, marks=pytest.mark.slow) for case in SYSTEMS if case not in FEW)],
)
def test_what_is_left_can_be_trained(
    tmp_path_factory: pytest.TempPathFactory, partition: str, learner: str, way: str, left: str
) -> None:
    """`train` accepts of a source what `unlearn` made of a workspace, with the same bytes; and a
    second training of the workspace changes nothing."""
    world = World(tmp_path_factory.mktemp("left"), n=12)
    case: tuple[Any, ...] = (partition, learner, way, 1)
    root = world.space()
    train(Session(root), system(world, *case, test_fraction=0))
    gone = sorted({*world.ids} - {*kept(world, left)})
    unlearn(Session(root), ErasureTargets(tuple(gone)))
    lose(world, gone)
    fresh = world.space()
    done = train(Session(fresh), system(world, *case, test_fraction=0))
    assert done.classes == ("class-1",)
    expect_equal(root, fresh)
    again = train(Session(root), system(world, *case, test_fraction=0))
    assert again.evaluated.trained == ()
    expect_equal(root, fresh)
    assert verify(Session(root)).ok
    assert predict(Session(fresh), [picture(7)]).predictions.labels == ["class-1"]


def test_a_class_that_lost_all_its_records(world: World) -> None:
    case = ("adaptive", "padding", "nearest", 1)
    root = world.space()
    train(Session(root), system(world, *case))
    gone = [n for n, label in zip(world.ids, world.labels, strict=True) if label == "class-0"]
    unlearn(Session(root), ErasureTargets(tuple(gone)))
    lose(world, gone)
    fresh = world.space()
    train(Session(fresh), system(world, *case))
    expect_equal(root, fresh)


def test_where_all_were_erased_an_empty_source_is_accepted(world: World) -> None:
    """By the workspace that erased them; a new one takes it for a wrong path."""
    root = world.space()
    train(Session(root), world.config())
    unlearn(Session(root), ErasureTargets(tuple(world.ids)))
    lose(world, world.ids)
    done = train(Session(root), world.config())
    assert (done.manifest.records, done.classes) == (0, ())
    with pytest.raises(DataError, match="no records at all"):
        train(Session(world.space()), world.config())
