"""The house rules that a machine can check: exit codes, docstrings, names, and the length of files
and functions. Each test lists all offenders."""

import ast
import inspect
from collections import Counter
from pathlib import Path

import pytest

from lmeraser_ray import errors
from lmeraser_ray.cli import main as cli
from lmeraser_ray.cli.verb import Report, Verb
from lmeraser_ray.cli.verbs import VERBS
from lmeraser_ray.errors import INTERRUPTED, LmeraserError
from lmeraser_ray.pipeline.progress import Progress

PACKAGE = Path(__file__).parents[2] / "lmeraser_ray"
TESTS = Path(__file__).parents[1]
FILES = sorted(PACKAGE.rglob("*.py"))
Trees = dict[Path, ast.Module]
FAMILIES = {
    "ConfigError": 2,
    "DataError": 3,
    "PictureError": 3,
    "VerificationError": 4,
    "HeldBackError": 4,
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


@pytest.fixture(scope="module")
def trees() -> Trees:
    """Every file of the package, parsed."""
    return {path.relative_to(PACKAGE): ast.parse(path.read_text()) for path in FILES}


def test_a_folder_says_what_lives_there_what_may_not_and_where_to_begin(trees: Trees) -> None:
    folders = {path: tree for path, tree in trees.items() if path.name == "__init__.py"}
    assert len(folders) > 15
    texts = {str(path.parent): ast.get_docstring(tree) or "" for path, tree in folders.items()}
    terse = [name for name, text in texts.items() if len(text.splitlines()) < 3]
    assert not terse, terse
    missing = {path.parent for path in trees} - {path.parent for path in folders}
    assert missing == set()


def test_files_and_functions_are_short(trees: Trees) -> None:
    """At most 400 lines a file, which holds one idea, and 50 a function."""
    files = {str(path): path.read_text().count("\n") for path in FILES}
    long = {name: lines for name, lines in files.items() if lines > 400}
    assert not long, long
    functions = {
        f"{path}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }
    long = {name: lines for name, lines in functions.items() if lines > 50}
    assert not long, long


def test_nothing_is_swallowed(trees: Trees) -> None:
    """No bare `except:`, and no handler of everything that goes on as if nothing had been."""
    handlers = [
        (f"{path}:{node.lineno}", node)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
    ]
    assert len(handlers) > 50
    swallowed = [where for where, handler in handlers if swallows(handler)]
    assert not swallowed, swallowed


def swallows(handler: ast.ExceptHandler) -> bool:
    """Whether a handler catches everything and raises nothing."""
    named = isinstance(handler.type, ast.Name) and handler.type.id
    wide = handler.type is None or named in ("Exception", "BaseException")
    raises = any(isinstance(node, ast.Raise) for node in ast.walk(handler))
    return handler.type is None or (wide and not raises)


def test_folders_are_made_for_their_owner_only(trees: Trees) -> None:
    """By `make_folder`: the mode that `mkdir` is given is cut by the umask."""
    makers = {
        str(path)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("mkdir", "makedirs")
    }
    assert makers <= {"storage/regular_file.py", "storage/object_storage/bucket.py"}


ONE_MEANING = {
    *("train.py", "unlearn.py", "sweep.py"),  # a verb: its entry, its options, what it does
    *("attack.py", "backup.py", "figures.py", "requests.py", "queue.py", "secret.py"),  # the same
    *("serve.py", "tokens.py"),  # the same
    *(
        "backbone.py",
        "sweep.py",
        "queue.py",
        "serve.py",
    ),  # a section of the configuration, and what it is of
    *("engine.py", "features.py", "sweep.py"),  # what Ray carries out: the plain one, and Ray's
}
"""Names of files that mean the same thing in sibling folders."""


def test_a_name_occurs_once(trees: Trees) -> None:
    files = Counter(path.name for path in trees if path.name != "__init__.py")
    twice = {name for name, times in files.items() if times > 1}
    assert twice - ONE_MEANING == set(), "another name, or a line of ONE_MEANING with its meaning"
    assert ONE_MEANING - twice == set(), "listed, and there once or not at all"
    classes = Counter(
        node.name
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    )
    same = {name for name, times in classes.items() if times > 1}
    assert not same, same


def test_no_test_imports_from_a_file_of_tests() -> None:
    """What tests share is in `tests/support`; a `conftest.py` holds fixtures."""
    offenders = [
        f"{path.relative_to(TESTS)}: {node.module}"
        for path in sorted(TESTS.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").rpartition(".")[2].startswith(("test_", "conftest"))
    ]
    assert not offenders, offenders


def test_what_clusters_run_is_an_entry_of_its_own() -> None:
    """`python -m lmeraser_ray.train`, three lines that begin a verb; all others by `python -m
    lmeraser_ray VERB`."""
    for verb in ("train", "unlearn", "sweep"):
        assert verb in VERBS
        assert (PACKAGE / f"{verb}.py").read_text().rstrip().endswith(f'main("{verb}")')
