"""`inspect`: a dry run over a source, without a backbone and without a workspace."""

import csv
import sys
from pathlib import Path

import pytest
from PIL import Image

from lmeraser_ray.config.options import load_config
from tests.support.command_line import Lm, Place
from tests.support.sources import folder, table


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    folder(root, " ".join(f"{kind}/{n}.png" for kind in ("cat", "dog") for n in range(6)))
    (root / "cat/3.png").write_bytes(b"broken")
    (root / "dog/4.png").write_bytes(b"%PDF-1.4")
    (root / "dog/1.png").write_bytes((root / "cat/0.png").read_bytes())
    (root / "bird").mkdir()
    return root


def test_everything_is_said_at_once(lm: Lm, source: Path, tmp_path: Path) -> None:
    done = lm("inspect", source, "--json")
    assert done.code == 0
    data = done.json
    assert (data["source"], data["records"], data["people"]) == ("folder", 10, 10)
    assert data["training_records"] + data["test_records"] == 10
    assert {name: sum(sides.values()) for name, sides in data["classes"].items()} == {
        "cat": 5,
        "dog": 5,
    }
    assert data["empty_classes"] == ["bird"]
    assert data["sizes"] == [{"width": 6, "height": 5, "pictures": 10}]
    assert [line.split(":")[0] for line in data["refused"]] == [
        f"{source}/cat/3.png",
        f"{source}/dog/4.png",
    ]
    assert data["equal_examples"] == [["cat/0.png", "dog/1.png"]]
    assert (data["would_train"], data["left_out_by_skip"]) == (False, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures"], "nothing is written"


def test_for_people(lm: Lm, source: Path) -> None:
    text = lm("inspect", source).out
    assert "10 records of 10 subjects in 2 classes can be used (data.source folder)" in text
    assert "classes without a training record: bird" in text
    assert "a training refuses 2 of the files or rows (2 can be left out by" in text
    assert f"{source}/dog/4.png: it is a PDF document" in text
    skip = lm("inspect", source, "--data.on_error", "skip").out
    assert "a training leaves out, by data.on_error skip, 2 of" in skip


def test_no_model_is_loaded(lm: Lm, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "lmeraser_ray.models.backbone.load_backbone", lambda *_, **__: sys.exit("loaded")
    )
    assert lm("inspect", source).code == 0


def test_files_on_demand(lm: Lm, source: Path, tmp_path: Path) -> None:
    sheet, config, ids = (tmp_path / name for name in ("s.png", "c.yaml", "ids.csv"))
    done = lm(
        "inspect", source, "--sheet", sheet, "--config", config, "--ids", ids,
        "--data.on_error", "skip",
    )  # fmt: skip
    assert done.code == 0, done.err
    with Image.open(sheet) as found:
        assert found.format == "PNG" and found.size == (160 + 8 * 96, 2 * 96)
    loaded = load_config(config, []).data
    assert (loaded.source, loaded.path, loaded.on_error) == ("folder", source.absolute(), "skip")
    rows = list(csv.DictReader(ids.open()))
    assert len(rows) == 10 and rows[0]["record_id"] == "cat/0.png"


def test_a_parquet_file_is_known_by_looking(lm: Lm, tmp_path: Path) -> None:
    table(tmp_path / "a.parquet", who=["ann", "bo", "ann", "cy"])
    data = lm("inspect", tmp_path, "--data.subject_column", "who", "--json").json
    assert (data["source"], data["records"], data["people"]) == ("parquet", 4, 3)


def test_nothing_there(lm: Lm, tmp_path: Path) -> None:
    done = lm("inspect", tmp_path / "nowhere")
    assert done.code == 3 and "does not exist" in done.err


def test_a_training_says_what_it_left_out(
    lm: Lm, made: Place, source: Path, tmp_path: Path
) -> None:
    words = [
        *("--config", made.config, "--workspace", tmp_path / "w", "--data.source", "folder"),
        *("--data.path", source, "--data.subject_column", "null"),
    ]
    refused = lm("train", *words)
    assert refused.code == 3
    assert all(f"{source}/{name}" in refused.err for name in ("cat/3.png", "dog/4.png"))
    done = lm("train", *words, "--data.on_error", "skip", "--json")
    assert done.code == 0, done.err
    assert (done.json["records"], done.json["unusable"]) == (10, 2)
    assert "2 records left out, because they cannot be used" in done.err
    assert f"{source}/dog/4.png: it is a PDF document" in done.err
