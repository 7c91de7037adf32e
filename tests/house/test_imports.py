"""The order of the folders: imports run down, never in a circle, and Ray is in `distributed/` only.

The contracts are import-linter's, in pyproject.toml.
"""

import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[2]
PYPROJECT = ROOT / "pyproject.toml"
CONTRACTS = tomllib.loads(PYPROJECT.read_text())["tool"]["importlinter"]["contracts"]


def lint(config: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Return import-linter's exit code and report."""
    code = lint_imports(str(config), no_cache=True)
    return code, capsys.readouterr().out


def test_the_contracts_hold(capsys: pytest.CaptureFixture[str]) -> None:
    code, report = lint(PYPROJECT, capsys)
    assert code == 0, report


def test_without_its_exceptions_each_contract_is_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A control: the contracts do see the door to Ray, and Ray itself."""
    strict = tmp_path / "strict.toml"
    head = (
        '[tool.importlinter]\nroot_packages = ["lmeraser_ray"]\ninclude_external_packages = true\n'
    )
    strict.write_text(head + "".join(map(without_exceptions, CONTRACTS)))
    code, report = lint(strict, capsys)
    assert code == 1
    assert [f"{each['name']} BROKEN" in report for each in CONTRACTS] == [True] * 3, report


def without_exceptions(contract: dict[str, object]) -> str:
    """Return a contract as TOML, without the imports that it ignores."""
    lines = [
        f"{name} = {str(value).lower() if isinstance(value, bool) else repr(value)}\n"
        for name, value in contract.items()
        if name != "ignore_imports"
    ]
    return "".join(["[[tool.importlinter.contracts]]\n", *lines])


def test_no_module_is_in_a_circle() -> None:
    """Each `__init__` included, which "No circles" leaves out: it compares siblings."""
    graph = grimp.build_graph("lmeraser_ray", cache_dir=None)
    graph.remove_import(
        importer="lmeraser_ray", imported="lmeraser_ray.operations.workspace"
    )  # made when somebody asks for `Workspace`
    for module in graph.find_children("lmeraser_ray.distributed"):
        graph.remove_import(importer="lmeraser_ray.pipeline.engines", imported=module)
    TopologicalSorter(
        {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    ).prepare()  # raises CycleError, which names the modules


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
    modules = grimp.build_graph("lmeraser_ray", cache_dir=None).modules
    names = sorted(name for name in modules if name.split(".")[1:2] != ["distributed"])
    assert len(names) > 200
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RAY, *names], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"imported {len(names)}\n", "")
