"""All that commands create is its owner's alone, whatever the umask."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmeraser_ray.study.study_folder import StudyFolder
from tests.support.command_line import Lm, Place

pytestmark = pytest.mark.long


@pytest.fixture(params=[0o000, 0o022, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def loose(folder: Path) -> dict[str, str]:
    """What somebody else may read or write, or its owner may not, by its mode."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        mode = path.lstat().st_mode
        wanted = 0o700 if stat.S_ISDIR(mode) else 0o600
        if stat.S_IMODE(mode) != wanted:
            found[str(path.relative_to(folder.parent))] = oct(stat.S_IMODE(mode))
    return found


def test_modes(
    lm: Lm, made: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o700)
    root, out = home / "a" / "b" / "workspace", home / "out"
    out.mkdir()
    out.chmod(0o700)
    monkeypatch.setenv("LMERASER_KEYS", str(home / "keys" / "mine"))
    words = ["--workspace", root]
    assert lm("keys", "init").code == 0
    assert lm("train", "--config", made.config, *words).code == 0
    name = Place(made.world, made.config, root).id()
    said = lm("submit", *words, "--records", name, "--json").json
    assert lm("queue", "run", *words).code == 0
    request = said["request"]
    assert lm("certificate", request, *words, "--output", out / "certificate.json").code == 0
    assert lm("audit", *words, "--head", out / "head.json").code == 0
    assert lm("verify", "--rebuild", *words).code == 0
    assert lm("keys", "rotate").code == 0
    files = ("--to", out / "b.tar", "--erasures", out / "b.json")
    assert lm("backup", *words, *files).code == 0
    restored = ("--workspace", home / "c" / "restored", "--from", out / "b.tar")
    assert lm("restore", *restored, "--no_later_erasures").code == 0
    assert lm("figures", *words, "--out", home / "d" / "figures").code == 0
    study = StudyFolder(home / "e" / "study")
    study.create()
    study.note("run", {}, {})
    study.write("study.json", b"{}")
    with study.store(keep=True):
        pass
    assert loose(home) == {}
    assert umask == os.umask(umask), "a command changed the umask of its process"
