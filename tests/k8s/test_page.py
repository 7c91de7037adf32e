"""docs/guides/kubernetes.md is true: its commands parse, what they name is in the manifests, its
table and numbers are those of the repository."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from k8s.documents import Document, title
from k8s.validate import OVERLAYS, render
from lmeraser_ray.cli.verbs import VERBS
from lmeraser_ray.cli.words import parse
from tests.support.manifest_mistakes import MISTAKES, SCHEMA
from tests.support.secret_mistakes import SECRETS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guides" / "kubernetes.md").read_text()
LINES = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]
INNER = [
    line
    for outer in LINES
    for line in re.findall(r"sh -c '(lmeraser [^']*)'", outer) or [outer]
    if line.startswith("lmeraser ")
]


@pytest.fixture(scope="module")
def documents() -> dict[str, Document]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    return {
        title(document): document
        for document in render(next(path for path in OVERLAYS if path.name == "local"))
    }


@pytest.mark.parametrize("line", INNER)
def test_every_command_of_ours_is_understood(line: str) -> None:
    _, verb, *words = shlex.split(line)
    parse(VERBS[verb], words)


def test_commands_are_among_them() -> None:
    assert {line.split()[1] for line in INNER} == {
        "keys",
        "submit",
        "wait",
        "certificate",
        "verify",
    }


def test_what_kubectl_is_told_of_is_there(documents: dict[str, Document]) -> None:
    jobs = {name for line in LINES for name in re.findall(r"rayjob[ /](\w+)", line)}
    assert jobs and all(f"RayJob/{name}" in documents for name in jobs)
    targets = {
        (name, container)
        for line in LINES
        for name, container in re.findall(r"exec deployment/(\w+) -c (\w+)", line)
    }
    assert targets == {("queue", "serve")}
    assert set(re.findall(r"exec deployment/(\w+)", PAGE)) == {"queue", "desk"}
    assert "serve" in [
        container["name"]
        for container in documents["Deployment/queue"]["spec"]["template"]["spec"]["containers"]
    ]
    assert (
        "secret lmeraser " in PAGE and "RayCluster/lmeraser" in documents
    )  # the operator names the token's secret so


def test_files_and_folders_are_there() -> None:
    named = re.findall(r"(?:-k|-f) (k8s/\S+)", PAGE)
    assert len(named) >= 2 and all((ROOT / name).exists() for name in named)
    listed = set(re.findall(r"^\| `([\w/]+)` \|", PAGE, re.MULTILINE))
    kustomized = {
        str(path.parent.relative_to(ROOT / "k8s"))
        for path in (ROOT / "k8s").rglob("kustomization.yaml")
    }
    assert listed == {name for name in kustomized if name.count("/") < 2}


def test_its_numbers() -> None:
    assert f"plants {len(SCHEMA) + len(MISTAKES) + len(SECRETS)} mistakes" in PAGE
    tags = re.findall(r"lmeraser-ray:([\d.]+)", PAGE)
    assert set(tags) == set(
        re.findall(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    )
