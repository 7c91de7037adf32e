"""`python -m benchmarks.paired`: what the results of `lmeraser compare` carry of a sentence about
two systems. Reads, trains nothing; seconds.

    python -m benchmarks.paired docs/results/compare.json lmeraser random-mean single-prompt
    python -m benchmarks.paired docs/results/compare.json lmeraser --idle
    python -m benchmarks.paired docs/results/one-nearest.json \\
        lmeraser_aggregation.shards=1 dam-vp --with docs/results/compare.json

A seed is a split, so the same test records judge two systems under one seed: what is compared are
differences, seed by seed, and ± is the half width of their 95% interval by Student's t (none from
one seed). An interval with 0 in it does not tell two systems apart.

`--with`: more results on the same data and splits, for systems that the first file lacks. `--idle`:
of each system named, the share of the training records that train nothing, seed by seed: a shard of
one class has nothing to learn by gradient descent, and no record passes. It is 1 minus the passes
of a full training over records times epochs.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmeraser_ray.config import presets
from lmeraser_ray.operations.work_units import interval
from lmeraser_ray.study.comparison_table import markdown

Runs = dict[str, dict[str, Any]]
"""The runs of a study: by system, then by seed."""
HEAD = ("test accuracy of", "less that of", "seeds", "seed by seed", "mean")


def accuracies(runs: Runs, system: str) -> dict[int, float]:
    """The test accuracy of a system by seed."""
    return {int(seed): run["accuracy"]["test"] for seed, run in runs[system].items()}


def paired(runs: Runs, first: str, other: str) -> list[str]:
    """The row of two systems: their differences under the seeds that both have."""
    ours, theirs = accuracies(runs, first), accuracies(runs, other)
    seeds = sorted(ours.keys() & theirs.keys())
    found = [ours[seed] - theirs[seed] for seed in seeds]
    mean, half = interval(found)
    each = ", ".join(f"{value:+.3f}" for value in found)
    text = f"{mean:+.3f}" if half is None else f"{mean:+.3f} ± {half:.3f}"
    return [f"`{first}`", f"`{other}`", ", ".join(map(str, seeds)), each, text]


def idle(runs: Runs, system: str, epochs: int) -> list[str]:
    """The row of a system: the share of its training records that train nothing, seed by seed, of
    runs that found no constituent in the store."""
    found = {
        int(seed): 1 - run["training"]["passes"] / (run["records"]["training"] * epochs)
        for seed, run in runs[system].items()
        if not run["training"]["reused"]
    }
    each = ", ".join(f"{found[seed]:.0%}" for seed in sorted(found))
    return [f"`{system}`", ", ".join(map(str, sorted(found))), each]


def table(runs: Runs, systems: Sequence[str], *, of_idle: bool) -> str:
    """The Markdown table that is printed."""
    if of_idle:
        rows = [
            idle(runs, name, presets.read(name)["learner"].get("epochs", 1)) for name in systems
        ]
        return markdown(("system", "seeds", "records that train nothing"), rows)
    return markdown(HEAD, [paired(runs, systems[0], name) for name in systems[1:]])


def runs_of(*results: Path) -> Runs:
    """The runs of some results; of a system that several have, those of the first."""
    found: Runs = {}
    for path in results:
        found = {**json.loads(path.read_text())["runs"], **found}
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.paired", description=__doc__.splitlines()[0]
    )
    parser.add_argument("results", type=Path, help="what `lmeraser compare` wrote: compare.json")
    parser.add_argument("systems", nargs="+", help="the first is compared with each other one")
    parser.add_argument("--idle", action="store_true", help="which records train nothing")
    parser.add_argument(
        "--with", type=Path, nargs="+", default=[], dest="more", help="more results"
    )
    given = parser.parse_args()
    print(table(runs_of(given.results, *given.more), given.systems, of_idle=given.idle))


if __name__ == "__main__":
    main()
