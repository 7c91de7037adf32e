"""Try mutants of erasure/ and storage/ on the tests that run their lines.

    make mutants SAMPLE=200 SEED=1    a sample, drawn by the seed
    make mutants SAMPLE=all           every mutant, for hours

The repository is copied as it stands; the copy is mutated, never the original. What tests run which
lines is measured first, once for each state of the package and its tests, which takes as long as
`make test`; `build/mutants/` keeps it, and `results.jsonl` beside it.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from coverage import CoverageData
from scipy.stats import binomtest

from tests.mutation.covering import Covering
from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.trial import Bench, load_heavy

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "mutants"
MUTATED = ("lmeraser_ray/erasure", "lmeraser_ray/storage")
TESTS = ("storage", "erasure", "operations", "laws", "conformance")
AIM = 0.9
CONTROLS = 4
"""Trials without a change, before all others."""
Try = tuple[Mutant, str]
"""A mutant and the text of its file."""
End = tuple[Mutant, str, str]
"""A mutant, how its trial ended, and the test that killed it."""


def main() -> int:
    """Return 0 where the share of killed mutants is at least `AIM`."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("--sample", default="200", help="how many mutants, or `all`")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="of tests for a mutant, the fastest first"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        scratch = Path(name)
        scratch.chmod(0o711)  # PostgreSQL's user looks for its folder below
        root = scratch / "whole"
        copy_repository(root)
        covering = covering_of(root)
        everything = all_mutants(root, options.seed)
        wanted = len(everything) if options.sample == "all" else int(options.sample)
        benches = [Bench(scratch / f"{n}", scratch / f"t{n}") for n in range(options.processes)]
        for bench in benches:
            shutil.copytree(root, bench.copy)
        load_heavy()
        found = partial(ends, benches, covering=covering, seconds=options.seconds)
        require_passing(found(unchanged(root, everything[-CONTROLS:])))
        return report(root, list(written(found(islice(changed(root, everything), wanted)))))


def copy_repository(to: Path) -> None:
    """Copy what git tracks or would."""
    command = ["git", "ls-files", "-coz", "--exclude-standard"]
    for name in subprocess.check_output(command, cwd=ROOT, text=True).split("\0"):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


def covering_of(root: Path) -> Covering:
    """Return which tests run which lines of a copy; measure it where it is not known of this
    state."""
    kept = KEPT / state_of(root)
    if not (kept / "passed.json").exists():
        kept.mkdir(parents=True, exist_ok=True)
        places = {"COVERAGE_FILE": f"{kept / 'lines'}", "MUTANTS_PASSED": f"{kept / 'passed.json'}"}
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile"]
        command += ["--no-loadscope-reorder", "-p", "tests.mutation.passed", "--cov"]
        command += ["--cov-context=test", "--cov-report=", "--cov-config=tests/mutation/lines.ini"]
        command += [f"tests/{name}" for name in TESTS]
        subprocess.run(
            command, cwd=root, env=os.environ | places | {"PYTHONPATH": str(root)}, check=False
        )
    data = CoverageData(str(kept / "lines"))
    data.read()
    return Covering(root, data, json.loads((kept / "passed.json").read_text()))


def state_of(root: Path) -> str:
    """A digest of the package and its tests, but for what mutates."""
    digest = hashlib.sha256()
    for path in sorted(path for at in ("lmeraser_ray", "tests") for path in (root / at).rglob("*")):
        if path.suffix in (".py", ".json") and path.parent.name != "mutation":
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def all_mutants(root: Path, seed: int) -> list[Mutant]:
    """Return all mutants in an order that the seed says."""
    files = [path for at in MUTATED for path in sorted((root / at).rglob("*.py"))]
    names = [str(path.relative_to(root)) for path in files]
    found = [mutant for name in names for mutant in mutants_of(root, name, seed)]
    print(f"{len(found)} mutants in {len(files)} files", flush=True)
    random.Random(seed).shuffle(found)
    return found


def changed(root: Path, mutants: Iterable[Mutant]) -> Iterator[Try]:
    """Yield mutants with their texts; what is no Python is none."""
    for mutant in mutants:
        if (code := mutant.code((root / mutant.path).read_text())) is not None:
            yield mutant, code


def unchanged(root: Path, mutants: Iterable[Mutant]) -> Iterator[Try]:
    """Yield mutants with the texts that they would change."""
    for mutant in mutants:
        yield mutant, (root / mutant.path).read_text()


def require_passing(found: Iterable[End]) -> None:
    """Stop where tests fail on a text without a change: they would kill everything."""
    if failed := [why for _, how, why in found if how != "survived"]:
        raise SystemExit(f"Tests fail without a mutant: {failed}")


def written(found: Iterable[End]) -> Iterator[End]:
    """Pass ends on, and write them to `results.jsonl`."""
    with (KEPT / "results.jsonl").open("w") as results:
        for mutant, how, why in found:
            line = [mutant.path, *mutant.start, mutant.operator, how, why]
            print(json.dumps(line), file=results, flush=True)
            yield mutant, how, why


def ends(
    benches: list[Bench], tries: Iterator[Try], *, covering: Covering, seconds: float
) -> Iterator[End]:
    """Keep the benches busy, and yield each mutant, how its trial ended, and why."""
    while True:
        for bench in benches:
            while bench.is_free and (following := next(tries, None)):
                mutant, code = following
                if tests := covering.tests(mutant.path, mutant.start[0], seconds):
                    bench.start(mutant, code, tests)
                else:
                    yield mutant, "survived", "no test runs the line"
        if all(bench.is_free for bench in benches):
            return
        for bench in benches:
            if bench.mutant and (end := bench.ended()):
                yield bench.mutant, *end
                bench.mutant = None
        time.sleep(0.05)


def report(root: Path, found: list[End]) -> int:
    """Print counts, the share with its interval, and each survivor."""
    for mutant, how, why in sorted(found):
        if how == "survived":
            print(f"\n{mutant.diff((root / mutant.path).read_text())}  {why}")
    counts = Counter(how for _, how, _ in found)
    killed = len(found) - counts["survived"]
    interval = binomtest(killed, len(found)).proportion_ci(method="wilson")
    print(
        f"\n{len(found)} mutants: " + ", ".join(f"{n} {how}" for how, n in sorted(counts.items()))
    )
    print(
        f"Killed or timed out: {killed / len(found):.1%} "
        f"(95% interval by Wilson {interval.low:.1%} to {interval.high:.1%})"
    )
    return 0 if killed >= AIM * len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
