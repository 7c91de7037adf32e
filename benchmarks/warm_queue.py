"""`python -m benchmarks.warm_queue`: seconds from the command `lmeraser unlearn --subjects PERSON`
to its certificate, training included, while `lmeraser queue serve` is up. Minutes.

The digits of scikit-learn as those of people with ten each (`benchmarks.persons`), a workspace of
the quickstart's backbone and readout and of one `--system`, real Ray. Each of `--people` is
forgotten by a command of its own, one after another. Reported are the seconds of the whole command
and the record passes that it trained: of the first that trains, since a worker starts then, and of
those after it. People who have test records only train nothing, and are not counted. `--set
FIELD=VALUE` (repeatable) changes the configuration. What is in the temporary folder is removed at
the end.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks import machine, persons
from benchmarks.quickstart import command
from lmeraser_ray.config.from_python import pairs_of
from lmeraser_ray.config.quickstart import QUICKSTART

PATIENCE = 300.0
"""Seconds for a queue to come up."""
Environment = Mapping[str, str]


def arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.warm_queue", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--system", default="ridge")
    parser.add_argument("--people", type=int, default=9, help="who are forgotten, one by one")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--out", type=Path, help="a file for the result")
    return parser.parse_args()


@contextmanager
def served(environment: Environment, workspace: Path) -> Iterator[None]:
    """Have a queue up. Its words go to stderr."""
    words = ["queue", "serve", "--workspace", str(workspace), "--quiet"]
    called = [sys.executable, "-m", "lmeraser_ray", *words]
    process = subprocess.Popen(called, stdout=sys.stderr, env=dict(environment))
    try:
        end = time.monotonic() + PATIENCE
        look = partial(command, "queue", workspace, "status", environment=environment)
        while not look()[0]["queue"]["live"]:
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"No queue came up within {PATIENCE:g} s.")
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)


def main() -> None:
    """Train, serve, forget one person after another, report."""
    options = arguments()
    pairs = [pair.partition("=") for pair in options.set]
    changed = [word for field, _, value in pairs for word in (f"--{field}", value)]
    with tempfile.TemporaryDirectory(prefix="lmeraser-benchmark-") as name:
        folder = Path(name)
        pictures, workspace, keys = folder / "digits", folder / "workspace", folder / "keys"
        environment = {**os.environ, "LMERASER_KEYS": str(keys), "OMP_NUM_THREADS": "1"}
        people = persons.write(pictures, persons.of_scikit_learn())
        data = ("--data.source", "folder", "--data.path", str(pictures))
        subjects = ("--data.subjects_file", str(pictures.with_suffix(".csv")))
        run = partial(command, environment=environment)
        system = ["--system", options.system]
        for field, value in pairs_of({"backbone": QUICKSTART["backbone"]}):
            system += [f"--{field}", value]
        training, took = run("train", workspace, *system, *data, *subjects, *changed)
        machine.say(f"trained {training['training_records']} records in {took:.1f} s")
        run("keys", workspace, "init")
        forgotten = []
        with served(environment, workspace):
            for person in people[: options.people]:
                done, took = run("unlearn", workspace, "--subjects", person)
                forgotten.append({"seconds": round(took, 3), "passes": done["passes"]})
                machine.say(f"{person}: {took:.2f} s, {done['passes']} record passes")
    first, *warm = [each["seconds"] for each in forgotten if each["passes"]]
    found = {
        "benchmark": "warm_queue",
        "system": options.system,
        "changed": options.set,
        "first_s": first,
        "median_s": round(statistics.median(warm), 3),
        "worst_s": max(warm),
        "people": forgotten,
        "machine": machine.describe(),
    }
    machine.report(found, options.out)


if __name__ == "__main__":
    main()
