"""`make images` writes what the registries say, and nothing where one says nothing."""

import shutil
import subprocess
from pathlib import Path

import pytest

from k8s import digests
from k8s.rules import by_tag, images
from k8s.validate import OVERLAYS, render

DIGEST = "sha256:" + "5" * 64


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of k8s/, whose list is written."""
    there = tmp_path / "k8s"
    shutil.copytree(digests.HERE, there, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(digests, "LIST", there / "images" / "kustomization.yaml")
    return there


def registry(monkeypatch: pytest.MonkeyPatch, answer: str) -> list[str]:
    """A docker that answers so, and what it was asked for."""
    asked: list[str] = []

    def run(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(words[-1])
        return subprocess.CompletedProcess(words, 0, answer, "no such image")

    monkeypatch.setattr(digests.subprocess, "run", run)
    return asked


def test_digests_are_written_beside_the_tags(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    before = {overlay.name: render(overlay) for overlay in OVERLAYS}
    assert by_tag(before["local"]) != []
    with monkeypatch.context() as patched:
        asked = registry(patched, f'{{"digest": "{DIGEST}"}}')
        assert digests.main() == 0
        written = digests.LIST.read_text()
        assert digests.main() == 0 and digests.LIST.read_text() == written  # once more
    assert sorted(set(asked)) == sorted([*by_tag(before["local"]), *digests.base_images()])
    assert f"DIGEST=@{DIGEST}" in capsys.readouterr().out
    after = render(copied / "overlays" / "local")
    assert by_tag(after) == [] == list(images(after))
    assert f"image: redis:8.10.2@{DIGEST}" in str(after).replace("'", "")


@pytest.mark.parametrize("answer", ["", "{}", "[]", '{"digest": "sha256:1"}', '{"digest": null}'])
def test_what_is_no_digest_is_not_written(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    before = digests.LIST.read_text()
    registry(monkeypatch, answer)
    assert digests.main() == 5
    assert "gave no digest of postgres:17.11: no such image" in capsys.readouterr().err
    assert digests.LIST.read_text() == before


def test_without_docker(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert digests.main() == 5
    assert "docker is not installed" in capsys.readouterr().err
