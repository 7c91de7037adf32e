"""The first line of a command comes before its first large import, on a terminal's stderr."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.children import ROOT

LIBRARY = """
import os, threading
for thread in threading.enumerate():
    if isinstance(thread, threading.Timer):
        thread.join()
os._exit(7)
"""
"""In the place of the first large library: waits for what is to be said soon, and ends there."""


def told(tmp_path: Path, *words: str, module: str = "lmeraser_ray", terminal: bool) -> str:
    """What a command says on stderr, a terminal or a pipe, until its first large import."""
    (tmp_path / "pydantic.py").write_text(LIBRARY)
    master, slave = os.openpty()
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        stdout=subprocess.PIPE,
        stderr=slave if terminal else subprocess.PIPE,
        check=False,
        timeout=120,
    )
    os.write(slave, b".")  # the end of what there is to read, which may come in parts
    said = b""
    while not said.endswith(b"."):
        said += os.read(master, 1000)
    os.close(master)
    os.close(slave)
    assert (done.returncode, done.stdout) == (7, b"")
    return (said.removesuffix(b".") + (done.stderr or b"")).decode()


@pytest.mark.parametrize("verb", ["train", "unlearn", "evaluate", "status"])
def test_a_terminal_is_told_at_once(verb: str, tmp_path: Path) -> None:
    said = told(tmp_path, verb, "--json", terminal=True)
    assert said == f"lmeraser {verb}: loading the program\r\n"


def test_so_does_what_a_cluster_runs(tmp_path: Path) -> None:
    said = told(tmp_path, module="lmeraser_ray.train", terminal=True)
    assert said == "lmeraser train: loading the program\r\n"


@pytest.mark.parametrize(("words", "terminal"), [(["--quiet"], True), ([], False)])
def test_where_no_bars_are_to_come(words: list[str], terminal: bool, tmp_path: Path) -> None:
    assert told(tmp_path, "train", *words, terminal=terminal) == ""
