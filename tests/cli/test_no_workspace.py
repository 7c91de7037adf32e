"""A verb that is given no workspace says so in one line, and writes nothing there."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import Lm, Place

VERBS = {
    "predict": ["picture.png"],
    "evaluate": [],
    "cost": [],
    "unlearn": ["--records", "a"],
    "submit": ["--records", "a"],
    "status": [],
    "wait": ["er-1"],
    "cancel": ["er-1", "--reason", "no"],
    "refuse": ["er-1", "--reason", "no"],
    "extend": ["er-1", "--reason", "no"],
    "retry": ["er-1"],
    "queue run": [],
    "queue serve": [],
    "queue status": [],
    "queue watch": [],
    "certificate": ["er-1"],
    "verify": [],
    "verify --rebuild": [],
    "audit": [],
    "audit --rebuild": [],
    "fingerprint": [],
    "diversity": [],
    "backup": ["--to", "b.tar"],
    "backup --erasures b.json": [],
    "figures": ["--out", "f"],
}


def missing(_: Path) -> None:
    """Nothing is there."""


def file(root: Path) -> None:
    root.write_bytes(b"a file")


def empty(root: Path) -> None:
    root.mkdir()


def foreign(root: Path) -> None:
    root.mkdir()
    (root / "notes.txt").write_bytes(b"notes")


def repository(root: Path) -> None:
    """Another program's folder, in which there is an `objects` too."""
    (root / "objects" / "pack").mkdir(parents=True)
    (root / "objects" / "pack" / "data").write_bytes(b"a pack")
    (root / "HEAD").write_bytes(b"ref: refs/heads/main")


def half(root: Path) -> None:
    """What is no configuration, and no pointer."""
    repository(root)
    (root / "configuration.json").write_bytes(b'{"editor": "vi"}')


def seen(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that is in a folder."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mode,
            path.stat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("make", [missing, file, empty, foreign, repository, half])
def test_nothing_is_written(
    lm: Lm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None]
) -> None:
    """2 where there is no workspace; 3 or 4 where something may be one that was never trained, or
    is damaged."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LMERASER_KEYS", str(tmp_path / "keys"))
    assert lm("keys", "init").code == 0
    root = tmp_path / "some"
    make(root)
    before = seen(tmp_path)
    for verb, words in VERBS.items():
        said = lm(*verb.split(), *words, "--workspace", root)
        wanted = {2} if make not in (repository, half) else {2, 3, 4}
        assert said.code in wanted, (verb, said)
        assert len(said.err.splitlines()) == 1, (verb, said)
        assert "lmeraser: error:" in said.err, (verb, said)
        assert said.out == "", (verb, said)
        assert seen(tmp_path) == before, verb


def test_a_workspace_of_an_unreachable_kind(lm: Lm, place: Place) -> None:
    """A part of a workspace is none."""
    before = seen(place.root)
    said = lm("audit", "--workspace", place.root / "objects")
    assert (said.code, seen(place.root)) == (2, before)
