"""Simulate many seeds, or look for planted bugs.

python -m tests.simulation.run --seeds 0:10000 --processes 2
python -m tests.simulation.run --seeds 0:10000 --planted            the table of planted bugs
python -m tests.simulation.run --seeds 17:18 --plant no_fencing     one of them
"""

import argparse
import gc
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext

from tests.simulation.bugs import BUGS
from tests.simulation.scenario import scenario_of
from tests.simulation.shrink import shrink
from tests.simulation.simulation import simulate

TOGETHER = 20
"""Seeds that a process is given at a time."""


def settle() -> None:
    """Keep the garbage collector from looking again and again at what was imported: a sixth of the
    time."""
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)


def first_broken(task: tuple[int, int, str | None]) -> tuple[int, int | None]:
    """Simulate some seeds. Returns how many were simulated, and the first that breaks something."""
    first, last, plant = task
    with BUGS[plant]() if plant else nullcontext():
        for seed in range(first, last):
            if simulate(scenario_of(seed)).broken:
                return seed + 1 - first, seed
    return last - first, None


def search(first: int, last: int, processes: int, plant: str | None) -> tuple[int, int | None]:
    """Simulate seeds side by side until one breaks something. Returns how many were simulated, and
    the first of those that break something."""
    tasks = ((at, min(at + TOGETHER, last), plant) for at in range(first, last, TOGETHER))
    if processes == 1:
        return until_broken(map(first_broken, tasks))
    with multiprocessing.get_context("spawn").Pool(processes, settle) as pool:
        return until_broken(pool.imap(first_broken, tasks))


def until_broken(results: Iterator[tuple[int, int | None]]) -> tuple[int, int | None]:
    """Add up results until one has found something."""
    count = 0
    for done, broken in results:
        count += done
        if broken is not None:
            return count, broken
    return count, None


def tell(seed: int, plant: str | None) -> str:
    """The smallest story of what breaks, and how to see it again."""
    with BUGS[plant]() if plant else nullcontext():
        scenario = scenario_of(seed)
        ending = simulate(scenario)
        scenario, ending = shrink(scenario, ending)
    planted = f" --plant {plant}" if plant else ""
    return "\n".join(
        [
            f"Seed {seed} breaks an invariant: {ending.broken}",
            "The smallest scenario that does:",
            *(f"  {line}" for line in scenario.lines()),
            "What happened:",
            *(f"  {line}" for line in ending.story),
            f"Again: python -m tests.simulation.run --seeds {seed}:{seed + 1}{planted}",
        ]
    )


def table(first: int, last: int, processes: int) -> int:
    """Print at which seed each planted bug is found. Returns the exit code."""
    print("| planted bug | found at seed |\n|---|---|")
    lost = 0
    for name, bug in BUGS.items():
        _, seed = search(first, last, processes, name)
        lost += seed is None
        what = " ".join((bug.__doc__ or name).split())
        print(f"| {what} | {'not found' if seed is None else seed} |", flush=True)
    return 1 if lost else 0


def main() -> int:
    """What the command does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0:1000", help="from:to")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--plant", choices=sorted(BUGS))
    parser.add_argument("--planted", action="store_true", help="the table of planted bugs")
    args = parser.parse_args()
    first, last = map(int, args.seeds.split(":"))
    processes = 1 if last - first <= TOGETHER else args.processes
    if args.planted:
        return table(first, last, processes)
    begun = time.monotonic()
    count, seed = search(first, last, processes, args.plant)
    seconds = time.monotonic() - begun
    if seed is not None:
        print(tell(seed, args.plant))
        return 1
    print(f"{count:,} seeds in {seconds:.0f} s: every invariant holds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
