"""Public pictures: any folder or Parquet, in the order of stable names, as strict as for private
records."""

import io
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lmeraser_ray.data.sources import parquet
from lmeraser_ray.data.sources.public_pictures import public_pictures
from lmeraser_ray.errors import DataError

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(shade: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (6, 5), (shade % 256, 10, 200)).save(buffer, "PNG")
    return buffer.getvalue()


def folder(root: Path, names: str) -> Path:
    for number, name in enumerate(names.split()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(picture(number))
    return root


def table(path: Path, first: int = 0, rows: int = 3, **columns: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": [picture(first + n) for n in range(rows)], **columns}), path)
    return path


def read(path: Path) -> list[tuple[str, bytes]]:
    return [(found.name, found.read()) for found in public_pictures(path)]


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestFolder:
    def test_any_depth_in_the_order_of_names(self, tmp_path: Path) -> None:
        root = folder(tmp_path / "one", "b/x/y/1.png a/2.png 0.png a.png z/1.png")
        assert read(root) == [
            ("0.png", picture(2)),
            ("a.png", picture(3)),
            ("a/2.png", picture(1)),
            ("b/x/y/1.png", picture(0)),
            ("z/1.png", picture(4)),
        ]
        assert next(found.where for found in public_pictures(root)) == f"{root}/0.png"
        assert read(root) == read(
            folder(tmp_path / "other/place", "b/x/y/1.png a/2.png 0.png a.png z/1.png")
        )

    def test_hidden_files_are_left_out(self, tmp_path: Path) -> None:
        root = folder(tmp_path, "a/1.png .git/1.png a/.1.png a/Thumbs.db desktop.ini .x.parquet")
        assert [name for name, _ in read(root)] == ["a/1.png"]

    def test_links(self, tmp_path: Path) -> None:
        root = folder(tmp_path / "public", "a/1.png")
        (tmp_path / "outside.png").write_bytes(picture())
        link = root / "2.png"
        for target, words in (
            (tmp_path / "outside.png", "leaves"),
            (tmp_path / "gone", "broken"),
            (root / "a", "a link to a folder"),
        ):
            link.symlink_to(target)
            assert refusal(root).startswith(f"{link}: a")
            assert words in refusal(root)
            link.unlink()
        link.symlink_to(root / "a/1.png")
        assert [name for name, _ in read(root)] == ["2.png", "a/1.png"]

    def test_names(self, tmp_path: Path) -> None:
        assert "e\u0301" not in read(folder(tmp_path / "nfc", "e\u0301.png"))[0][0]
        assert "is there twice" in refusal(folder(tmp_path / "twice", "e\u0301.png \u00e9.png"))
        (tmp_path / "control").mkdir()
        (tmp_path / "control/a\nb.png").write_bytes(picture())
        assert "control character" in refusal(tmp_path / "control")

    def test_neither_file_nor_folder(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        assert "pipe: neither a file nor a folder" in refusal(tmp_path)

    def test_nothing(self, tmp_path: Path) -> None:
        assert refusal(tmp_path / "nowhere") == (
            f"{tmp_path}/nowhere: does not exist, expected a folder of pictures or Parquet: "
            "correct partition.path."
        )
        (tmp_path / "a/b").mkdir(parents=True)
        assert (
            refusal(tmp_path)
            == f"{tmp_path}: no pictures at all: correct partition.path, or fill it."
        )

    def test_a_file_that_went_away(self, tmp_path: Path) -> None:
        [found] = public_pictures(folder(tmp_path, "a.png"))
        (tmp_path / "a.png").unlink()
        with pytest.raises(DataError, match=r"a\.png: the file cannot be read"):
            found.read()


class TestParquet:
    def test_a_file(self, tmp_path: Path) -> None:
        path = table(tmp_path / "a.parquet", label=["x", "y", "x"], record_id=["c", "b", "a"])
        assert read(path) == [(f"a.parquet:{n:09d}", picture(n)) for n in range(3)]
        assert [found.where for found in public_pictures(path)][1] == f"{path}, row 1"

    def test_a_folder_of_files_in_the_order_of_names(self, tmp_path: Path) -> None:
        for place, name in enumerate(
            ("b.parquet", "a.parquet", "a.parquet.parquet", ".hidden.parquet")
        ):
            table(tmp_path / name, 100 * place, 150)
        (tmp_path / "README.md").write_text("not data")
        found = read(tmp_path)
        names = [name for name, _ in found]
        assert names == sorted(names)
        assert len(set(names)) == 450
        assert dict(found)["a.parquet:000000149"] == picture(249)
        assert dict(found)["b.parquet:000000100"] == picture(100)

    def test_structs(self, tmp_path: Path) -> None:
        path = table(
            tmp_path / "a.parquet", image=[{"bytes": picture(n), "path": None} for n in range(3)]
        )
        assert [image for _, image in read(path)] == [picture(n) for n in range(3)]

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ([picture(), None, picture()], ", row 1: the picture in column 'image' is null"),
            (
                pa.array([{"path": "/x.png"}] * 3, STRUCT),
                ", row 0: the picture in column 'image' is only a path, '/x.png', not followed",
            ),
            (["a.png"] * 3, ": the column 'image' holds string, expected binary"),
        ],
    )
    def test_bad_values(self, values: object, words: str, tmp_path: Path) -> None:
        path = table(tmp_path / "a.parquet", image=values)
        assert refusal(path).startswith(f"{path}{words}")

    def test_no_column(self, tmp_path: Path) -> None:
        pq.write_table(pa.table({"images": [picture()]}), tmp_path / "a.parquet")
        message = refusal(tmp_path)
        assert (
            "a.parquet: no column 'image' among images; the nearest name is 'images': rename the "
            "column" in message
        )
        assert "data." not in message

    def test_no_rows_and_no_parquet(self, tmp_path: Path) -> None:
        assert "no pictures at all" in refusal(
            table(tmp_path / "a.parquet", image=pa.array([], pa.binary()))
        )
        (tmp_path / "b.png").write_bytes(picture())
        assert "b.png: the file is no readable Parquet file" in refusal(tmp_path / "b.png")

    def test_rows_are_streamed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An error in the third file comes after all pictures of the first two."""
        monkeypatch.setattr(parquet, "BATCH", 2)
        for name in "abc":
            table(tmp_path / f"{name}.parquet")
        (tmp_path / "c.parquet").write_bytes(b"PAR1")
        stream = public_pictures(tmp_path)
        assert [next(stream).name for _ in range(6)][-1] == "b.parquet:000000002"
        with pytest.raises(DataError, match=r"c\.parquet: the file is no readable Parquet file"):
            next(stream)
