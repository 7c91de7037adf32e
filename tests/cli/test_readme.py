"""The README is short and true: its example runs, what it says to type exists, and the
configurations open with their commands. `tests/house/test_docs.py` parses its commands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lmeraser_ray.cli.verbs import VERBS
from lmeraser_ray.cli.words import parse
from lmeraser_ray.config.options import FIELDS, load_config
from lmeraser_ray.config.quickstart import quickstart
from tests.support.pages import ROOT, blocks, commands

README = (ROOT / "README.md").read_text()
CONFIGURATIONS = sorted((ROOT / "configs").rglob("*.yaml"))


def test_it_is_short() -> None:
    """One screen says what it is, and the rest is elsewhere."""
    lines = README.splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 100] == []


@pytest.mark.long
def test_the_example_runs(tmp_path: Path) -> None:
    """The Python example, as it stands, in a process of its own."""
    [example] = blocks(README, "python")
    (tmp_path / "example.py").write_text(example)
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sum(line.strip().startswith("assert") for line in example.splitlines()) >= 5


def test_make_targets_exist() -> None:
    """What README and CONTRIBUTING tell to type is in the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    told = README + (ROOT / "CONTRIBUTING.md").read_text()
    targets = set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", told, re.MULTILINE))
    assert {"demo", "test", "lint", "docs"} <= targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_the_quickstart_is_the_system_lmeraser_on_the_digits() -> None:
    """Named, in `configs/quickstart.yaml`, and as data and backbone with a system."""
    digits = ROOT / "configs" / "digits.yaml"
    assert (
        load_config(ROOT / "configs" / "quickstart.yaml", [])
        == load_config(Path("quickstart"), [])
        == quickstart()
        == load_config(digits, [], system="lmeraser")
    )


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_every_configuration_opens_with_its_command(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader sees first how to run it, the command is understood, and the file loads."""
    monkeypatch.chdir(ROOT)
    first = path.read_text().splitlines()[0]
    assert first.startswith("# lmeraser ")
    [[verb, *words]] = commands(f"```sh\n{first[2:]}\n```")
    args = parse(VERBS[verb], words)
    assert all(name in FIELDS for name, _ in args.overrides)
    load_config(path, args.overrides)
