"""`lmeraser doctor`: what it prints, and its exit codes."""

from pathlib import Path

import pytest

from tests.support.command_line import Lm, Place


def test_a_workspace(lm: Lm, made: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("lmeraser_ray.operations.doctor.NEEDED_BYTES", 1)
    said = lm("doctor", "--workspace", made.root)
    assert said.code == 0, said
    assert len(said.out.splitlines()) == 6
    monkeypatch.setenv("LMERASER_KEYS", str(tmp_path / "no keys"))
    said = lm("doctor", "--workspace", made.root, "--json")
    assert (said.code, said.json["ready"]) == (5, False)
    [wrong] = [each for each in said.json["findings"] if each["ready"] is False]
    assert wrong["what"] == "keys"
