"""What becomes of what is printed never decides the work: the exit code is that of the work."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmeraser_ray.cli.main import main
from lmeraser_ray.erasure.requests.request import State
from tests.support.children import Ended, Nursery
from tests.support.command_line import Lm, Place, asked

TROUBLE = {
    "ascii": ("", "ascii", ""),
    "latin-1": ("", "latin-1", ""),
    "full": ("/dev/full", "utf-8", ""),
    "all full": ("/dev/full", "utf-8", "/dev/full"),
    "closed": (None, "utf-8", ""),
    "all closed": (None, "utf-8", None),
    "gone": ("gone", "utf-8", "gone"),
    "read only": (os.devnull, "utf-8", ""),
}
"""Where stdout goes, its encoding, and where stderr goes; empty for a file, None for nowhere."""


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    made = Nursery(tmp_path)
    yield made
    made.close()


def lead(number: int, where: str | None, encoding: str) -> io.TextIOWrapper | None:
    """Lead a standard descriptor somewhere, and return the stream that Python has for it then."""
    if where is None:
        os.close(number)
        return None
    if where == "gone":
        read, write = os.pipe()
        os.close(read)
        os.dup2(write, number)
    elif where:
        os.dup2(os.open(where, os.O_RDONLY if where == os.devnull else os.O_WRONLY), number)
    return os.fdopen(number, "w", encoding=encoding, closefd=False)


def command(how: str, *words: str) -> None:
    """What a process does: the command, with its output led somewhere, up to its end."""
    out, encoding, err = TROUBLE[how]
    sys.argv = ["lmeraser", *words]
    sys.stdout, sys.stderr = lead(1, out, encoding), lead(2, err, encoding)
    main()


def ended(nursery: Nursery, how: str, *words: object) -> Ended:
    return nursery.start(command, how, *map(str, words)).end()


@pytest.mark.parametrize("how", TROUBLE)
@pytest.mark.parametrize("verb", ["status", "evaluate", "--help"])
def test_the_exit_code_is_of_the_work(made: Place, nursery: Nursery, how: str, verb: str) -> None:
    words = [] if verb == "--help" else ["--workspace", made.root]
    done = ended(nursery, how, verb, *words)
    assert (done.code, "Traceback" in done.err) == (0, False)
    if how == "ascii":
        assert done.out.isascii()
        assert "\\" not in done.out


@pytest.mark.parametrize("how", ["full", "read only", "gone", "closed"])
def test_what_is_lost_is_told_once(made: Place, nursery: Nursery, how: str) -> None:
    """But not to someone who wanted no more."""
    done = ended(nursery, how, "fingerprint", "--workspace", made.root)
    lines = done.err.splitlines()
    assert [line.startswith("note: what was printed") for line in lines] == (
        [True] if how in ("full", "read only") else []
    )


@pytest.mark.parametrize("how", TROUBLE)
def test_an_error_keeps_its_code(nursery: Nursery, tmp_path: Path, how: str) -> None:
    assert ended(nursery, how, "wait", "x", "--workspace", tmp_path / "nowhere").code == 2


@pytest.mark.parametrize("how", ["all full", "all closed", "gone"])
def test_an_erasure_comes_to_its_end(lm: Lm, place: Place, nursery: Nursery, how: str) -> None:
    """And nothing that a library prints to 1 or 2 gets into a file of the workspace."""
    lm("submit", "--records", place.id(), "--workspace", place.root)
    assert ended(nursery, how, "queue", "run", "--workspace", place.root).code == 0
    assert asked(place.root)[0] == {str(State.CERTIFIED): 1}
    assert lm("verify", "--workspace", place.root).code == 0


@pytest.mark.thorough
def test_python_ends_a_process_with_the_same_code() -> None:
    """And not with 120, as where its own last flush fails."""
    program = [sys.executable, "-m", "lmeraser_ray", "--version"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(program, stdout=full, stderr=full, check=False)
    assert done.returncode == 0
