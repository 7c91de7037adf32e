"""The overlays are sound, and mistakes that are planted in them are found, each by a sentence that
names the document and the field."""

import copy
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from k8s.documents import Document, title
from k8s.validate import OVERLAYS, Schemas, examine, load_schemas, main, render
from tests.support.manifest_mistakes import GONE, MISTAKES, SCHEMA
from tests.support.secret_mistakes import SECRETS

ROOT = Path(__file__).parents[2]
CRDS = Path(os.environ.get("CRDS") or ROOT.parent / "shared" / "crds")

Overlays = dict[str, list[Document]]


@pytest.fixture(scope="module")
def overlays() -> Overlays:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    return {folder.name: render(folder) for folder in OVERLAYS}


@pytest.fixture(scope="module")
def schemas() -> Schemas:
    if not CRDS.is_dir():
        pytest.skip(f"KubeRay's CustomResourceDefinitions are not in {CRDS} (CRDS=DIR)")
    return load_schemas(CRDS)


def found(documents: Sequence[Document], schemas: Schemas | None = None) -> list[str]:
    return [str(finding) for finding in examine(documents, schemas or {})]


def planted(
    overlays: Overlays, overlay: str, document: str, field: str, value: object
) -> list[Document]:
    """The documents of an overlay with one field of one document changed, or gone."""
    documents = copy.deepcopy(overlays[overlay])
    [at] = [at for at, one in enumerate(documents) if title(one) == document]
    *steps, last = [int(step) if step.isdigit() else step for step in re.split(r"(?<!\\)\.", field)]
    here = documents[at]
    for step in steps:
        here = here[step]
    last = last.replace("\\.", ".") if isinstance(last, str) else last
    if value is GONE:
        del here[last]
    else:
        here[last] = value(here[last]) if callable(value) else value
    return documents


def test_the_overlays_are_sound(overlays: Overlays) -> None:
    assert set(overlays) == {"local", "gpu", "autoscaling"}
    for documents in overlays.values():
        assert found(documents) == []


def test_the_overlays_are_what_kuberay_knows(overlays: Overlays, schemas: Schemas) -> None:
    assert {kind for _, kind in schemas} >= {"RayCluster", "RayJob"}
    for documents in overlays.values():
        assert found(documents, schemas) == []


@pytest.mark.parametrize(
    ("overlay", "document", "field", "value", "named"),
    SCHEMA,
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_kuberays_schemas_find(
    overlays: Overlays,
    schemas: Schemas,
    overlay: str,
    document: str,
    field: str,
    value: object,
    named: str,
) -> None:
    [sentence] = found(planted(overlays, overlay, document, field, value), schemas)
    assert sentence.startswith(document) and named in sentence


@pytest.mark.parametrize(
    ("overlay", "document", "field", "value", "named"),
    [*MISTAKES, *SECRETS],
    ids=[
        f"{overlay} {document} {field.rpartition('.')[2]} {at}"
        for at, (overlay, document, field, _, _) in enumerate([*MISTAKES, *SECRETS])
    ],
)
def test_a_planted_mistake_is_found(
    overlays: Overlays, overlay: str, document: str, field: str, value: object, named: str
) -> None:
    sentences = found(planted(overlays, overlay, document, field, value))
    assert any(named in sentence for sentence in sentences), sentences
    if not document.startswith("ConfigMap"):  # what it sets is found where it is used
        assert all(sentence.startswith(document) for sentence in sentences)


def test_a_document_of_no_known_kind_is_found(overlays: Overlays) -> None:
    stranger = {"apiVersion": "example.org/v1", "kind": "Stranger", "metadata": {"name": "x"}}
    assert found([*overlays["local"], stranger]) == [
        "Stranger/x kind: Stranger of example.org/v1 has no schema."
    ]


def test_the_command_says_what_it_left_out(
    overlays: Overlays, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit codes, and a visible word where KubeRay's schemas are not given."""
    assert main(["--overlay", str(ROOT / "k8s" / "overlays" / "local")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"local: {len(overlays['local'])} documents, 0 mistakes"
    assert lines[1].startswith("BY TAG, NOT BY DIGEST: ghcr.io/versity/versitygw:v1.8.0, postgres")
    assert lines[2].startswith("NOT VALIDATED: RayCluster")
    (tmp_path / "kustomization.yaml").write_text("resources: [pod.yaml]\n")
    assert main(["--overlay", str(tmp_path)]) == 4
    (tmp_path / "pod.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {container: []}\n"
    )
    assert main(["--overlay", str(tmp_path)]) == 4
    assert "Pod/x spec" in capsys.readouterr().out
    assert main(["--crds", str(tmp_path / "nothing")]) == 2


def test_without_kubectl_it_says_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "k8s.validate"],
        cwd=ROOT,
        env={**os.environ, "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5 and "Install kubectl" in done.stderr
