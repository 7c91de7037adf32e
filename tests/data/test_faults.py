"""All that cannot be used is said at once, and what is at fault by itself may be left out."""

from pathlib import Path

import pytest

from lmeraser_ray.config import DataConfig
from lmeraser_ray.data.sources.faults import LISTED, Faults
from lmeraser_ray.data.sources.read_source import read_source
from lmeraser_ray.errors import DataError, PictureError
from tests.support.sources import folder, picture, read, table


def refused(config: DataConfig) -> list[str]:
    with pytest.raises(DataError) as caught:
        read(config)
    return str(caught.value).splitlines()


def damaged(root: Path, *names: str) -> DataConfig:
    config = folder(root, " ".join(f"{kind}/{n}.png" for kind in ("cat", "dog") for n in range(5)))
    for name in names:
        (root / name).write_bytes(b"broken")
    return config


def test_one_report_names_all(tmp_path: Path) -> None:
    config = damaged(tmp_path, "cat/1.png", "cat/3.png", "dog/4.png")
    (tmp_path / "stray.txt").write_text("x")
    head, *lines = refused(config)
    assert head == (
        "4 files or rows of the source cannot be used. Correct them, or leave the 3 that are so "
        "by themselves out by --data.on_error skip:"
    )
    assert [line.split(":")[0].strip() for line in lines] == [
        f"{tmp_path}/{name}" for name in ("cat/1.png", "cat/3.png", "dog/4.png", "stray.txt")
    ]


def test_one_alone_is_said_as_before(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"cat/1\.png: it begins with"):
        read(damaged(tmp_path, "cat/1.png"))


def test_many_are_listed_up_to_a_limit(tmp_path: Path) -> None:
    config = table(tmp_path / "a.parquet", rows=LISTED + 20, image=[b"x"] * (LISTED + 20))
    head, *lines = refused(config)
    assert head.startswith(f"{LISTED + 20} files or rows") and len(lines) == LISTED + 1
    assert lines[-1] == "  … and 20 more (`lmeraser inspect` lists all)"


def test_skip_leaves_out_what_is_at_fault_by_itself(tmp_path: Path) -> None:
    config = damaged(tmp_path, "cat/1.png", "dog/4.png").model_copy(update={"on_error": "skip"})
    faults = Faults()
    found = list(read_source(config, seed=0, skip=lambda _: False, faults=faults))
    assert len(found) == 8 and faults.number == faults.alone == 2
    assert f"{tmp_path}/dog/4.png" in str(faults.kept[1].error)
    whole = read(damaged(tmp_path, *[]))
    names = {"cat/1.png", "dog/4.png"}
    assert found == [r for r in whole if r.record_id not in names], "no other record is changed"


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("image", [picture(0), None, picture(2), picture(3)]),
        ("image", [picture(0), b"", picture(2), picture(3)]),
        ("label", [0, None, 0, 1]),
        ("record_id", ["a", "b\nc", "c", "d"]),
        ("record_id", ["a", None, "c", "d"]),
    ],
)
def test_rows_that_are_at_fault_by_themselves(
    tmp_path: Path, column: str, values: list[object]
) -> None:
    config = table(tmp_path / "a.parquet", **{column: values})
    assert "row 1: the" in refused(config)[0]
    assert len(read(config.model_copy(update={"on_error": "skip"}))) == 3


def test_what_depends_on_others_is_refused_all_the_same(tmp_path: Path) -> None:
    skip = {"on_error": "skip"}
    twice = table(tmp_path / "a.parquet", record_id=["a", "b", "a", "d"]).model_copy(update=skip)
    assert "'a' is there twice" in refused(twice)[0]
    stray = damaged(tmp_path / "f", "cat/1.png").model_copy(update=skip)
    (tmp_path / "f/stray.txt").write_text("x")
    assert refused(stray) == [
        f"{tmp_path}/f/stray.txt: the file lies beside the class folders, expected "
        "PATH/class/file: move it."
    ]


def test_a_file_that_is_cut_off_does_not_hide_the_next(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.parquet").write_bytes(b"PAR1 nothing")
    lines = refused(DataConfig(source="parquet", path=tmp_path))
    assert [name in "".join(lines) for name in ("a.parquet", "b.parquet")] == [True, True]
