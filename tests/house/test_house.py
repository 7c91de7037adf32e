"""The house rules that a machine can check: exit codes, docstrings, and the length of files and
functions."""

import ast
import inspect
from pathlib import Path

import pytest

from lmeraser_ray import errors
from lmeraser_ray.cli import main as cli
from lmeraser_ray.cli.verb import Report, Verb
from lmeraser_ray.cli.verbs import VERBS
from lmeraser_ray.errors import INTERRUPTED, LmeraserError
from lmeraser_ray.pipeline.progress import Progress

PACKAGE = Path(__file__).parents[2] / "lmeraser_ray"
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in FILES]
FAMILIES = {
    "ConfigError": 2,
    "DataError": 3,
    "PictureError": 3,
    "VerificationError": 4,
} | dict.fromkeys(("ExecutionError", "StaleEpochError", "DiskFullError"), 5)


def leaves(kind: type[LmeraserError]) -> set[type[LmeraserError]]:
    return {kind}.union(*(leaves(child) for child in kind.__subclasses__()))


def test_the_tree_of_errors_is_in_one_file_and_documented() -> None:
    documented = inspect.getdoc(errors) or ""
    for kind in leaves(LmeraserError) - {LmeraserError}:
        assert kind.__module__ == "lmeraser_ray.errors"
        assert kind.exit_code == FAMILIES[kind.__name__]
        assert kind.__name__ in documented
    assert {kind.__name__ for kind in leaves(LmeraserError)} == {"LmeraserError", *FAMILIES}
    assert INTERRUPTED == 130


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_has_its_code(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_raising(getattr(errors, name)("what was found"), monkeypatch) == FAMILIES[name]
    assert capsys.readouterr() == ("", "lmeraser: error: what was found\n")


def test_ctrl_c_and_a_closed_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_raising(KeyboardInterrupt(), monkeypatch) == 130
    assert "run the same command again" in capsys.readouterr().err


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no user's fault keeps its traceback."""
    with pytest.raises(ZeroDivisionError):
        run_raising(ZeroDivisionError(), monkeypatch)


def run_raising(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def fail(_: object, __: Progress) -> Report:
        raise error

    monkeypatch.setitem(VERBS, "fail", Verb("fail", fail))
    return cli.run("fail", [])


def public(path: Path) -> list[ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef]:
    """The functions, classes and methods of a file that others may use."""

    def within(body: list[ast.stmt]) -> list[ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef]:
        found = []
        for node in body:
            if isinstance(
                node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef
            ) and not node.name.startswith("_"):
                found.append(node)
                if isinstance(node, ast.ClassDef):
                    found += within(node.body)
        return found

    return within(ast.parse(path.read_text()).body)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_what_is_public_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module"
    assert [node.name for node in public(path) if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400, "one idea in a file"
    functions = [
        node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)
    ]
    long = {node.name: node.end_lineno - node.lineno + 1 for node in functions if node.end_lineno}
    assert {name: lines for name, lines in long.items() if lines > 50} == {}


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_nothing_is_swallowed(path: Path) -> None:
    """No bare `except:`, and no handler of everything that goes on as if nothing had been."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, node.lineno
            wide = isinstance(node.type, ast.Name) and node.type.id in (
                "Exception",
                "BaseException",
            )
            assert not wide or any(isinstance(inner, ast.Raise) for inner in ast.walk(node)), (
                node.lineno
            )


def test_what_clusters_run_is_an_entry_of_its_own() -> None:
    """`python -m lmeraser_ray.train`, three lines that begin a verb; all others by `python -m
    lmeraser_ray VERB`."""
    for verb in ("train", "unlearn", "sweep"):
        assert verb in VERBS
        assert (PACKAGE / f"{verb}.py").read_text().rstrip().endswith(f'main("{verb}")')
