"""Only `distributed/` knows Ray: everything else imports, and runs, where there is none."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "lmeraser_ray"
OUTSIDE = sorted(
    path for path in PACKAGE.rglob("*.py") if "distributed" not in path.relative_to(PACKAGE).parts
)


def imported(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_outside_imports_ray(path: Path) -> None:
    assert not {name for name in imported(path) if name.split(".")[0] == "ray"}


def test_the_search_finds_it_where_it_is() -> None:
    inside = [path for path in PACKAGE.rglob("*.py") if path not in OUTSIDE]
    assert any("ray" in imported(path) for path in inside)
    assert len(OUTSIDE) > 30


WITHOUT_RAY = """
import importlib, sys
class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "ray":
            raise ImportError("ray is forbidden here")
sys.meta_path.insert(0, Forbid())
for name in sys.argv[1:]:
    importlib.import_module(name)
try:
    import ray
except ImportError:
    print("imported", len(sys.argv) - 1)
"""


def test_everything_else_imports_without_ray() -> None:
    """In a process that has no Ray, one module after the other; and importing starts no work."""
    names = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in OUTSIDE
    ]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RAY, *names], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"imported {len(names)}\n", "")
