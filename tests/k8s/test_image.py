"""The Dockerfile, as far as it can be told without building it: what it copies is there, versions
agree, nobody is root."""

import fnmatch
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text()).splitlines()
IGNORED = [
    line
    for line in (ROOT / ".dockerignore").read_text().splitlines()
    if line and not line.startswith("#")
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instruction(name: str) -> list[str]:
    """The arguments of every instruction of a name."""
    return [line.partition(" ")[2] for line in LINES if line.startswith(f"{name} ")]


def copied() -> list[str]:
    """What is copied from the repository."""
    words = [word for line in instruction("COPY") for word in line.split()[:-1]]
    return [word for word in words if not word.startswith("--")]


def sent(name: str) -> bool:
    """Whether .dockerignore lets a top-level name through: the last pattern that fits decides."""
    verdicts = [
        pattern.startswith("!")
        for pattern in IGNORED
        if fnmatch.fnmatch(name, pattern.removeprefix("!"))
    ]
    return not verdicts or verdicts[-1]


def test_what_it_copies_is_there_and_is_sent() -> None:
    assert {"constraints.txt", "pyproject.toml", "lmeraser_ray", "configs"} <= set(copied())
    for name in copied():
        assert (ROOT / name).exists(), name
        assert sent(name), f".dockerignore leaves {name} out"
    assert PROJECT["readme"] in copied()  # without it the package does not build
    assert not any(map(sent, (".git", ".venv", "workspace", "demo-workspace", "keys", "tests")))


def test_its_versions_are_those_that_are_tested() -> None:
    constraints = dict(
        re.findall(r"^([\w.-]+)==(\S+) \\$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    )
    [image] = instruction("FROM")
    found = re.fullmatch(r"rayproject/ray:([\d.]+)-py(\d)(\d+)\$\{VARIANT\}\$\{DIGEST\}", image)
    assert found and found[1] == constraints["ray"]
    assert (int(found[2]), int(found[3])) >= tuple(
        map(int, re.findall(r"\d+", PROJECT["requires-python"]))
    )
    assert instruction("ARG") == ["VARIANT=", "DIGEST="]
    [install] = instruction("RUN")
    assert "--require-hashes --requirement constraints.txt" in install
    assert "--no-deps --no-build-isolation ." in install
    tags = re.findall(r"--tag lmeraser-ray:([\w.-]+)", (ROOT / "Dockerfile").read_text())
    assert tags == [PROJECT["version"], f"{PROJECT['version']}-gpu"]


def test_nobody_is_root() -> None:
    """By number: Kubernetes cannot tell of a name whether it is root's."""
    assert instruction("USER")[-1] == "1000:100"
    manifest = (ROOT / "k8s" / "base" / "queue.yaml").read_text()
    assert "runAsUser: 1000" in manifest and "runAsGroup: 100" in manifest
