"""A study whose inputs are not there is refused before torch is imported, and leaves nothing
behind; so is a training."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import Lm


@pytest.mark.parametrize("verb", ["compare", "sweep", "recommend", "attack"])
def test_a_study_too(lm: Lm, tmp_path: Path, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmeraser_ray.pipeline.flow.load_backbone", None)  # not before the check
    words = ("--sweep", "partition.shards=1,2") if verb == "sweep" else ()
    said = lm(
        verb,
        *words,
        "--data.source",
        "folder",
        "--data.path",
        tmp_path / "nowhere",
        "--study",
        tmp_path / "study",
    )
    assert (said.code, "does not exist" in said.err) == (3, True), said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.thorough
def test_torch_is_not_imported_for_it(tmp_path: Path) -> None:
    """Which takes seconds."""
    code = (
        "import sys; from lmeraser_ray.cli.main import run; code = run(None, sys.argv[1:]); "
        "assert not {'torch', 'ray'} & set(sys.modules), 'slow'; sys.exit(code)"
    )
    words = ["--data.source", "folder", "--data.path", "nowhere"]
    for verb in (["train"], ["compare"], ["sweep", "--sweep", "seed=1"], ["recommend"], ["attack"]):
        place = [] if verb[0] == "train" else ["--study", "s"]
        done = subprocess.run(
            [sys.executable, "-c", code, *verb, *words, *place],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode in (2, 3), done.stderr
        assert "slow" not in done.stderr
        assert list(tmp_path.iterdir()) == []
