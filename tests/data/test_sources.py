"""Sources: records as they lie in folders and Parquet files, and one refusal for each way in which
they can be wrong."""

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lmeraser_ray.config import DataConfig
from lmeraser_ray.data import sources
from lmeraser_ray.data.record import Record
from lmeraser_ray.data.sources import read_source
from lmeraser_ray.data.sources.png import stored_png
from lmeraser_ray.data.subjects import is_test_subject, subject_resolver
from lmeraser_ray.errors import ConfigError, DataError, PictureError


def picture(shade: int = 0, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (6, 5), (shade % 256, 10, 200)).save(buffer, kind)
    return buffer.getvalue()


def folder(root: Path, names: str = "cat/1.png cat/2.png dog/1.png") -> DataConfig:
    for number, name in enumerate(names.split()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(picture(number))
    return DataConfig(source="folder", path=root)


def table(path: Path, *, rows: int = 4, **columns: object) -> DataConfig:
    given = {
        "record_id": [f"r{n}" for n in range(rows)],
        "label": [n % 2 for n in range(rows)],
        "image": [picture(n) for n in range(rows)],
        **columns,
    }
    pq.write_table(
        pa.table({name: values for name, values in given.items() if values is not None}), path
    )
    return DataConfig(source="parquet", path=path)


def read(
    config: DataConfig, *, skip: Callable[[str], bool] = lambda record_id: False, seed: int = 0
) -> list[Record]:
    return list(read_source(config, seed=seed, skip=skip))


def refusal(config: DataConfig, *, kind: type[Exception] = DataError) -> str:
    with pytest.raises(kind) as caught:
        read(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestDigits:
    def test_all_digits(self) -> None:
        records = read(DataConfig())
        assert [r.record_id for r in records] == [f"digit-{n:04d}" for n in range(1797)]
        assert {r.label for r in records} == set("0123456789")
        assert all(r.subject_id == r.record_id for r in records)
        assert 0.15 < sum(r.test for r in records) / 1797 < 0.25
        grey = np.asarray(Image.open(io.BytesIO(records[0].image)))
        assert grey.shape == (8, 8)
        assert grey[0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]  # 0 0 5 13 9 1 0 0 of 16

    def test_pictures_are_the_same_bytes_everywhere(self) -> None:
        image = stored_png(np.array([[10, 20]], np.uint8))
        assert np.asarray(Image.open(io.BytesIO(image))).tolist() == [[10, 20]]
        header = "89504e470d0a1a0a0000000d4948445200000002000000010800000000d1492056"
        pixels = "0000000e494441547801010300fcff000a14002b001f52addde1"
        assert image.hex() == header + pixels + "0000000049454e44ae426082"


class TestFolder:
    def test_records_in_order_with_their_bytes(self, tmp_path: Path) -> None:
        records = read(folder(tmp_path, "dog/1.png cat/b.png cat/a.jpg"))
        assert [(r.record_id, r.label) for r in records] == [
            ("cat/a.jpg", "cat"),
            ("cat/b.png", "cat"),
            ("dog/1.png", "dog"),
        ]
        assert all(r.image == (tmp_path / r.record_id).read_bytes() for r in records)

    def test_hidden_files_are_ignored(self, tmp_path: Path) -> None:
        config = folder(tmp_path)
        for name in (
            ".DS_Store",
            "cat/.DS_Store",
            "cat/Thumbs.db",
            "dog/desktop.ini",
            "dog/._1.png",
        ):
            (tmp_path / name).write_bytes(b"x")
        (tmp_path / ".git").mkdir()
        assert len(read(config)) == 3

    def test_flatten_takes_any_depth(self, tmp_path: Path) -> None:
        config = folder(tmp_path, "cat/x/y/1.png cat/2.png dog/1.png")
        assert f"{tmp_path}/cat/x: a folder within a class folder" in refusal(config)
        records = read(config.model_copy(update={"flatten": True}))
        assert [(r.record_id, r.label) for r in records] == [
            ("cat/2.png", "cat"),
            ("cat/x/y/1.png", "cat"),
            ("dog/1.png", "dog"),
        ]

    def test_ids_are_in_nfc(self, tmp_path: Path) -> None:
        assert read(folder(tmp_path, "e\u0301/1.png dog/1.png"))[1].record_id == "\u00e9/1.png"

    def test_two_names_of_one_id_are_refused(self, tmp_path: Path) -> None:
        assert "is there twice" in refusal(folder(tmp_path, "a/e\u0301.png a/\u00e9.png b/1.png"))

    def test_missing_path(self, tmp_path: Path) -> None:
        assert "nowhere: does not exist" in refusal(
            DataConfig(source="folder", path=tmp_path / "nowhere")
        )
        (tmp_path / "file").write_bytes(b"")
        assert "file: is not a folder" in refusal(
            DataConfig(source="folder", path=tmp_path / "file")
        )

    def test_file_beside_the_class_folders(self, tmp_path: Path) -> None:
        config = folder(tmp_path)
        (tmp_path / "labels.csv").write_text("x")
        assert f"{tmp_path}/labels.csv: the file lies beside the class folders" in refusal(config)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"notes", "is not a picture"),
            (b"", "is empty"),
            (picture()[:-30], "truncated or corrupt"),
            (picture(kind="ICO"), "not a picture"),
        ],
    )
    def test_bad_picture_names_the_file(self, tmp_path: Path, content: bytes, words: str) -> None:
        config = folder(tmp_path)
        (tmp_path / "cat/2.png").write_bytes(content)
        message = refusal(config, kind=PictureError)
        assert message.startswith(f"{tmp_path}/cat/2.png: ")
        assert words in message

    def test_max_pixels(self, tmp_path: Path) -> None:
        assert "cat/1.png: the picture is 6 x 5 pixels" in refusal(
            folder(tmp_path).model_copy(update={"max_pixels": 29})
        )

    def test_links(self, tmp_path: Path) -> None:
        config = folder(tmp_path / "data")
        (tmp_path / "outside.png").write_bytes(picture())
        link = tmp_path / "data/cat/3.png"
        link.symlink_to(tmp_path / "data/cat/1.png")
        assert len(read(config)) == 4
        for target, words in (
            (tmp_path / "outside.png", "leaves"),
            (tmp_path / "gone", "broken"),
            (link, "broken"),
        ):
            link.unlink()
            link.symlink_to(target)
            assert f"{link}: a" in refusal(config)
            assert words in refusal(config)
        link.unlink()
        (tmp_path / "data/loop").symlink_to(tmp_path / "data")
        assert "loop: a link to a folder" in refusal(config.model_copy(update={"flatten": True}))

    def test_neither_file_nor_folder(self, tmp_path: Path) -> None:
        config = folder(tmp_path)
        os.mkfifo(tmp_path / "cat/pipe")
        assert "cat/pipe: neither a file nor a folder" in refusal(config)

    def test_names(self, tmp_path: Path) -> None:
        for name, words in (
            (b"a\nb.png", "control character"),
            (b"\xff.png", "not UTF-8"),
            (b"x .png ", "white space"),
        ):
            config = folder(tmp_path / str(len(words)))
            bad = os.fsencode(config.path or "") + b"/cat/" + name
            Path(os.fsdecode(bad)).write_bytes(picture())
            assert words in refusal(config)

    def test_too_deep_for_an_id(self, tmp_path: Path) -> None:
        config = folder(tmp_path)
        deep = tmp_path / "cat" / Path(*["d" * 200] * 6)
        deep.mkdir(parents=True)
        assert "characters, at most 1,024" in refusal(config.model_copy(update={"flatten": True}))

    def test_nothing_and_one_class(self, tmp_path: Path) -> None:
        (tmp_path / "empty/cat").mkdir(parents=True)
        assert "no records at all" in refusal(DataConfig(source="folder", path=tmp_path / "empty"))
        assert "all records have the label 'cat'" in refusal(
            folder(tmp_path / "one", "cat/1.png cat/2.png")
        )


class TestSkip:
    def test_skipped_pictures_are_not_read_but_count_as_a_class(self, tmp_path: Path) -> None:
        config = folder(tmp_path)
        (tmp_path / "dog/1.png").write_bytes(b"broken")
        asked: list[str] = []

        def skip(record_id: str) -> bool:
            asked.append(record_id)
            return record_id.startswith("dog/")

        assert [r.record_id for r in read(config, skip=skip)] == ["cat/1.png", "cat/2.png"]
        assert asked == ["cat/1.png", "cat/2.png", "dog/1.png"]

    def test_an_erased_person_may_have_left_the_subjects_file(self, tmp_path: Path) -> None:
        config = folder(tmp_path / "data").model_copy(update={"subjects_file": tmp_path / "s.csv"})
        (tmp_path / "s.csv").write_text("record_id,subject_id\ncat/1.png,ann\ndog/1.png,bo\n")
        assert [r.subject_id for r in read(config, skip=lambda i: i == "cat/2.png")] == [
            "ann",
            "bo",
        ]
        assert f"{tmp_path}/data/cat/2.png: the record id 'cat/2.png' is not in" in refusal(config)


class TestStreaming:
    def test_bounded_window_and_order(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = " ".join(f"{'cat' if n < 150 else 'dog'}/{n:03d}.png" for n in range(300))
        checked, lock = [], threading.Lock()

        def count(image: bytes, *, max_pixels: int) -> None:
            with lock:
                checked.append(1)

        monkeypatch.setattr(sources, "check_picture", count)
        stream = read_source(folder(tmp_path, names), seed=0, skip=lambda i: False)
        ids = []
        for seen, record in enumerate(stream):
            assert len(checked) <= seen + sources.WINDOW
            ids.append(record.record_id)
        assert ids == sorted(ids)
        assert len(ids) == 300

    def test_a_reader_may_stop(self, tmp_path: Path) -> None:
        before = threading.active_count()
        stream = read_source(folder(tmp_path), seed=0, skip=lambda i: False)
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert threading.active_count() == before

    def test_an_error_comes_after_the_records_before_it(self, tmp_path: Path) -> None:
        config = folder(tmp_path)
        (tmp_path / "dog/1.png").write_bytes(b"broken")
        stream = read_source(config, seed=0, skip=lambda i: False)
        assert [next(stream).record_id, next(stream).record_id] == ["cat/1.png", "cat/2.png"]
        with pytest.raises(PictureError):
            next(stream)


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
            ("label", [3] * 4, "all records have the label '3'"),
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


class TestTestPath:
    def test_ids_are_prefixed_and_sides_are_as_given(self, tmp_path: Path) -> None:
        folder(tmp_path / "b", "cat/1.png")
        config = folder(tmp_path / "a").model_copy(
            update={"test_path": tmp_path / "b", "subject_pattern": r"^(test/)?\w+"}
        )
        records = read(config.model_copy(update={"subject_pattern": None}))
        assert [(r.record_id, r.test) for r in records] == [
            ("cat/1.png", False),
            ("cat/2.png", False),
            ("dog/1.png", False),
            ("test/cat/1.png", True),
        ]

    def test_a_person_on_both_sides(self, tmp_path: Path) -> None:
        table(tmp_path / "b.parquet", who=["cy", "di", "bo", "cy"])
        config = table(tmp_path / "a.parquet", who=["ann", "bo", "ann", "bo"]).model_copy(
            update={"subject_column": "who", "test_path": tmp_path / "b.parquet"}
        )
        message = refusal(config)
        assert message.startswith(
            f"{tmp_path}/b.parquet, row 2: the subject 'bo' has records in data.path and in "
            "data.test_path"
        )
        assert len(read(config, skip=lambda i: i == "test/r2")) == 7

    def test_no_test_records(self, tmp_path: Path) -> None:
        (tmp_path / "b").mkdir()
        assert "b: no records at all" in refusal(
            folder(tmp_path / "a").model_copy(update={"test_path": tmp_path / "b"})
        )

    def test_overlapping_paths(self, tmp_path: Path) -> None:
        config = folder(tmp_path / "a")
        for test_path in (tmp_path / "a", tmp_path / "a/cat", tmp_path):
            assert "overlap" in refusal(
                config.model_copy(update={"test_path": test_path}), kind=ConfigError
            )
        table(tmp_path / "test.parquet")
        both = DataConfig(source="parquet", path=tmp_path, test_path=tmp_path / "test.parquet")
        assert "overlap" in refusal(both, kind=ConfigError)
        (tmp_path / "sub").mkdir()
        table(tmp_path / "sub/test.parquet", record_id=list("wxyz"))
        assert (
            len(read(DataConfig(source="parquet", path=tmp_path, test_path=tmp_path / "sub"))) == 8
        )


class TestSubjects:
    def test_default_is_the_record(self) -> None:
        assert subject_resolver(DataConfig())("a/1.png", "here") == "a/1.png"

    @pytest.mark.parametrize(
        ("pattern", "subject"),
        [
            (r"(x)?p(?P<subject>\d+)", "12"),
            (r"p(\d)(\d)", "1"),
            (r"p\d+", "p12"),
            (r"^[^/]+", "cat"),
        ],
    )
    def test_pattern(self, pattern: str, subject: str) -> None:
        assert (
            subject_resolver(DataConfig(subject_pattern=pattern))("cat/p12-3.png", "here")
            == subject
        )

    def test_pattern_that_finds_nobody(self) -> None:
        for pattern in (r"q\d+", r"(q)|cat"):
            with pytest.raises(
                DataError, match=r"^here: .* finds no subject in the record id 'cat/1.png'"
            ):
                subject_resolver(DataConfig(subject_pattern=pattern))("cat/1.png", "here")
        with pytest.raises(DataError, match=r"^here: the subject id '' is empty"):
            subject_resolver(DataConfig(subject_pattern="x*"))("cat/1.png", "here")
        with pytest.raises(ConfigError, match="subject_pattern '\\(' is not a regular expression"):
            subject_resolver(DataConfig(subject_pattern="("))

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "expected the header 'record_id,subject_id'"),
            (b"a,ann\n", "the first line is 'a,ann'"),
            (b"record_id,subject_id\na,ann\nb\n", "line 3: 1 columns"),
            (b"record_id,subject_id\na,ann,x\n", "line 2: 3 columns"),
            (
                b"record_id,subject_id\na,ann\nb,bo\na,bo\n",
                "line 4: the record id 'a' has the subject 'bo' here and 'ann' before",
            ),
            (b"record_id,subject_id\na,\n", "line 2: the subject id '' is empty"),
            (
                b"record_id,subject_id\n../a,ann\n",
                "line 2: the record id '../a' has a path component",
            ),
            (b"record_id,subject_id\na,\xff\n", "cannot be read"),
            (b'record_id,subject_id\n"a,ann\n', "cannot be read"),
        ],
    )
    def test_bad_files(self, tmp_path: Path, content: bytes, words: str) -> None:
        (tmp_path / "s.csv").write_bytes(content)
        with pytest.raises(DataError) as caught:
            subject_resolver(DataConfig(subjects_file=tmp_path / "s.csv"))
        assert str(caught.value).startswith(f"{tmp_path}/s.csv")
        assert words in str(caught.value)

    def test_file(self, tmp_path: Path) -> None:
        (tmp_path / "s.csv").write_bytes(
            '\ufeffrecord_id,subject_id\r\n"a,1",ann\r\n\r\nb,bo\r\nb,bo\r\n7,cy\r\n'.encode()
        )
        resolve = subject_resolver(DataConfig(subjects_file=tmp_path / "s.csv"))
        assert [resolve(i, "here") for i in ("a,1", "b", "7")] == ["ann", "bo", "cy"]
        with pytest.raises(DataError, match=r"^here: the record id 'c' is not in .*s\.csv"):
            resolve("c", "here")
        with pytest.raises(DataError, match="cannot be read"):
            subject_resolver(DataConfig(subjects_file=tmp_path / "none.csv"))

    @given(
        st.integers(0, 2**63 - 1),
        st.text(st.characters(codec="utf-8")),
        st.floats(0, 0.999),
        st.floats(0, 0.999),
    )
    def test_split_grows_with_the_fraction(
        self, seed: int, subject: str, one: float, other: float
    ) -> None:
        assert not is_test_subject(seed, subject, 0.0)
        assert is_test_subject(seed, subject, min(one, other)) <= is_test_subject(
            seed, subject, max(one, other)
        )

    def test_split_depends_on_the_seed_and_holds_its_share(self) -> None:
        sides = [{s for s in range(2000) if is_test_subject(seed, str(s), 0.2)} for seed in (0, 1)]
        assert sides[0] != sides[1]
        assert all(330 < len(side) < 470 for side in sides)


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
