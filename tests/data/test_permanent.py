"""Which records are permanent: a file of subjects, or a column."""

import json
import unicodedata
from pathlib import Path

import pytest

from lmeraser_ray.config import DataConfig
from lmeraser_ray.errors import ConfigError
from tests.support.sources import folder, picture, read, refusal, table


def permanent(config: DataConfig) -> list[str]:
    """The ids of the permanent records of a source."""
    return [record.record_id for record in read(config) if record.permanent]


class TestFile:
    def test_subjects_or_records_where_nobody_has_one(self, tmp_path: Path) -> None:
        config, listed = (
            table(tmp_path / "a.parquet", who=["ann", "bo", "ann", "cy"]),
            tmp_path / "p",
        )
        listed.write_text(unicodedata.normalize("NFD", "ann\n\nJosé\nr1\n"))
        named = config.model_copy(update={"permanent": listed})
        assert permanent(named) == ["r1"]
        assert permanent(named.model_copy(update={"subject_column": "who"})) == ["r0", "r2"]
        assert permanent(config) == []

    def test_digits(self, tmp_path: Path) -> None:
        (tmp_path / "p").write_text("digit-0003\n")
        assert permanent(DataConfig(permanent=tmp_path / "p")) == ["digit-0003"]

    def test_that_cannot_be_read(self, tmp_path: Path) -> None:
        config = table(tmp_path / "a.parquet").model_copy(update={"permanent": tmp_path / "none"})
        assert "data.permanent" in refusal(config, kind=ConfigError)


class TestColumn:
    @pytest.mark.parametrize(
        "said", [[True, False, True, False], [1, 0, 1, 0], ["True", "false", "1", " 0"]]
    )
    def test_of_parquet(self, tmp_path: Path, said: list[object]) -> None:
        config = table(tmp_path / "a.parquet", stays=said)
        assert permanent(config.model_copy(update={"permanent_column": "stays"})) == ["r0", "r2"]

    @pytest.mark.parametrize("kind", ["csv", "jsonl"])
    def test_of_metadata(self, tmp_path: Path, kind: str) -> None:
        rows = [("1.png", "cat", True), ("2.png", "dog", False)]
        for name, _, _ in rows:
            (tmp_path / name).write_bytes(picture())
        lines = {
            "csv": ["file_name,label,stays", *(f"{n},{what},{said}" for n, what, said in rows)],
            "jsonl": [
                json.dumps({"file_name": n, "label": what, "stays": said}) for n, what, said in rows
            ],
        }[kind]
        (tmp_path / f"metadata.{kind}").write_text("\n".join(lines) + "\n")
        config = DataConfig(source="folder", path=tmp_path, permanent_column="stays")
        assert permanent(config) == ["1.png"]

    @pytest.mark.parametrize(
        ("said", "word"),
        [([1, 2, 0, 0], "2"), (["yes", "1", "0", "0"], "yes"), ([1, None, 0, 0], "None")],
    )
    def test_that_says_something_else(self, tmp_path: Path, said: list[object], word: str) -> None:
        config = table(tmp_path / "a.parquet", stays=said).model_copy(
            update={"permanent_column": "stays"}
        )
        assert f"the column 'stays' has '{word}', expected true or false" in refusal(config)

    def test_that_is_not_there(self, tmp_path: Path) -> None:
        config = table(tmp_path / "a.parquet", stay=[True] * 4)
        found = refusal(config.model_copy(update={"permanent_column": "stays"}))
        assert "no column 'stays'" in found
        assert "the nearest name is 'stay'" in found

    def test_a_subject_is_permanent_in_all_records_or_none(self, tmp_path: Path) -> None:
        """Otherwise the deletion of one who is not permanent would move a permanent person."""
        columns = {"who": ["ann", "bo", "ann", "bo"], "stays": [True, False, False, False]}
        config = table(tmp_path / "a.parquet", **columns).model_copy(
            update={"subject_column": "who", "permanent_column": "stays"}
        )
        found = refusal(config)
        assert "row 2: the subject 'ann' is permanent in some records and not in others" in found


def test_one_rule_and_a_source_that_has_columns(tmp_path: Path) -> None:
    for update, words in (
        ({"permanent": "p", "permanent_column": "stays"}, "keep one"),
        ({"permanent_column": "stays", "source": "digits", "path": None}, "goes with data.source"),
    ):
        given = folder(tmp_path).model_dump() | update
        with pytest.raises(ValueError, match=words):
            DataConfig.model_validate(given)
