"""Who a record is about, and on which side of the split that person is."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmeraser_ray.config import DataConfig
from lmeraser_ray.data.subjects import is_test_subject, subject_resolver
from lmeraser_ray.errors import ConfigError, DataError


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
