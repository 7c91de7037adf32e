"""`lmeraser predict`: what it takes, what it writes, and that it goes on."""

import csv
import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.command_line import Lm, Place
from tests.support.world import picture

CLASSES = ["class-0", "class-1", "class-2"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures at two depths, a hidden file, a broken one and a table."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "deeper").mkdir()
    for at, name in enumerate(("a.png", "b.png", "deeper/[c] d.png")):
        (folder / name).write_bytes(picture(at, at))
    (folder / ".hidden").write_bytes(b"no picture")
    return folder


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


class TestWhatItTakes:
    @pytest.mark.parametrize(
        ("words", "found"),
        [
            ((".",), ["a.png", "b.png", "deeper/[c] d.png"]),
            (("*.png",), ["a.png", "b.png"]),
            (("**/*.png",), ["a.png", "b.png", "deeper/[c] d.png"]),
            (("**",), ["a.png", "b.png", "deeper/[c] d.png"]),
            (("deeper", "a.png"), ["deeper/[c] d.png", "a.png"]),
            (("deeper/[c] d.png",), ["deeper/[c] d.png"]),
        ],
    )
    def test_files_folders_and_patterns(
        self, lm: Lm, made: Place, pictures: Path, words: tuple[str, ...], found: list[str]
    ) -> None:
        paths = [pictures / word for word in words]
        said = lm("predict", "--workspace", made.root, *paths, "--format", "jsonl")
        assert said.code == 0, said.err
        images = [Path(json.loads(line)["image"]) for line in said.out.splitlines()]
        assert [str(path.relative_to(pictures)) for path in images] == found

    def test_a_parquet_file_row_by_row(self, lm: Lm, made: Place) -> None:
        said = lm("predict", "--workspace", made.root, made.world.path, "--format", "csv")
        assert said.code == 0, said.err
        found = rows(said.out)
        assert [row["image"] for row in found] == [
            f"{made.world.path}:{at}" for at in range(len(made.world.ids))
        ]

    def test_a_column_that_is_not_there(self, lm: Lm, made: Place) -> None:
        words = ("predict", "--workspace", made.root, made.world.path, "--image_column", "imgae")
        said = lm(*words)
        assert said.code == 3
        assert "no column 'imgae'" in said.err and "'image'" in said.err

    def test_nothing_at_all(self, lm: Lm, made: Place, tmp_path: Path) -> None:
        said = lm("predict", "--workspace", made.root, tmp_path)
        assert (said.code, said.out) == (3, "")
        assert "holds no picture" in said.err


class TestItGoesOn:
    def test_after_what_cannot_be_used(
        self, lm: Lm, made: Place, pictures: Path, tmp_path: Path
    ) -> None:
        """In every place: a broken file, a missing one, a pattern without files, a null row."""
        (tmp_path / "bad.png").write_bytes(b"no picture")
        (tmp_path / "bad.parquet").write_bytes(b"no table")
        paths = [
            tmp_path / "bad.png",
            pictures / "a.png",
            tmp_path / "none.png",
            tmp_path / "*.jpg",
            tmp_path / "bad.parquet",
            pictures / "b.png",
        ]
        said = lm("predict", "--workspace", made.root, *paths, "--format", "jsonl")
        assert said.code == 3
        entries = [json.loads(line) for line in said.out.splitlines()]
        assert [Path(entry["image"]).name for entry in entries] == [path.name for path in paths]
        assert [bool(entry["error"]) for entry in entries] == [True, False, True, True, True, False]
        assert [entry["label"] is None for entry in entries] == [
            bool(entry["error"]) for entry in entries
        ]
        assert "4 pictures could not be used" in said.err
        assert "none.png: the file cannot be read (No such file or directory)" in said.err
        assert "no file matches the pattern" in said.err

    def test_and_says_the_number_where_there_are_many(
        self, lm: Lm, made: Place, tmp_path: Path
    ) -> None:
        for at in range(15):
            (tmp_path / f"{at:02d}.png").write_bytes(b"no picture")
        said = lm("predict", "--workspace", made.root, tmp_path, "--json")
        assert said.code == 3
        assert (said.json["predicted"], said.json["unreadable"]) == (0, 15)
        assert len(said.json["predictions"]) == 15
        assert "15 pictures could not be used" in said.err and "The first 10" in said.err
        assert "09.png" in said.err and "10.png" not in said.err


class TestColumns:
    def test_all_classes_in_one_order_whatever_is_asked(
        self, lm: Lm, made: Place, pictures: Path
    ) -> None:
        for name in ("a.png", "b.png", "."):
            words = ("predict", "--workspace", made.root, pictures / name)
            for entry in lm(*words, "--json").json["predictions"]:
                assert list(entry["probabilities"]) == CLASSES
                assert sum(entry["probabilities"].values()) == pytest.approx(1, abs=1e-5)
            head = lm(*words, "--format", "csv").out.splitlines()[0]
            probabilities = [f"probability:{name}" for name in CLASSES]
            assert head.split(",") == [
                "image", "label", "probability", *probabilities, "shards", "error",
            ]  # fmt: skip

    @pytest.mark.parametrize(("k", "length"), [(1, 1), (2, 2), (9, 3)])
    def test_the_most_probable(
        self, lm: Lm, made: Place, pictures: Path, k: int, length: int
    ) -> None:
        words = ("predict", "--workspace", made.root, pictures, "--top_k", k)
        for entry in lm(*words, "--json").json["predictions"]:
            values = list(entry["probabilities"].values())
            assert len(values) == length and values == sorted(values, reverse=True)
            assert next(iter(entry["probabilities"])) == entry["label"]
        [first, *_] = rows(lm(*words, "--format", "csv").out)
        assert [name for name in first if name.startswith("label")] == [
            f"label_{at}" for at in range(1, k + 1)
        ]
        assert lm(*words[:-1], "0").code == 2

    @pytest.mark.parametrize("top_k", [(), ("--top_k", "2")])
    def test_three_formats_say_the_same(
        self, lm: Lm, made: Place, pictures: Path, tmp_path: Path, top_k: tuple[str, ...]
    ) -> None:
        (tmp_path / "bad.png").write_bytes(b"no picture")
        words = ("predict", "--workspace", made.root, pictures, tmp_path / "bad.png", *top_k)
        files = [tmp_path / f"out.{ending}" for ending in ("csv", "jsonl", "parquet")]
        for file in files:
            said = lm(*words, "--output", file)
            assert said.code == 3
            assert f"3 pictures predicted, written to {file}" in said.out
        table = rows(files[0].read_text())
        entries = [json.loads(line) for line in files[1].read_text().splitlines()]
        stored = pq.read_table(files[2])
        assert list(table[0]) == stored.column_names
        assert stored.to_pylist()[3]["error"] == entries[3]["error"] == table[3]["error"]
        label = "label_1" if top_k else "label"
        for row, entry, cells in zip(table, entries, stored.to_pylist(), strict=True):
            assert row["image"] == entry["image"] == cells["image"]
            assert (row[label] or None) == entry["label"] == cells[label]

    def test_what_is_refused(self, lm: Lm, made: Place, pictures: Path, tmp_path: Path) -> None:
        words = ("predict", "--workspace", made.root, pictures)
        assert "does not say a format" in lm(*words, "--output", tmp_path / "out.xls").err
        assert "give --output FILE too" in lm(*words, "--format", "parquet").err
        inside = lm(*words, "--output", made.root / "out.csv")
        assert inside.code == 2 and "lies within the workspace" in inside.err


def test_rows_come_chunk_by_chunk(
    lm: Lm, made: Place, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows whatever the size of a chunk, and no chunk holds more than its share."""
    from lmeraser_ray.operations import predict

    words = ("predict", "--workspace", made.root, pictures, made.world.path, "--format", "csv")
    whole = lm(*words).out
    sizes: list[int] = []
    answer = predict.Asker.answer

    def counting(self: predict.Asker, state: object, chunk: predict.Chunk) -> object:
        sizes.append(len(chunk.pixels))
        return answer(self, state, chunk)  # type: ignore[arg-type]

    monkeypatch.setattr(predict.Asker, "answer", counting)
    monkeypatch.setattr(predict, "CHUNK_BYTES", 2 * 3 * 16 * 16)
    assert lm(*words).out == whole
    assert max(sizes) == 2 and len(sizes) > 10
