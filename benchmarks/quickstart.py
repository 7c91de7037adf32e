"""`python -m benchmarks.quickstart`: what the quickstart is worth, over several seeds. One to two
minutes a seed on two shared cores.

For each seed: `lmeraser train` on the handwritten digits as a person runs it (a process of its own,
`--config quickstart`, so that a local Ray trains), then `lmeraser cost`. Reported are the test
accuracy of each seed, its mean and its least, the seconds of the whole command and of its stages,
the shards, and the expected cost of one deletion: its record passes as a share of a full training's
work. The seed decides the split too, so each seed is tested on other records. `--set
learner.epochs=3` (repeatable) changes a field of the configuration.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import machine
from lmeraser_ray.config.quickstart import NAME as QUICKSTART


def arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.quickstart", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0, 1, … below this")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="a field of the configuration; may be repeated",
    )
    parser.add_argument("--no-cost", action="store_true", help="leave the cost of deletions out")
    return parser.parse_args()


def command(
    verb: str, workspace: Path, *more: str, environment: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], float]:
    """Run a verb of the command line. environment: None for this process's. Returns its JSON and
    the seconds of the whole process."""
    words = [
        sys.executable,
        "-m",
        "lmeraser_ray",
        verb,
        "--workspace",
        str(workspace),
        "--json",
        "--quiet",
        *more,
    ]
    start = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found, seconds


def one(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train, and ask for the cost, in a workspace that is removed."""
    with tempfile.TemporaryDirectory(prefix="lmeraser-benchmark-") as folder:
        workspace = Path(folder) / "workspace"
        trained, seconds = command(
            "train",
            workspace,
            "--config",
            QUICKSTART,
            "--seed",
            str(seed),
            *(f"--{field}" for field in options.set),
        )
        result = {
            "seed": seed,
            "accuracy": trained["accuracy"]["test"],
            "training_records": trained["training_records"],
            "test_records": trained["test_records"],
            "shards": trained["shards"],
            "passes": trained["passes"],
            "seconds": round(seconds, 1),
            "stages": trained["seconds"],
        }
        if not options.no_cost:
            cost, asked = command("cost", workspace)
            result["deletion_cost"] = {
                name: value for name, value in cost["record"].items() if name.endswith("share")
            }
            result["cost_seconds"] = round(asked, 1)
    machine.say(
        f"seed {seed}: accuracy {result['accuracy']:.4f}, {result['shards']} shards, train "
        f"{result['seconds']} s"
    )
    return result


def main() -> None:
    """All seeds, and their summary."""
    options = arguments()
    on = machine.describe()
    runs = [one(seed, options) for seed in range(options.seeds)]
    accuracies = [run["accuracy"] for run in runs]
    expected = [run["deletion_cost"]["mean_share"] for run in runs if "deletion_cost" in run]
    machine.report(
        {
            "benchmark": "quickstart",
            "set": options.set,
            "accuracy_mean": round(statistics.mean(accuracies), 5),
            "accuracy_min": round(min(accuracies), 5),
            "seconds_median": statistics.median(run["seconds"] for run in runs),
            "expected_deletion_share_mean": round(statistics.mean(expected), 5)
            if expected
            else None,
            "runs": runs,
            "machine": on,
        }
    )


if __name__ == "__main__":
    main()
