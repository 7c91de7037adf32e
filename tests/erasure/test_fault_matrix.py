"""Each of the 19 rows of the fault matrix has tests, and they are where the matrix says."""

import ast
from pathlib import Path

import pytest

from tests.faults import ROWS

TESTS = Path(__file__).parents[1]


def names(path: Path) -> set[str]:
    """The test functions of a module."""
    return {
        node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)
    }


def test_there_are_19_rows() -> None:
    assert sorted(ROWS) == list(range(1, 20))


@pytest.mark.parametrize("row", ROWS)
def test_each_row_is_shown(row: int) -> None:
    what, shown = ROWS[row]
    assert what and shown
    for each in shown:
        file, _, name = each.partition("::")
        assert name in names(TESTS / file), (
            f"row {row} ({what}) is to be shown by {each}, which is not there"
        )
