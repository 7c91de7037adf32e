"""The source `folder`: PATH/class/file."""

import os
from pathlib import Path

import pytest

from lmeraser_ray.config import DataConfig
from lmeraser_ray.errors import PictureError
from tests.support.sources import folder, picture, read, refusal


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
        with pytest.raises(PictureError, match=r"cat/1\.png: the picture is 6 x 5 pixels"):
            read(
                folder(tmp_path).model_copy(update={"max_pixels": 29}),
                skip=lambda record_id: record_id != "cat/1.png",
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
        config = folder(tmp_path / "one", "cat/1.png cat/2.png")
        assert {record.label for record in read(config)} == {"cat"}
