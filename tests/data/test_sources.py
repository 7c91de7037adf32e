"""What all sources promise: skipped records, streaming, and test records of their own."""

import io
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lmeraser_ray.config import DataConfig
from lmeraser_ray.data.sources import read_source as sources
from lmeraser_ray.data.sources.png import stored_png
from lmeraser_ray.data.sources.read_source import read_source
from lmeraser_ray.errors import ConfigError, PictureError
from tests.support.sources import folder, read, refusal, table


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

        def count(image: bytes, *, max_pixels: int, window: None) -> tuple[str, ...]:
            with lock:
                checked.append(1)
            return ()

        monkeypatch.setattr(sources, "check_picture", count)
        stream = read_source(folder(tmp_path, names), seed=0, skip=lambda i: False)
        ids = []
        for seen, record in enumerate(stream):
            assert len(checked) <= seen + sources.WINDOW
            ids.append(record.record_id)
        assert ids == sorted(ids)
        assert len(ids) == 300

    def test_a_reader_may_stop(self, tmp_path: Path) -> None:
        before = set(threading.enumerate())
        stream = read_source(folder(tmp_path), seed=0, skip=lambda i: False)
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert set(threading.enumerate()) <= before

    def test_an_error_comes_after_the_records_before_it(self, tmp_path: Path) -> None:
        config = folder(tmp_path)
        (tmp_path / "dog/1.png").write_bytes(b"broken")
        stream = read_source(config, seed=0, skip=lambda i: False)
        assert [next(stream).record_id, next(stream).record_id] == ["cat/1.png", "cat/2.png"]
        with pytest.raises(PictureError):
            next(stream)


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
