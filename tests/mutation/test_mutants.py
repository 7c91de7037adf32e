"""What is mutated and what is not, which tests try a mutant, and how a trial ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from coverage import CoverageData

from tests.mutation.covering import Covering
from tests.mutation.mutants import mutants_of

MATTERS = '''
LIMIT = 3


def enough(size: int, spare: int = 2) -> bool:
    """Whether 5 > 4."""
    if size > LIMIT and not spare:
        return size + spare == 7
    return False
'''
DOES_NOT = '''
from dataclasses import dataclass
from functools import cache

Size = int | None


@dataclass(frozen=True, slots=True)
class Box:
    """One of 2 + 2."""

    size: int | None


@cache
def boxes(*sizes: int | None) -> list[Box | None]:
    raise ValueError(f"{len(sizes) + 1} were found, not 7")
'''
TRIAL = """
from pathlib import Path
from tests.mutation.mutants import Mutant
from tests.mutation.trial import Bench
import time
bench = Bench(Path("copy"), Path("tmp"))
for text in "x = 1", "x = 2", "import time; time.sleep(60)":
    bench.start(Mutant("x.py", (1, 0), "", 0), text, {"test_x.py::test_x": 0.0})
    bench.deadline = time.monotonic() + (5 if "sleep" in text else 60)
    while not (end := bench.ended()):
        time.sleep(0.01)
    print(end[0], Path("copy/x.py").read_text())
"""


def kinds(tmp_path: Path, text: str, seed: int = 1) -> list[tuple[int, str]]:
    (tmp_path / "x.py").write_text(text)
    return [(each.start[0], each.operator[5:]) for each in mutants_of(tmp_path, "x.py", seed)]


def test_each_place_that_matters_is_one_mutant_of_a_kind(tmp_path: Path) -> None:
    found = kinds(tmp_path, MATTERS)
    assert [(line, name.partition("_")[0]) for line, name in found] == [
        (2, "NumberReplacer"),
        (5, "NumberReplacer"),
        (7, "AddNot"),
        (7, "ReplaceComparisonOperator"),
        (7, "ReplaceAndWithOr"),
        (7, "ReplaceUnaryOperator"),
        (8, "ReplaceBinaryOperator"),
        (8, "ReplaceComparisonOperator"),
        (8, "NumberReplacer"),
        (9, "ReplaceFalseWithTrue"),
    ]


def test_types_texts_of_errors_caches_and_frozen_do_not_matter(tmp_path: Path) -> None:
    assert kinds(tmp_path, DOES_NOT) == [(8, "RemoveDecorator")]


def test_the_seed_draws_the_replacement(tmp_path: Path) -> None:
    drawn = [kinds(tmp_path, MATTERS, seed) for seed in range(9)]
    assert kinds(tmp_path, MATTERS, 0) == drawn[0]
    assert len({tuple(each) for each in drawn}) > 1


def test_a_mutant_differs_where_it_says(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(MATTERS)
    mutant = mutants_of(tmp_path, "x.py", 1)[4]
    assert mutant.diff(MATTERS).splitlines() == [
        "x.py:7 core/ReplaceAndWithOr",
        "-     if size > LIMIT and not spare:",
        "+     if size > LIMIT or not spare:",
    ]


@pytest.fixture
def covering(tmp_path: Path) -> Covering:
    (tmp_path / "x.py").write_text(MATTERS)
    data = CoverageData(no_disk=True)
    for test, lines in ("t::slow|run", [7, 8]), ("t::fast|setup", [7]), ("t::none|run", []):
        data.set_context(test)
        data.add_lines({"x.py": lines})
    return Covering(tmp_path, data, {"t::slow": 9.0, "t::fast": 1.0, "t::none": 0.1})


@pytest.mark.parametrize(
    ("line", "within", "tests"),
    [
        (7, 60, ["t::fast", "t::slow"]),
        (7, 5, ["t::fast"]),
        (8, 60, ["t::slow"]),
        (8, 5, ["t::slow"]),  # one test at least
        (9, 60, []),  # nobody runs it
        (2, 60, ["t::fast", "t::slow"]),  # runs at import: all tests of the file
        (5, 60, ["t::fast", "t::slow"]),
    ],
)
def test_the_tests_of_a_line(
    covering: Covering, line: int, within: float, tests: list[str]
) -> None:
    assert list(covering.tests("x.py", line, within)) == tests


def test_a_trial_is_killed_survived_or_stopped_and_leaves_nothing(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "x.py").write_text("x = 1")
    (copy / "test_x.py").write_text("import x\n\n\ndef test_x():\n    assert x.x == 1\n")
    (copy / "pytest.ini").write_text("[pytest]\n")
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", TRIAL]
    ran = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["survived x = 1", "killed x = 1", "timeout x = 1"]
    assert not (tmp_path / "tmp").exists()
