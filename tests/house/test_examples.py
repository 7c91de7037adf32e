"""The examples in docstrings: each runs as it stands, in a folder of its own."""

import doctest
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "lmeraser_ray"


def modules() -> Iterator[str]:
    """Yield the modules whose docstrings hold an example."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if ">>>" in path.read_text():
            name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
            yield name.removesuffix(".__init__")


@pytest.mark.parametrize("name", list(modules()))
def test_the_examples_hold(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert ran.attempted > 0
    assert ran.failed == 0, capsys.readouterr().out
