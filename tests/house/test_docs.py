"""The pages are true: their commands are understood, their examples run, their tables are complete,
and the generated reference has every verb, option and field."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lmeraser_ray import __version__
from lmeraser_ray.cli.verbs import VERBS
from lmeraser_ray.cli.words import parse, parser_of
from lmeraser_ray.config import presets
from lmeraser_ray.config.options import FIELDS, load_config
from lmeraser_ray.errors import LmeraserError
from tests.support.pages import PAGES, ROOT, blocks, commands, jobs, lines, name_of

COMMANDS = [(name_of(page), words) for page in PAGES for words in commands(page.read_text())]
SCRIPTS = sorted((ROOT / "jobs").glob("*.py"))
JOBS = sorted({job for page in [*PAGES, *SCRIPTS] for job in jobs(page.read_text())})
ELSEWHERE = ("README.md", "docs/tutorial.md")
"""Their examples run in tests of their own."""
EXAMPLES = [
    page for page in PAGES if blocks(page.read_text(), "python") and name_of(page) not in ELSEWHERE
]


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    """What MkDocs calls."""
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec and spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=[f"{page}: {' '.join(words)}" for page, words in COMMANDS]
)
def test_every_command_is_understood(
    page: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verbs, options and fields of each command line exist; named configurations load."""
    monkeypatch.chdir(ROOT)
    args = parse(VERBS[words[0]], words[1:])
    assert all(name in FIELDS for name, _ in args.overrides)
    config = getattr(args, "config", None)
    if config and config.exists():
        load_config(config, args.overrides)


def test_every_verb_that_is_named_exists() -> None:
    """Also in running text."""
    named = {
        verb for page in PAGES for verb in re.findall(r"`lmeraser ([a-z]+)\b", page.read_text())
    }
    assert len(named) > 15
    assert named <= {*VERBS, "help", "version"}


@pytest.mark.parametrize("line", JOBS)
def test_every_job_is_understood(
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
    """Each script of `jobs/` has its command in the guide, and in its own first lines."""
    guide = ROOT / "docs" / "guides" / "clusters.md"
    assert SCRIPTS
    for script in SCRIPTS:
        for text in (guide.read_text(), script.read_text()):
            assert any(f" -- python jobs/{script.name} " in job for job in jobs(text)), script.name


def test_tables_are_complete() -> None:
    """Exit codes and systems."""
    codes = (ROOT / "docs" / "reference" / "exit-codes.md").read_text()
    systems = (ROOT / "docs" / "guides" / "systems.md").read_text()
    families = [LmeraserError, *LmeraserError.__subclasses__()]
    assert all(f"| {family.exit_code} |" in codes for family in families)
    assert all(f"`{name}`" in systems for name in presets.names())


def test_the_generated_reference_has_everything(hooks: ModuleType) -> None:
    verbs, fields = hooks.verbs(), hooks.configuration()
    for name, verb in VERBS.items():
        section = verbs.split(f"\n## {name}\n")[-1].split("\n## ")[0]
        own = {
            option
            for action in parser_of(verb)._actions
            for option in action.option_strings
            if option.lstrip("-") not in {*FIELDS, "help", "h", "json", "quiet", verb.folder}
        }
        assert set(re.findall(r"(--[a-z_]+)[ `]", section)) >= own, name
    for name in FIELDS:  # a section of several kinds has a heading for each
        assert f"| `{name}` |" in fields or f"### {name}: " in fields, name
    assert hooks.metrics().count("| `ray_lmeraser_") >= 10


def test_each_page_asks_for_what_is_generated(hooks: ModuleType) -> None:
    markers = [name for page in PAGES for name in hooks.MARKER.findall(page.read_text())]
    assert sorted(markers) == sorted(hooks.GENERATED)
    page = hooks.on_page_markdown("before\n\n<!-- generated: metrics -->\n\nafter")
    assert page.startswith("before\n\n| metric |") and page.endswith("\n\nafter")


def test_images_have_the_version_of_the_code() -> None:
    tags = {
        tag for page in PAGES for tag in re.findall(r"lmeraser-ray:([\d.]+\d)", page.read_text())
    }
    assert tags == {__version__}


def test_each_word_of_the_glossary_is_there_once() -> None:
    words = re.findall(
        r"^\| \*\*(.+?)\*\* \|", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE
    )
    assert len(words) == len(set(words)) == 26
    assert words == sorted(words)


def test_lines_are_of_100_columns() -> None:
    """Tables, pictures, blocks of code and what programs wrote apart."""
    for page in PAGES:
        if page.parent.name == "results":
            continue
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        long = [line for line in text.splitlines() if len(line) > 100 and line[0] not in "|!"]
        assert long == [], name_of(page)


@pytest.mark.long
@pytest.mark.parametrize("page", EXAMPLES, ids=name_of)
def test_the_python_examples_run(page: Path, tmp_path: Path) -> None:
    """Each page's, as they stand, in a process and a folder of their own."""
    for at, example in enumerate(blocks(page.read_text(), "python")):
        script = tmp_path / f"example{at}.py"
        script.write_text(example)
        done = subprocess.run(
            [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_tutorial_runs(tmp_path: Path) -> None:
    """All of its programs and commands, in their order, in one shell that stops at the first
    failure. `~` is a folder of the test's own."""
    text = (ROOT / "docs" / "tutorial.md").read_text()
    program, pipeline = [blocks(text, kind) for kind in ("python", "yaml")]
    (tmp_path / "pictures.py").write_text("".join(program))
    (tmp_path / "pictures.yaml").write_text("".join(pipeline))
    subprocess.run([sys.executable, "pictures.py"], cwd=tmp_path, check=True)
    (tmp_path / "bin").mkdir()
    lmeraser = tmp_path / "bin" / "lmeraser"
    lmeraser.write_text(f'#!/bin/sh\nexec {sys.executable} -m lmeraser_ray "$@"\n')
    lmeraser.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "XDG_CONFIG_HOME"}
    shell = [line for block in blocks(text, "sh") for line in lines(block)]
    done = subprocess.run(
        ["bash", "-euxc", "\n".join(shell)],
        cwd=tmp_path,
        env=environment
        | {
            "HOME": str(tmp_path),
            "PATH": f"{lmeraser.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for line in (
        "30 trained, 0 reused",
        "CERTIFIED",
        "1 of 30 constituents trained again",
        "ok: the signature is that of the key",
        "rebuilt from the live records, every byte is equal",
        "2 requests, 2 certificates verified",
    ):
        assert line in done.stdout
