"""The law for each way in which records may lie: what a person can name is erased, and the state is
that of a training that never saw it; the source without it says the same."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmeraser_ray.config import DataConfig
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.session import Session
from tests.support.law import expect_equal, index_of, never_seen, trained_and_unlearned
from tests.support.sources import read
from tests.support.world import World
from tests.support.world import picture as drawn

Remove = Callable[[str], None]


def hub_file(path: Path, numbers: range, *, paths: bool) -> None:
    rows = {
        "image": [
            {"bytes": drawn(n, n % 3), "path": f"{n}.png" if paths else None} for n in numbers
        ],
        "label": [n % 3 for n in numbers],
    }
    names = {"label": {"names": ["a", "b", "c"], "_type": "ClassLabel"}}
    about = {"huggingface": json.dumps({"info": {"features": names}})}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(rows).replace_schema_metadata(about), path)


def hub(root: Path, *, paths: bool) -> tuple[dict[str, object], Remove]:
    """Splits in names, class names in metadata, no ids."""
    hub_file(root / "data/train-00000-of-00001.parquet", range(24), paths=paths)
    hub_file(root / "data/test-00000-of-00001.parquet", range(30, 36), paths=paths)

    def remove(record_id: str) -> None:
        file = root / "data/train-00000-of-00001.parquet"
        found = pq.read_table(file)
        at = ids_of(file).index(record_id)
        keep = found.take([n for n in range(found.num_rows) if n != at])
        pq.write_table(keep.replace_schema_metadata(found.schema.metadata), file)

    return {"source": "parquet", "path": str(root), "subject_column": None}, remove


def ids_of(file: Path) -> list[str]:
    records = read(DataConfig(source="parquet", path=file, test_fraction=0.0))
    return [record.record_id for record in records]


def image_folder(root: Path) -> tuple[dict[str, object], Remove]:
    """Splits as folders, labels in metadata, one picture that cannot be read and is left out."""
    lines = []
    for n in range(30):
        split = "train" if n < 24 else "test"
        (root / split).mkdir(parents=True, exist_ok=True)
        (root / split / f"{n}.png").write_bytes(drawn(n, n % 3))
        lines.append(f"{split}/{n}.png,class-{n % 3}\n")
    (root / "train/broken.png").write_bytes(b"broken")
    lines.append("train/broken.png,class-0\n")
    (root / "metadata.csv").write_text("file_name,label\n" + "".join(lines))

    def remove(record_id: str) -> None:
        (root / "train" / record_id).unlink()
        kept = [line for line in lines if not line.startswith(f"train/{record_id},")]
        (root / "metadata.csv").write_text("file_name,label\n" + "".join(kept))

    data = {"source": "folder", "path": str(root), "subject_column": None, "on_error": "skip"}
    return {**data, "fit": "pad"}, remove


@pytest.mark.parametrize("kind", ["hub with paths", "hub without ids", "image folder"])
def test_what_lies_in_another_way_is_under_the_law(tmp_path: Path, kind: str) -> None:
    world = World(tmp_path / "world", n=4)
    root = tmp_path / "source"
    data, remove = image_folder(root) if "image" in kind else hub(root, paths="with p" in kind)
    first = world.space()
    train(Session(first), world.config(data=data))
    index, sampled = index_of(first)
    assert len(index.test) == 30 and int(index.test.sum()) == 6
    chosen = next(name for name in index.names("record_id", index.training) if name in sampled)
    forgotten = trained_and_unlearned(world, [ErasureTargets((chosen,), ())], data=data)
    expect_equal(forgotten, never_seen(world, [chosen], data=data))
    remove(chosen)
    without = world.space()
    train(Session(without), world.config(data=data))
    expect_equal(forgotten, without)
    train(Session(forgotten), world.config(data=data))
    expect_equal(forgotten, without)
