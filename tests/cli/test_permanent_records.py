"""Permanent records from the command line: named, counted, shared, erased."""

from pathlib import Path

from tests.support.command_line import Lm, Place, expect_refused


def test_from_a_file_to_an_erasure(lm: Lm, made: Place, tmp_path: Path) -> None:
    """Somebody else's erasure clusters nothing again; a permanent person's does, and says so."""
    staff = [f"person-{n}" for n in range(0, 12, 2)]
    listed, space = tmp_path / "staff.txt", tmp_path / "new"
    listed.write_text("".join(f"{name}\n" for name in [*staff, "nobody"]))
    words = ("train", "--config", made.config, "--workspace", space, "--data.permanent", listed)
    chosen = ("--partition.sampled", "permanent")
    said = lm(*words, *chosen)
    assert said.code == 0
    assert "data.permanent names 1 subject of whom no record was read." in said.err
    assert "permanent) in" in said.out
    count = lm(*words, *chosen, "--json").json["permanent_records"]
    assert 0 < count <= 2 * len(staff)
    assert "for a permanent record, " in lm("cost", "--workspace", space).out
    assert "for a permanent record, " not in lm("cost", "--workspace", made.root).out
    for person, moves in (("person-1", False), ("person-3", False), ("person-4", True)):
        done = lm("unlearn", "--workspace", space, "--subjects", person, "--json").json
        assert done["reclustered"] is moves
    again = lm(*words, *chosen, "--json").json
    assert again["permanent_records"] == count - 2
    assert again["trained"] == 0


def test_where_nobody_is_permanent(lm: Lm, made: Place, tmp_path: Path) -> None:
    (tmp_path / "staff.txt").write_text("nobody\n")
    space = tmp_path / "new"
    words = ("train", "--config", made.config, "--workspace", space)
    chosen = ("--partition.sampled", "permanent")
    expect_refused(lm(*words, *chosen), 2, "nothing says which records are")
    named = ("--data.permanent", tmp_path / "staff.txt")
    expect_refused(lm(*words, *chosen, *named), 3, "No training record is permanent")
    assert not space.exists()
