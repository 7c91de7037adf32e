"""What needs no backbone is checked first, and a command that failed before its first record leaves
nothing behind."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmeraser_ray.config import Config
from lmeraser_ray.errors import DataError, LmeraserError
from lmeraser_ray.operations import preflight
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.workspace import Workspace
from lmeraser_ray.pipeline.session import Session
from tests.support.world import World

MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no folder": ({"data": {"source": "folder", "path": "nowhere"}}, "does not exist"),
    "no Parquet": ({"data": {"path": "nowhere.parquet"}}, "does not exist"),
    "no column": ({"data": {"label_column": "labl"}}, "no column 'labl'"),
    "no subject column": ({"data": {"subject_column": "who"}}, "no column 'who'"),
    "no subjects": (
        {"data": {"subject_column": None, "subjects_file": "nowhere.csv"}},
        "subjects cannot be read",
    ),
    "no expression": (
        {"data": {"subject_column": None, "subject_pattern": "("}},
        "not a regular expression",
    ),
    "no list": ({"data": {"exclude": "nowhere.txt"}}, "data.exclude"),
    "no test records": ({"data": {"test_path": "nowhere"}}, "does not exist"),
    "no public pictures": ({"partition": {"kind": "public", "path": "nowhere"}}, "partition.path"),
}


def refused(world: World, case: str) -> tuple[Config, str]:
    sections, says = MISTAKES[case]
    return world.config(**sections), says


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_told_before_the_backbone_is_loaded(
    world: World, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And makes no folder."""
    config, says = refused(world, case)
    loaded: list[object] = []
    monkeypatch.setattr("lmeraser_ray.operations.train.load_inputs", loaded.append)
    with pytest.raises(LmeraserError, match=says):
        Workspace(world.folder / "w").train(config)
    assert not loaded
    assert not (world.folder / "w").exists()


@pytest.mark.parametrize("case", ["no folder", "no column", "no subjects", "no public pictures"])
def test_a_training_that_fails_before_its_first_record_leaves_nothing(
    world: World, case: str
) -> None:
    """Also where the mistake shows only when the records are read; an empty folder stays empty, and
    another try begins as the first one did."""
    config, says = refused(world, case)
    empty = world.folder / "empty"
    empty.mkdir()
    for root in (world.folder / "w", empty):
        with pytest.raises(LmeraserError, match=f"{says}|no picture|cannot be"):
            train(Session(root), config)
    if case != "no public pictures":  # its records were read
        assert not (world.folder / "w").exists()
        assert list(empty.iterdir()) == []
    assert train(Session(empty), world.config()).manifest.records == len(world.ids)


def test_a_bad_picture_leaves_nothing_either(tmp_path: Path) -> None:
    world = World(tmp_path / "world", n=6)
    columns = {
        "record_id": world.ids,
        "subject_id": world.subjects,
        "label": world.labels,
        "image": [*world.images[:-1], b"no picture"],
    }
    pq.write_table(pa.table(columns), world.path)
    with pytest.raises(DataError, match="row 5"):
        train(Session(tmp_path / "w"), world.config())
    assert not (tmp_path / "w").exists()


def test_what_is_somebodys_stays(world: World) -> None:
    """A workspace that was trained, and a folder with something else in it."""
    root = world.space()
    train(Session(root), world.config())
    before = sorted(root.rglob("*"))
    config, _ = refused(world, "no column")
    with pytest.raises(DataError):
        train(Session(root), config)
    assert [path for path in before if not path.exists()] == []
    other = world.folder / "other"
    other.mkdir()
    (other / "letter.txt").write_text("mine")
    with pytest.raises(LmeraserError, match=r"letter\.txt"):
        Workspace(other).train(world.config())
    assert (other / "letter.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write anywhere, so it is asked for."""
    monkeypatch.setattr(preflight.os, "access", lambda *_: False)
    with pytest.raises(LmeraserError, match="cannot be written"):
        Workspace(world.folder / "deep" / "w").train(world.config())
    assert not (world.folder / "deep").exists()


class TestSubjects:
    """Records that `data.subjects_file` or `data.subject_pattern` knows no subject of."""

    @pytest.fixture
    def pictures(self, world: World, tmp_path: Path) -> Path:
        """The first four records of each class in a folder."""
        for number, (image, label) in enumerate(zip(world.images, world.labels, strict=True)):
            path = tmp_path / "pictures" / label / f"{number // 3}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image)
        return tmp_path / "pictures"

    def config(self, world: World, pictures: Path, **data: object) -> Config:
        found = {"source": "folder", "path": str(pictures), "subject_column": None, **data}
        return world.config(data=found)

    @pytest.mark.parametrize("rule", ["subjects_file", "subject_pattern"])
    def test_all_that_are_missing_are_named_at_once(
        self, world: World, pictures: Path, rule: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Before the backbone is loaded; and how the ids of test records are written."""
        monkeypatch.setattr("lmeraser_ray.operations.train.load_inputs", None)
        listed = world.folder / "subjects.csv"
        listed.write_text("record_id,subject_id\nclass-1/0.png,someone\n")
        value = str(listed) if rule == "subjects_file" else r"class-1/(\d+)"
        with pytest.raises(DataError) as caught:
            Workspace(world.folder / "w").train(self.config(world, pictures, **{rule: value}))
        said = str(caught.value)
        assert "'class-0/0.png'" in said
        assert "'class-2/5.png'" in said
        assert "'class-1/0.png'" not in said
        assert ("has the name of its split before its id, as `test/`" in said) == (
            rule == "subjects_file"
        )
        assert not (world.folder / "w").exists()

    def test_who_was_erased_or_excluded_needs_none(self, world: World) -> None:
        """A person who was erased may have left the file of subjects as well."""
        listed = world.folder / "subjects.csv"

        def write(ids: list[str]) -> None:
            listed.write_text(
                "record_id,subject_id\n" + "".join(f"{name},{name}\n" for name in ids)
            )

        write(world.ids)
        config = world.config(data={"subject_column": None, "subjects_file": str(listed)})
        space = Workspace(world.space())
        space.train(config)
        space.unlearn(records=[world.ids[0]])
        write(world.ids[1:])
        assert space.train(config).ingested.left_out == 1
        fresh = world.without(
            [world.ids[0]], data={"subject_column": None, "subjects_file": listed}
        )
        assert Workspace(world.space()).train(fresh).manifest.records == len(world.ids) - 1
