"""`lmeraser secret`, and what the other verbs say of tombstones and of a secret outside."""

from pathlib import Path

import pytest

from tests.support.command_line import Lm, Place, expect_refused


def test_a_secret_is_moved_rotated_and_retired(
    lm: Lm, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = ("--workspace", place.root)
    said = lm("secret", "show", *where)
    assert said.code == 0
    assert said.out.splitlines()[0].startswith("the secret lies in the workspace: whoever copies")
    assert "* version 1" in said.out
    to = tmp_path / "elsewhere"
    moved = lm("secret", "move", *where, "--to", to)
    assert moved.code == 0
    assert f"set LMERASER_SECRET=file:{to}" in moved.err
    expect_refused(lm("secret", "show", *where), 2, "LMERASER_SECRET")
    monkeypatch.setenv("LMERASER_SECRET", f"file:{to}")
    rotated = lm("secret", "rotate", *where, "--json").json
    assert (rotated["place"], [one["version"] for one in rotated["versions"]]) == ("file", [1, 2])
    retired = lm("secret", "retire", *where)
    assert "retired" in retired.out
    assert "* version 2" in retired.out
    assert lm("train", "--config", place.config, *where).code == 0


def test_status_and_audit_say_how_long_the_erased_are_known(
    lm: Lm, place: Place, tmp_path: Path
) -> None:
    where = ("--workspace", place.root)
    assert lm("unlearn", *where, "--records", place.world.ids[3]).code == 0
    assert "1 tombstones, kept as long as the workspace" in lm("status", *where).out
    assert lm("audit", *where, "--json").json["erased"] == {
        "tombstones": 1,
        "days": None,
        "due": 0,
        "next": None,
        "announced": None,
    }
    kept = lm("audit", *where, "--queue.tombstone_days", "400")
    assert "1 tombstones, kept 400 days; the next is due on 20" in kept.out
