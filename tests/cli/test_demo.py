"""The demonstration, whole, on a tiny backbone."""

from pathlib import Path

import pytest

from lmeraser_ray.cli import main as cli


@pytest.mark.long
def test_the_demonstration_shows_each_command_and_ends_with_a_table(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny = "--backbone.name tiny --backbone.weights random --backbone.input_size 16"
    words = [*tiny.split(), "--backbone.readout.layer", "null", "--learner.epochs", "1"]
    root = tmp_path / "demo"
    assert cli.run("demo", ["--workspace", str(root), "--execution.engine", "inline", *words]) == 0
    out, err = capfd.readouterr()
    typed = [line.split()[2] for line in out.splitlines() if line.startswith("$ lmeraser ")]
    assert typed == [
        *("train", "predict", "cost", "unlearn", "unlearn", "certificate"),
        *("evaluate", "verify", "audit"),
    ]
    _, table = out.split("what happened")
    assert "verify by rebuilding" in table and "fingerprints equal" in table
    assert "10 removed" in table and "DIFFER" not in table and "LATE" not in table
    assert "error" not in err
