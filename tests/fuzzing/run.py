"""Fuzz the targets with Atheris, one after the other, each in a process of its own.

    python -m tests.fuzzing.run --seconds 60                      all of them, a minute each
    python -m tests.fuzzing.run --seconds 3600 --target picture   one of them, an hour

A finding ends its target: its input is in `build/fuzz/`, the traceback on the terminal. Copy the
input to `tests/fuzzing/seeds/TARGET/found-…`; then it is a test. Atheris has wheels for Linux on
x86-64; elsewhere `pytest tests/fuzzing` mutates the seeds with Hypothesis alone.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

INSTRUMENTED = ["lmeraser_ray", "yaml", "rfc8785", "tarfile", "csv", "PIL", "safetensors"]
"""Packages in whose Python code Atheris counts branches."""
FOUND = Path("build", "fuzz")
SLOW_SECONDS, HANGS_SECONDS = 10, 300
"""One input that takes longer, of the processor or by the clock, is a finding."""
MEGABYTES = 2560
"""A process that takes more memory is a finding."""


@dataclass(frozen=True)
class Fuzzed:
    """What a run of one target did."""

    target: str
    executions: int
    code: int

    def __str__(self) -> str:
        outcome = "ok" if self.code == 0 else f"FOUND (exit {self.code})"
        return f"{self.target:<16} {self.executions:>12,} executions   {outcome}"


def fuzz(target: str, seconds: int) -> Fuzzed:
    """Run one target in a process of its own; the traceback of a finding goes to the terminal."""
    words = [sys.executable, "-m", __spec__.name, "--seconds", str(seconds), "--within", target]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        words, stderr=subprocess.PIPE, text=True, env=environment, check=False, errors="replace"
    )
    counted = re.findall(r"number_of_executed_units: *(\d+)", done.stderr)
    if done.returncode:
        print(done.stderr[-8000:])
    return Fuzzed(target, int(counted[-1]) if counted else 0, done.returncode)


def within(name: str, seconds: int) -> None:
    """Fuzz a target in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED, enable_loader_override=False):
        from tests.fuzzing.targets import SEEDS, TARGETS, attempt
    target = TARGETS[name]
    for seed in (SEEDS / name).iterdir():
        attempt(target, seed.read_bytes())  # what it imports, outside of the limits of an input

    def timed(data: bytes) -> None:
        begun = time.process_time()
        attempt(target, data)
        assert time.process_time() - begun < SLOW_SECONDS, "it took too long"

    FOUND.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        limits = [f"-max_total_time={seconds}", f"-timeout={HANGS_SECONDS}"]
        limits += [f"-rss_limit_mb={MEGABYTES}", "-print_final_stats=1", "-max_len=131072"]
        place = f"-artifact_prefix={FOUND / name}-"
        words = [sys.argv[0], *limits, place, corpus, str(SEEDS / name)]
        atheris.Setup(words, timed)
        atheris.Fuzz()


def main() -> int:
    """Fuzz what the command line names. Returns 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing.run", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--target", action="append", help="one of them; may be repeated")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time")
    parser.add_argument("--within", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.within:
        within(args.within, args.seconds)
        return 0
    from tests.fuzzing.targets import TARGETS

    if importlib.util.find_spec("atheris") is None:
        print("Atheris is not installed: `make setup` installs it on Linux, x86-64.")
        return 2
    found = 0
    with ThreadPoolExecutor(args.jobs) as pool:  # of threads that wait for their processes
        for done in pool.map(lambda name: fuzz(name, args.seconds), args.target or TARGETS):
            print(done, flush=True)
            found += bool(done.code)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
