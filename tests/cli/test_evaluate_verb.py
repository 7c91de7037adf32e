"""`lmeraser evaluate`: the summary first, tables behind `--by`, files with `--output`."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.command_line import Lm, Place

MEASURES = ["accuracy", "balanced accuracy", "macro F1", "log loss", "calibration error"]


def test_the_summary_comes_first_and_alone(lm: Lm, made: Place) -> None:
    said = lm("evaluate", "--workspace", made.root)
    assert said.code == 0
    first, *rest = said.out.splitlines()
    assert first.startswith("test accuracy ") and "that remain" in first
    assert [
        name for name in MEASURES if not any(line.strip().startswith(name) for line in rest)
    ] == []
    assert "95% interval" in said.out and "confused most: " in said.out
    assert "shard" not in said.out and max(map(len, said.out.splitlines())) <= 100


@pytest.mark.parametrize(
    ("what", "head"),
    [("shard", "test queries"), ("class", "precision"), ("confusion", "true \\ predicted")],
)
def test_a_table_by(lm: Lm, made: Place, what: str, head: str) -> None:
    assert head in lm("evaluate", "--workspace", made.root, "--by", what).out


def test_json_has_all_of_it(lm: Lm, made: Place) -> None:
    data = lm("evaluate", "--workspace", made.root, "--json").json
    assert list(data["measures"]) == MEASURES
    assert data["measures"]["accuracy"]["value"] == data["accuracy"]["test"]
    assert data["confusion"]["classes"] == ["class-0", "class-1", "class-2"]
    counts = np.array(data["confusion"]["counts"])
    assert (
        counts.sum() == data["records"]["test"] == sum(one["count"] for one in data["calibration"])
    )
    assert np.trace(counts) / counts.sum() == pytest.approx(data["accuracy"]["test"])
    for one, row in zip(data["classes"], counts.tolist(), strict=True):
        assert one["records"] == sum(row)


def test_files(lm: Lm, made: Place, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = lm("evaluate", "--workspace", made.root, "--output", out, "--worst", "2")
    assert said.code == 0, said.err
    data = json.loads((out / "evaluation.json").read_text())
    wrong = data["records"]["test"] * (1 - data["accuracy"]["test"])
    assert wrong > 0.5, "without a mistake this test shows nothing"
    pictures = ["confusion", "reliability", "worst_errors"]
    tables = ["classes", "confusion", "shards", "worst_errors"]
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["evaluation.json"]
        + [f"{name}.csv" for name in tables]
        + [f"{name}.{form}" for name in pictures for form in ("png", "svg")]
    )
    for name in pictures:
        with Image.open(out / f"{name}.png") as picture:
            assert max(picture.size) < 2000
    errors = list(csv.DictReader((out / "worst_errors.csv").open()))
    assert 1 <= len(errors) <= 2 and {one["record"] for one in errors} <= set(made.world.ids)
    assert all(one["true class"] != one["predicted"] for one in errors)
    assert "private records" in said.err and str(out / "confusion.csv") in said.out


def test_within_the_workspace_is_refused(lm: Lm, made: Place) -> None:
    said = lm("evaluate", "--workspace", made.root, "--output", made.root / "out")
    assert said.code == 2 and "lies within the workspace" in said.err
