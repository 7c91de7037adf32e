"""The README is true: its example runs, its commands parse, its tables name what there is."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lmeraser_ray.cli.verbs import VERBS
from lmeraser_ray.cli.words import parse
from lmeraser_ray.config import presets
from lmeraser_ray.config.options import FIELDS, load_config
from lmeraser_ray.config.quickstart import quickstart
from lmeraser_ray.errors import LmeraserError

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    """Every `lmeraser` command line in the README and in the configurations' first lines."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    lines += [
        path.read_text().splitlines()[0].lstrip("# ")
        for path in sorted((ROOT / "configs").rglob("*.yaml"))
    ]
    words = [
        shlex.split(re.split(r"\s\(", line)[0], comments=True)
        for line in lines
        if "lmeraser" in line
    ]
    return [line[1:] for line in words if line[0].endswith("lmeraser")]


def jobs() -> list[str]:
    """Every `ray job submit` command of the README and of the jobs' first lines."""
    texts = [README, *(path.read_text() for path in sorted((ROOT / "jobs").glob("*.py")))]
    joined = [re.sub(r"\s*\\{1,2}\n\s*", " ", text) for text in texts]
    found = {line for text in joined for line in re.findall(r"^ *(ray job submit .*)", text, re.M)}
    return sorted(found)


@pytest.mark.long
def test_the_example_runs(tmp_path: Path) -> None:
    """The Python example, as it stands, in a process of its own."""
    [example] = blocks("python")
    (tmp_path / "example.py").write_text(example)
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sum(line.strip().startswith("assert") for line in example.splitlines()) >= 5


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_documented_command_is_understood(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verbs, options and fields of each command line exist; named configurations load."""
    monkeypatch.chdir(ROOT)
    args = parse(VERBS[words[0]], words[1:])
    assert all(name in FIELDS for name, _ in args.overrides)
    config = getattr(args, "config", None)
    if config and config.exists():
        load_config(config, args.overrides)


@pytest.mark.parametrize("line", jobs())
def test_every_documented_job_is_understood(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scripts, options and fields of each exist, from where Ray unpacks a job too: no folder in it
    goes with the job."""
    unpacked = tmp_path / "runtime_resources/working_dir_files/job"
    unpacked.mkdir(parents=True)
    monkeypatch.chdir(unpacked)
    words = shlex.split(line, comments=True)
    script, *ours = words[words.index("python") + 1 :]
    [verb] = re.findall(r'main\("(\w+)"\)', (ROOT / script).read_text())
    args = parse(VERBS[verb], ours)
    if getattr(args, "config", None):
        load_config(ROOT / args.config, args.overrides)


def test_every_job_is_documented() -> None:
    """Each script of `jobs/` has its command in the README, and in its own first lines."""
    scripts = sorted((ROOT / "jobs").glob("*.py"))
    assert scripts
    for path in scripts:
        assert all(
            f" -- python jobs/{path.name} " in text for text in (README, path.read_text())
        ), path.name


def test_every_verb_and_exit_code_is_documented() -> None:
    """The tables are complete."""
    families = [LmeraserError, *LmeraserError.__subclasses__()]
    assert all(f"| `{name}" in README for name in VERBS)
    assert all(f"| {family.exit_code} |" in README for family in families[1:])


def test_every_system_is_documented() -> None:
    """The table of systems is complete."""
    assert all(f"`{name}`" in README for name in presets.names())


def test_make_targets_exist() -> None:
    """What the README tells to type is in the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", README, re.MULTILINE))
    assert {"demo", "test", "lint"} <= targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_the_quickstart_file_is_the_quickstart() -> None:
    """`train` without arguments, with `configs/quickstart.yaml` and with the system `lmeraser` are
    the same."""
    assert (
        load_config(ROOT / "configs" / "quickstart.yaml", [])
        == load_config(None, [])
        == quickstart()
    )
    assert load_config(None, [], system="lmeraser") == quickstart()


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda path: path.name
)
def test_every_configuration_opens_with_its_command(path: Path) -> None:
    """A reader sees first how to run it, and it loads."""
    assert path.read_text().startswith("# lmeraser ")
    load_config(path, [])
