"""Data sets as data hubs lay them out: splits in names, class names in metadata, rows without
ids."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmeraser_ray.config import DataConfig
from lmeraser_ray.errors import DataError
from tests.support.sources import folder, picture, read, refusal, table

NAMES = ["cat", "dog"]


def hub(path: Path, numbers: range, *, paths: bool = True, labels: list[int] | None = None) -> None:
    """A file as a data hub has it: {bytes, path} structs, ClassLabel, no ids."""
    path.parent.mkdir(parents=True, exist_ok=True)
    features = {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}
    found = pa.table(
        {
            "image": [
                {"bytes": picture(n), "path": f"{n}.png" if paths else None} for n in numbers
            ],
            "label": labels or [n % 2 for n in numbers],
        }
    )
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(found.replace_schema_metadata(about), path)


def splits(root: Path, held_out: str = "test", **options: bool) -> DataConfig:
    hub(root / "train-00000-of-00002.parquet", range(4), **options)
    hub(root / "train-00001-of-00002.parquet", range(4, 8), **options)
    hub(root / f"{held_out}-00000-of-00001.parquet", range(20, 23), **options)
    return DataConfig(source="parquet", path=root)


class TestSplits:
    @pytest.mark.parametrize(
        ("held_out", "split"),
        [("test", "test"), ("validation", "validation"), ("dev", "validation")],
    )
    def test_files_are_the_splits_of_their_names(
        self, tmp_path: Path, held_out: str, split: str
    ) -> None:
        records = read(splits(tmp_path, held_out))
        assert [(r.record_id, r.test) for r in records] == [
            *((f"{n}.png", False) for n in range(8)),
            *((f"{split}/{n}.png", True) for n in range(20, 23)),
        ]
        assert [r.label for r in records[:3]] == ["cat", "dog", "cat"]

    @pytest.mark.parametrize("below", ["data", "plain_text", "data/en"])
    def test_the_root_of_a_data_set(self, tmp_path: Path, below: str) -> None:
        splits(tmp_path / below)
        (tmp_path / "README.md").write_text("a card")
        found = read(DataConfig(source="parquet", path=tmp_path))
        assert sum(r.test for r in found) == 3 and len(found) == 11

    def test_folders_are_splits_too(self, tmp_path: Path) -> None:
        hub(tmp_path / "default/train/0000.parquet", range(4))
        hub(tmp_path / "default/test/0000.parquet", range(4, 6))
        found = read(DataConfig(source="parquet", path=tmp_path))
        assert [r.test for r in found] == [False] * 4 + [True] * 2

    def test_the_training_split_alone_is_one_set(self, tmp_path: Path) -> None:
        hub(tmp_path / "train-00000-of-00001.parquet", range(40))
        found = read(DataConfig(source="parquet", path=tmp_path))
        assert 0 < sum(r.test for r in found) < 20

    def test_what_cannot_be_told_is_refused(self, tmp_path: Path) -> None:
        config = splits(tmp_path)
        hub(tmp_path / "extra-00000-of-00001.parquet", range(50, 52))
        assert "'extra-00000-of-00001.parquet'" in refusal(config)
        (tmp_path / "extra-00000-of-00001.parquet").unlink()
        other = config.model_copy(update={"test_path": tmp_path / "other"})
        hub(tmp_path / "other/a.parquet", range(50, 52))
        assert "the splits train and test are there" in refusal(other)

    def test_several_data_sets(self, tmp_path: Path) -> None:
        splits(tmp_path / "en")
        splits(tmp_path / "de")
        assert "(de, en)" in refusal(DataConfig(source="parquet", path=tmp_path))


class TestLabels:
    def test_a_row_without_a_label(self, tmp_path: Path) -> None:
        hub(tmp_path / "a.parquet", range(5), labels=[0, 1, -1, 1, 0])
        config = DataConfig(source="parquet", path=tmp_path)
        assert "row 2: the label is -1, which says that the row has none" in refusal(config)
        found = read(config.model_copy(update={"on_error": "skip"}))
        assert [r.record_id for r in found] == ["0.png", "1.png", "3.png", "4.png"]

    def test_a_number_without_a_name(self, tmp_path: Path) -> None:
        hub(tmp_path / "a.parquet", range(3), labels=[0, 1, 2])
        assert "row 2: the label is 2, and 2 classes are named" in refusal(
            DataConfig(source="parquet", path=tmp_path)
        )

    def test_without_metadata_too(self, tmp_path: Path) -> None:
        assert "row 1: the label is -1" in refusal(
            table(tmp_path / "a.parquet", label=[0, -1, 1, 0])
        )
        assert len(read(table(tmp_path / "a.parquet", label=["-1", "1", "-1", "1"]))) == 4

    @pytest.mark.parametrize("data", [b"nonsense", b"[1]", b'{"info": {"features": 3}}'])
    def test_metadata_that_are_none(self, tmp_path: Path, data: bytes) -> None:
        table(tmp_path / "a.parquet")
        found = pq.read_table(tmp_path / "a.parquet").replace_schema_metadata({"huggingface": data})
        pq.write_table(found, tmp_path / "a.parquet")
        assert "the metadata `huggingface` cannot be read" in refusal(
            DataConfig(source="parquet", path=tmp_path)
        )


class TestIds:
    def without(self, path: Path, row: int) -> None:
        found = pq.read_table(path)
        keep = [at for at in range(found.num_rows) if at != row]
        pq.write_table(found.take(keep).replace_schema_metadata(found.schema.metadata), path)

    @pytest.mark.parametrize("paths", [True, False])
    def test_no_row_decides_the_id_of_another(self, tmp_path: Path, paths: bool) -> None:
        config = splits(tmp_path, paths=paths)
        before = read(config)
        assert len({r.record_id for r in before}) == 11
        self.without(tmp_path / "train-00000-of-00002.parquet", 1)
        assert read(config) == before[:1] + before[2:]

    def test_equal_rows_are_numbered(self, tmp_path: Path) -> None:
        columns = {"record_id": None, "image": [picture(1)] * 4, "label": [0, 0, 1, 0]}
        ids = [r.record_id for r in read(table(tmp_path / "a.parquet", **columns))]
        assert len(set(ids)) == 4
        assert [ids[1], ids[3]] == [f"{ids[0]}-2", f"{ids[0]}-3"]

    def test_a_path_that_comes_twice_has_a_way_out(self, tmp_path: Path) -> None:
        hub(tmp_path / "a/train-0.parquet", range(3))
        hub(tmp_path / "a/train-1.parquet", range(2, 5))
        config = DataConfig(source="parquet", path=tmp_path / "a")
        assert "'2.png' is there twice: rename one, or drop it, or set data.ids content" in refusal(
            config
        )
        assert len(read(config.model_copy(update={"ids": "content"}))) == 6

    def test_some_files_have_ids(self, tmp_path: Path) -> None:
        table(tmp_path / "a.parquet")
        table(tmp_path / "b.parquet", record_id=None)
        assert "b.parquet: no column 'record_id', which other files" in refusal(
            DataConfig(source="parquet", path=tmp_path)
        )


class TestFolders:
    names = "train/cat/1.png train/dog/2.png test/cat/3.png"

    @pytest.mark.parametrize("below", ["", "data/"])
    def test_splits(self, tmp_path: Path, below: str) -> None:
        config = folder(tmp_path, " ".join(f"{below}{name}" for name in self.names.split()))
        (tmp_path / "README.md").write_text("a card")
        assert [(r.record_id, r.label, r.test) for r in read(config)] == [
            ("cat/1.png", "cat", False),
            ("dog/2.png", "dog", False),
            ("test/cat/3.png", "cat", True),
        ]

    def test_classes_that_are_called_so_stay_classes(self, tmp_path: Path) -> None:
        config = folder(tmp_path, "train/1.png test/2.png")
        assert {r.label for r in read(config)} == {"train", "test"}

    @pytest.mark.parametrize("kind", ["csv", "jsonl"])
    @pytest.mark.parametrize("above", [True, False])
    def test_metadata(self, tmp_path: Path, kind: str, above: bool) -> None:
        config = folder(tmp_path, "train/1.png train/2.png test/3.png")
        lines = [("train", "1.png", "cat", "ann"), ("train", "2.png", "dog", "bo")]
        lines.append(("test", "3.png", "dog", "cy"))
        for split in ("train", "test"):
            own = [
                (f"{s}/{name}" if above else name, label, who)
                for s, name, label, who in lines
                if above or s == split
            ]
            text = (
                "file_name,label,who\n" + "".join(",".join(line) + "\n" for line in own)
                if kind == "csv"
                else "".join(
                    json.dumps(dict(zip(("file_name", "label", "who"), line, strict=True))) + "\n"
                    for line in own
                )
            )
            (tmp_path / ("" if above else split) / f"metadata.{kind}").write_text(text)
        found = read(config.model_copy(update={"subject_column": "who"}))
        assert [(r.record_id, r.label, r.subject_id, r.test) for r in found] == [
            ("1.png", "cat", "ann", False),
            ("2.png", "dog", "bo", False),
            ("test/3.png", "dog", "cy", True),
        ]

    def test_metadata_that_do_not_fit(self, tmp_path: Path) -> None:
        config = folder(tmp_path, "1.png 2.png 3.png")
        lines = "file_name,label\n1.png,cat\n2.png,dog\n9.png,dog\n"
        (tmp_path / "metadata.csv").write_text(lines)
        found = refused_all(config)
        assert f"{tmp_path}/3.png: no line of the metadata names it" in found
        assert f"{tmp_path}/9.png: the metadata names it, and it is not there" in found
        (tmp_path / "metadata.csv").write_text("file_name,label\n../1.png,cat\n")
        assert "has a path component '..'" in refusal(config)
        (tmp_path / "metadata.csv").write_text("file_name,label\n1.png\n")
        assert "the metadata cannot be read" in refusal(config)

    @pytest.mark.parametrize("name", ["subject_column", "id_column", "permanent_column"])
    def test_a_column_without_metadata(self, tmp_path: Path, name: str) -> None:
        config = folder(tmp_path).model_copy(update={name: "who"})
        assert f"data.{name} is a column of a file of metadata, and there is none" in refusal(
            config
        )


def refused_all(config: DataConfig) -> str:
    with pytest.raises(DataError) as caught:
        read(config)
    return str(caught.value)
