"""`lmeraser report` and `lmeraser export`: what they print, their exit codes, their files."""

from pathlib import Path

from lmeraser_ray import ExportedModel
from tests.support.command_line import Lm, Place, everything, expect_refused


def test_report(lm: Lm, made: Place, tmp_path: Path) -> None:
    page, rows = tmp_path / "page.html", tmp_path / "requests.csv"
    before = everything(made.root)
    said = lm("report", "--workspace", made.root, "--output", page, "--requests_csv", rows)
    assert said.code == 0 and said.out.startswith(f"written: {page}, {rows}\nstate ")
    told = lm("report", "--workspace", made.root, "--output", page, "--json").json
    assert told["files"] == [str(page)] and told["state"] in page.read_text()
    assert told["fingerprint"] == lm("fingerprint", "--workspace", made.root).out.strip()
    assert told["requests"] == {"all": 0, "met": 0, "missed": 0}
    assert rows.read_text() == "request,state,received,due,closed,deadline_met,kind\n"
    assert everything(made.root) == before, "a report changes nothing"


def test_a_report_that_cannot_be_written(lm: Lm, made: Place, tmp_path: Path) -> None:
    nowhere = tmp_path / "none" / "page.html"
    expect_refused(lm("report", "--workspace", made.root, "--output", nowhere), 5, str(nowhere))
    inside = made.root / "page.html"
    expect_refused(lm("report", "--workspace", made.root, "--output", inside), 2, "within")
    expect_refused(lm("report", "--workspace", tmp_path / "w"), 2, "is no workspace")


def test_export(lm: Lm, place: Place, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("export", "--workspace", place.root, "--output")
    expect_refused(lm(*words, out), 2, "1 single records", "--with_features")
    said = lm(*words, tmp_path / "model", "--with_features", "--license", "mit", "--json")
    assert said.code == 0 and "no erasure reaches what was exported" in said.err
    assert ExportedModel.load(tmp_path / "model").state == said.json["state"]
    assert "license: mit\n" in (tmp_path / "model" / "README.md").read_text()
    expect_refused(lm(*words, tmp_path / "model"), 2, "holds something already")
    expect_refused(lm("export", "--workspace", place.root), 2, "--output")
    lm("submit", "--records", place.id(), "--workspace", place.root)
    expect_refused(lm(*words, tmp_path / "other"), 5, "not published yet: 1", "queue run")
    assert not (tmp_path / "other").exists()
