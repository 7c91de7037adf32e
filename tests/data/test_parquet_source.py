"""The source `parquet`: one row a record."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmeraser_ray.config import DataConfig
from lmeraser_ray.data.sources.png import stored_png
from lmeraser_ray.data.sources.read_source import read_source
from lmeraser_ray.errors import DataError
from tests.support.sources import picture, read, refusal, table


class TestParquet:
    @pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
    def test_binary_kinds(self, tmp_path: Path, kind: pa.DataType) -> None:
        records = read(
            table(tmp_path / "a.parquet", image=pa.array([picture(n) for n in range(4)], kind))
        )
        assert [(r.record_id, r.label, r.image) for r in records] == [
            (f"r{n}", str(n % 2), picture(n)) for n in range(4)
        ]

    def test_hugging_face_structs(self, tmp_path: Path) -> None:
        structs = [{"bytes": picture(n), "path": None} for n in range(4)]
        assert [r.image for r in read(table(tmp_path / "a.parquet", image=structs))] == [
            picture(n) for n in range(4)
        ]
        structs[2] = {"bytes": None, "path": "/elsewhere/2.png"}  # type: ignore[dict-item]
        message = refusal(table(tmp_path / "a.parquet", image=structs))
        assert message.startswith(f"{tmp_path}/a.parquet, row 2: ")
        assert "only a path, '/elsewhere/2.png', not followed" in message
        structs[2] = {"bytes": None, "path": None}  # type: ignore[dict-item]
        assert "row 2: the picture in column 'image' is null" in refusal(
            table(tmp_path / "a.parquet", image=structs)
        )

    def test_names_of_all_kinds(self, tmp_path: Path) -> None:
        config = table(
            tmp_path / "a.parquet",
            record_id=[7, 8, 9, 10],
            label=pa.array(["x", "y", "x", "y"]).dictionary_encode(),
        )
        assert [(r.record_id, r.label) for r in read(config)] == [
            ("7", "x"),
            ("8", "y"),
            ("9", "x"),
            ("10", "y"),
        ]
        assert (
            read(
                table(tmp_path / "b.parquet", record_id=pa.array(list("abcd"), pa.large_string()))
            )[0].record_id
            == "a"
        )

    def test_folder_of_files_and_many_batches(self, tmp_path: Path) -> None:
        for name, first in (("b", 200), ("a", 0)):
            table(tmp_path / f"{name}.parquet", rows=200, record_id=list(range(first, first + 200)))
        (tmp_path / "README.md").write_text("not data")
        assert [r.record_id for r in read(DataConfig(source="parquet", path=tmp_path))] == [
            str(n) for n in range(400)
        ]

    def test_configured_columns(self, tmp_path: Path) -> None:
        columns = {
            "name": list("abcd"),
            "digit": [0, 1, 2, 3],
            "png": [picture(n) for n in range(4)],
            "who": ["ann", "bo", "ann", "cy"],
        }
        config = table(tmp_path / "a.parquet", record_id=None, label=None, image=None, **columns)
        update = {
            "id_column": "name",
            "label_column": "digit",
            "image_column": "png",
            "subject_column": "who",
        }
        records = read(config.model_copy(update=update))
        expected = [("a", "0", "ann"), ("b", "1", "bo"), ("c", "2", "ann"), ("d", "3", "cy")]
        assert [(r.record_id, r.label, r.subject_id) for r in records] == expected
        assert records[0].test == records[2].test

    def test_missing_column_names_the_nearest(self, tmp_path: Path) -> None:
        message = refusal(table(tmp_path / "a.parquet", label=None, labels=[0, 1, 0, 1]))
        assert message.startswith(
            f"{tmp_path}/a.parquet: no column 'label' among record_id, image, labels; the nearest "
            "name is 'labels'"
        )

    @pytest.mark.parametrize(
        ("column", "values", "words"),
        [
            ("label", [0, None, 1, 1], "row 1: the label in column 'label' is null"),
            (
                "record_id",
                ["a", "b", None, "d"],
                "row 2: the record id in column 'record_id' is null",
            ),
            (
                "image",
                [picture(), None, picture(), picture()],
                "row 1: the picture in column 'image' is null",
            ),
            ("image", [picture(), picture(), b"\xff\xd8\xff", picture()], "row 2: the picture"),
            ("label", [0.0, 1.0, 0.0, 1.0], "the column 'label' holds double"),
            ("label", [0.0, float("nan"), 0.0, 1.0], "the column 'label' holds double"),
            ("label", [True, False, True, False], "the column 'label' holds bool"),
            ("label", [None] * 4, "the column 'label' holds null"),
            ("record_id", [b"a", b"b", b"c", b"d"], "the column 'record_id' holds binary"),
            ("image", ["a.png", "b.png", "c.png", "d.png"], "the column 'image' holds string"),
            ("image", [[1], [2], [3], [4]], "the column 'image' holds list"),
            ("image", [{"path": "a"}] * 4, "the column 'image' holds struct"),
            (
                "record_id",
                ["a", "../b", "c", "d"],
                "row 1: the record id '../b' has a path component '..'",
            ),
            (
                "record_id",
                ["a", "b\nc", "c", "d"],
                "row 1: the record id 'b\\nc' holds a control character",
            ),
            (
                "record_id",
                ["a", "x" * 10_000, "c", "d"],
                "row 1: the record id has 10,000 characters",
            ),
            ("record_id", ["a", "", "c", "d"], "row 1: the record id '' is empty"),
            ("record_id", ["a", "b", "c", "a"], "row 3: the record id 'a' is there twice"),
            ("label", ["x", " y", "x", "x"], "row 1: the label ' y' is empty or begins"),
        ],
    )
    def test_bad_values(
        self, tmp_path: Path, column: str, values: list[object], words: str
    ) -> None:
        message = refusal(table(tmp_path / "a.parquet", **{column: values}))
        assert message.startswith(f"{tmp_path}/a.parquet")
        assert words in message

    def test_text_that_is_not_utf8(self, tmp_path: Path) -> None:
        bad = pa.array([b"a", b"\xff", b"c", b"d"]).view(pa.string())
        assert "row 1: the record id in column 'record_id' is not UTF-8" in refusal(
            table(tmp_path / "a.parquet", record_id=bad)
        )

    def test_a_name_twice(self, tmp_path: Path) -> None:
        columns = [pa.array(["a"]), pa.array([1]), pa.array([2]), pa.array([picture()])]
        pq.write_table(
            pa.table(columns, names=["record_id", "label", "label", "image"]),
            tmp_path / "a.parquet",
        )
        assert "2 columns are called 'label'" in refusal(
            DataConfig(source="parquet", path=tmp_path / "a.parquet")
        )

    def test_files_that_are_none(self, tmp_path: Path) -> None:
        path = tmp_path / "a.parquet"
        assert "a.parquet: does not exist" in refusal(DataConfig(source="parquet", path=path))
        assert "holds no *.parquet file" in refusal(DataConfig(source="parquet", path=tmp_path))
        path.write_bytes(b"PAR1 nothing")
        assert f"{path}: the file is no readable Parquet file" in refusal(
            DataConfig(source="parquet", path=path)
        )
        empty = {
            "record_id": pa.array([], "string"),
            "label": pa.array([], "int64"),
            "image": pa.array([], "binary"),
        }
        assert "no records at all" in refusal(table(path, **empty))

    @settings(max_examples=60, deadline=None)
    @given(
        flips=st.lists(
            st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)),
            min_size=1,
            max_size=4,
        ),
        keep=st.floats(0.5, 1),
    )
    def test_damaged_files(
        self, tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[float, int]], keep: float
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "damaged.parquet"
        table(path)
        content = bytearray(path.read_bytes())
        for share, value in flips:
            content[int(share * len(content))] = value
        path.write_bytes(content[: int(keep * len(content)) if keep < 0.9 else len(content)])
        try:
            read(DataConfig(source="parquet", path=path))
        except DataError as error:
            assert "damaged.parquet" in str(error)


def test_a_parquet_file_of_many_row_groups_takes_the_memory_of_one(tmp_path: Path) -> None:
    """A reader of all groups at once has buffers for all of them: as much as the file, where groups
    are small."""
    path, number, most, noise = tmp_path / "records.parquet", 0, 0, np.random.default_rng(0)
    with pq.ParquetWriter(
        path, pa.schema([("record_id", pa.string()), ("label", pa.int64()), ("image", pa.binary())])
    ) as writer:
        for group in range(40):
            names = [f"{group}-{i}" for i in range(100)]
            images = [stored_png(grey) for grey in noise.integers(0, 256, (100, 32, 32), np.uint8)]
            writer.write_table(
                pa.table(
                    {"record_id": names, "label": [0, 1] * 50, "image": images},
                    schema=writer.schema,
                )
            )
    before = pa.total_allocated_bytes()
    for _ in read_source(DataConfig(source="parquet", path=path), seed=0, skip=lambda _: False):
        number, most = number + 1, max(most, pa.total_allocated_bytes() - before)
    assert number == 4000 and path.stat().st_size > 4_000_000
    assert most < path.stat().st_size / 4
