"""Each of the 19 rows of the fault matrix has tests, and they are where the matrix says."""

import ast
from pathlib import Path

from tests.faults import ROWS

TESTS = Path(__file__).parents[1]


def names(path: Path) -> set[str]:
    """The test functions of a module."""
    return {
        node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)
    }


def test_there_are_19_rows() -> None:
    assert sorted(ROWS) == list(range(1, 20))


def test_each_row_is_shown() -> None:
    assert all(what and shown for what, shown in ROWS.values())
    missing = [
        (row, test)
        for row, (_, shown) in ROWS.items()
        for test in shown
        if test.partition("::")[2] not in names(TESTS / test.partition("::")[0])
    ]
    assert not missing, missing
