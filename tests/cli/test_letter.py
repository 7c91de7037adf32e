"""`lmeraser certificate ID --letter`, and what is said of records that only tested."""

from pathlib import Path

import pytest

from tests.support.command_line import Lm, Place, expect_refused


@pytest.fixture
def erased(lm: Lm, place: Place) -> str:
    """The id of a certified request for a test record."""
    said = lm("unlearn", "--workspace", place.root, "--records", place.id(test=True))
    assert said.code == 0, said.err
    assert "1 record removed; used for testing only: nothing was trained again" in said.out
    return lm("requests", "--workspace", place.root, "--json").json["requests"][0]["request"]


def test_it_is_written_as_a_page_and_as_a_pdf(
    lm: Lm, place: Place, erased: str, tmp_path: Path
) -> None:
    for name in ("a.html", "b.PDF"):
        said = lm("certificate", erased, "--workspace", place.root, "--letter", tmp_path / name)
        assert (said.code, f"letter written to {tmp_path / name}" in said.out) == (0, True)
        assert "rebuilt      nothing: what was erased was used for testing only; 4 " in said.out
    page = (tmp_path / "a.html").read_text()
    assert erased in page and "used for testing only" in page and place.id(test=True) not in page
    for word in ("Ray", "object storage", "bucket", "demonstration", "PostgreSQL"):
        assert f"<li>{word}" not in page and f"<li>what {word}" not in page
    assert (tmp_path / "b.PDF").read_bytes().startswith(b"%PDF-")


def test_no_letter_is_written_of_what_cannot_be_checked(
    lm: Lm, place: Place, erased: str, tmp_path: Path
) -> None:
    where = ("--workspace", place.root, "--keys", tmp_path / "others")
    assert lm("keys", "init", "--keys", tmp_path / "others").code == 0
    out, kept = tmp_path / "a.html", tmp_path / "c.json"
    expect_refused(
        lm("certificate", erased, *where, "--letter", out, "--output", kept), 4, "--keys"
    )
    assert not out.exists() and not kept.exists()


@pytest.mark.parametrize("name", ["a.txt", "letter", "a.htm"])
def test_another_ending_is_refused_first(lm: Lm, tmp_path: Path, name: str) -> None:
    said = lm("certificate", "er-0", "--workspace", tmp_path / "none", "--letter", name)
    expect_refused(said, 2, "--letter", ".html or .pdf")
