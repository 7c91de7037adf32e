"""The law for records in memory: they train what a Parquet file of them trains, and forgetting some
is a training on the rest, whatever holds these."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmeraser_ray import Workspace
from lmeraser_ray.data.sources.held_pictures import encoded
from tests.support.law import expect_equal, held, index_of
from tests.support.world import World

N = 40
PIXELS = np.random.default_rng(3).integers(0, 256, (N, 12, 12, 3), np.uint8)


def frame(*, ids: bool) -> pd.DataFrame:
    columns: dict[str, object] = {
        "image": list(PIXELS),
        "label": [f"class-{n % 3}" for n in range(N)],
        "person": [f"person-{n // 2}" for n in range(N)],
    }
    return pd.DataFrame(columns | ({"record_id": [f"r{n}" for n in range(N)]} if ids else {}))


def written(records: pd.DataFrame, path: Path) -> dict[str, object]:
    """The fields of a Parquet file of the records."""
    table = pa.table({**records.to_dict("list"), "image": [encoded(one) for one in records.image]})
    pq.write_table(table, path)
    return {"source": "parquet", "path": str(path), "subject_column": "person"}


def trained(world: World, data: object) -> Path:
    root = world.space()
    base: dict[str, Any] = world.config().model_dump(mode="json", exclude_unset=True)
    base["data"] = {"buckets": 4, "test_fraction": 0.2}
    Workspace(root).train(base, data=data)
    return root


@pytest.mark.parametrize("ids", [True, False], ids=["ids", "content"])
def test_memory_is_under_the_law(tmp_path: Path, ids: bool) -> None:
    world, everyone = World(tmp_path / "world", n=4), frame(ids=ids)
    person = {"subject_column": "person"}
    root = trained(world, {"records": everyone, **person})
    expect_equal(root, trained(world, written(everyone, tmp_path / "all.parquet")))
    index, sampled = index_of(root)
    people = dict(index.people())
    gone = people[next(name for name in people if name in sampled)]
    done = Workspace(root).unlearn(subjects=[gone])
    assert (done.removed, done.request.state) == (2, "CERTIFIED")
    rest = everyone[everyone.person != gone]
    expect_equal(root, trained(world, {"records": rest, **person}))
    expect_equal(root, trained(world, {"records": rest.to_dict("list"), **person}))
    expect_equal(root, trained(world, written(rest, tmp_path / "rest.parquet")))
    assert Workspace(root).verify(rebuild=True).ok


def test_the_same_memory_again_changes_no_byte(tmp_path: Path) -> None:
    """Nor does another order of its rows, and who was erased stays erased."""
    world, everyone = World(tmp_path / "world", n=4), frame(ids=True)
    data: dict[str, object] = {"records": everyone, "subject_column": "person"}
    root = trained(world, data)
    before, config = held(root), (root / "configuration.json").read_bytes()
    for again in (everyone, everyone.iloc[::-1]):
        Workspace(root).train(
            root_config(root), data={"records": again, "subject_column": "person"}
        )
        assert (held(root), (root / "configuration.json").read_bytes()) == (before, config)
    Workspace(root).unlearn(records=["r7"])
    after = held(root)
    assert after != before
    again_trained = Workspace(root).train(root_config(root), data=data)
    assert again_trained.ingested.left_out == 1
    assert held(root) == after


def root_config(root: Path) -> Any:
    """The configuration of a workspace, its records left out."""
    tree = Workspace(root).session.config().model_dump(mode="json")
    del tree["data"]["source"], tree["data"]["path"], tree["data"]["test_path"]
    return tree
