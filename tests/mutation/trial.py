"""Runs tests of one mutant in a process of its own, a fork of this one: heavy libraries are loaded
once, the package and its tests anew each time."""

import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import cache_from_source
from pathlib import Path

import psutil
import pytest

from tests.mutation.mutants import Mutant

HEAVY = ("torch", "torchvision", "timm", "scipy.cluster.hierarchy", "sklearn", "pyarrow.parquet")
HEAVY += ("sqlalchemy", "psycopg", "hypothesis", "PIL.Image", "pydantic", "obstore", "matplotlib")
SPARE, SLOWER = 60.0, 4
"""Seconds that a trial and a test have beyond `SLOWER` times what they took: for imports, fixtures
and other load."""


def load_heavy() -> None:
    """Import what takes seconds and is never mutated."""
    for name in HEAVY:
        import_module(name)


@dataclass
class Bench:
    """A copy of the repository in which one mutant at a time is tried. tmp: its temporary files."""

    copy: Path
    tmp: Path
    pid: int = 0
    mutant: Mutant | None = None
    deadline: float = 0.0
    kept: str = field(default="", repr=False)

    @property
    def is_free(self) -> bool:
        """Whether no trial runs."""
        return self.mutant is None

    def start(self, mutant: Mutant, code: str, tests: dict[str, float]) -> None:
        """Begin a trial: these tests, with what they take in seconds, on a mutant with this
        text."""
        self.mutant, self.kept = mutant, (self.copy / mutant.path).read_text()
        self._write(code)
        self.tmp.mkdir(mode=0o777)
        self.tmp.chmod(0o777)  # PostgreSQL's user writes there too
        self.deadline = time.monotonic() + SPARE + SLOWER * sum(tests.values())
        self.pid = os.fork()
        if not self.pid:
            self._run(tests)

    def _write(self, code: str) -> None:
        path = self.copy / (self.mutant.path if self.mutant else "")
        path.write_text(code)
        Path(cache_from_source(path)).unlink(missing_ok=True)  # its time is too coarse

    def _run(self, tests: dict[str, float]) -> None:
        """In the child: run the tests, and end with pytest's exit code."""
        code = 70
        try:
            os.setsid()
            output = os.open(self.tmp / "output", os.O_WRONLY | os.O_CREAT, 0o666)
            for stream in (1, 2):
                os.dup2(output, stream)
            for name in list(sys.modules):
                if name.partition(".")[0] in ("tests", "lmeraser_ray"):
                    del sys.modules[name]
            os.chdir(self.copy)
            sys.path[:] = [str(self.copy), *sys.path]
            os.environ |= {"PYTHONPATH": str(self.copy), "TMPDIR": str(self.tmp)}
            options = ["-q", "-x", "--tb=line", "-p", "no:cacheprovider"]
            options += [f"--basetemp={self.tmp / 'pytest'}"]
            options += [f"--timeout={SPARE + SLOWER * max(tests.values())}"]
            code = pytest.main([*options, *tests])
        finally:
            os._exit(code)  # what the parent does at its exit is not to be done here

    def ended(self) -> tuple[str, str] | None:
        """How the trial ended, None while it runs: killed, survived or timeout, and the test that
        killed the mutant. The bench is ready for the next one then."""
        found, status = os.waitpid(self.pid, os.WNOHANG)
        if not found and time.monotonic() < self.deadline:
            return None
        if not found:
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        output = (self.tmp / "output").read_text(errors="replace").splitlines()
        by = [line for line in output if line.startswith(("FAILED", "ERROR"))] + output[-1:]
        is_late = not found or "Failed: Timeout" in "".join(by[:1])
        how = "timeout" if is_late else "killed" if status else "survived"
        self._end_leftovers()
        shutil.rmtree(self.tmp, ignore_errors=True)
        self._write(self.kept)
        return how, by[0] if by else ""

    def _end_leftovers(self) -> None:
        """End processes of tests that outlived their trial, which its temporary folder tells."""
        for process in psutil.process_iter():
            try:
                if process.environ().get("TMPDIR") == str(self.tmp):
                    process.kill()
            except psutil.Error:
                continue
