"""`python -m benchmarks.start`: what processes take to start, in CPU seconds. A minute or two.

Alternating, each in a process of its own: Python with nothing to do, `import torch`, commands that
only look, and what every worker does first (the embedded backbone and one batch of features; then
one step of training). Of each the median over the rounds, user and system time together; wall time
would be that of whatever else the machine does. `--against DIR` measures another checkout of this
project in the same rounds, which must be able to read the workspace that the benchmark makes.

Python keeps what it compiled in a folder of the benchmark's own, which a round before the first one
fills. `--uncompiled` has it keep nothing, as PYTHONDONTWRITEBYTECODE does.

`--engines` measures instead what a whole command takes under each `execution.engine`, alternating:
`train` of the quickstart in a new workspace, then `unlearn` of one unsampled record, each cold.
Reported are the seconds of the processors, of all processes that the command starts (Ray's too),
and the wall time; the three states must be equal. Two to four minutes a round.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

import psutil

from benchmarks import machine
from benchmarks.unlearning import choose
from lmeraser_ray.config.quickstart import NAME as QUICKSTART
from lmeraser_ray.pipeline.session import Session

HERE = Path(__file__).parents[1]
SETTING = (
    *("--backbone.name", "tiny", "--backbone.weights", "random", "--backbone.input_size", "8"),
    *("--backbone.readout.layer", "null", "--learner.kind", "class_means"),
    *("--execution.engine", "inline"),
)
"""Of the workspace that the commands look at: digits, trained in seconds."""
FEATURES = """
import numpy as np, torch
from lmeraser_ray.config import options
from lmeraser_ray.models.backbone import load_backbone
config = options.load_config(None, [("backbone.input_size", "64"), ("learner.epochs", "1")])
backbone = load_backbone(config.backbone, torch.device("cpu"))
pictures = np.zeros((2, 3, 64, 64), np.uint8)
backbone.features(pictures)
"""
TRAINING = f"""{FEATURES}
from lmeraser_ray.models.learners.base import ShardData
from lmeraser_ray.models.learners.registry import make_learners
(learner,) = make_learners(config)
learner.train(ShardData("5a" * 32, pictures, ("a", "b")), backbone)
"""


def programs(workspace: Path) -> dict[str, tuple[str, ...]]:
    """What is measured, by name: the arguments of Python."""
    verb = ("-m", "lmeraser_ray")
    return {
        "python": ("-c", "pass"),
        "import torch": ("-c", "import torch"),
        "lmeraser --help": (*verb, "--help"),
        "lmeraser status": (*verb, "status", "--workspace", str(workspace)),
        "lmeraser requests": (*verb, "requests", "--workspace", str(workspace)),
        "Workspace": ("-c", "from lmeraser_ray import Workspace"),
        "features": ("-c", FEATURES),
        "training": ("-c", TRAINING),
    }


def cpu_seconds(arguments: Sequence[str], environment: Mapping[str, str]) -> float:
    """Run Python once. Errors: `CalledProcessError` with what it printed."""
    before = getrusage(RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *arguments], check=True, env=environment, capture_output=True, cwd="/"
    )
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def of_all_processes(arguments: Sequence[str], environment: Mapping[str, str]) -> dict[str, float]:
    """The seconds that a command took: of the processors, by all processes below it, looked at 20
    times a second (Ray reaps its own, so that nobody else is told), and by the clock. Errors:
    `CalledProcessError`."""
    start, seen = time.perf_counter(), dict[psutil.Process, float]()
    with tempfile.TemporaryFile() as out:
        words = [sys.executable, *arguments]
        child = subprocess.Popen(words, env=environment, stdout=out, stderr=out, cwd="/")
        root = psutil.Process(child.pid)
        while child.poll() is None:
            with suppress(psutil.Error):
                for process in (root, *root.children(recursive=True)):
                    with suppress(psutil.Error):
                        times = process.cpu_times()
                        seen[process] = times.user + times.system
            time.sleep(0.05)
        if child.returncode:
            out.seek(0)
            raise subprocess.CalledProcessError(child.returncode, words, out.read())
    return {"cpu": sum(seen.values()), "wall": time.perf_counter() - start}


def measure_engines(rounds: int, environment: Mapping[str, str]) -> dict[str, Any]:
    """The medians of `train` and `unlearn` under each engine. Errors: `SystemExit` where the states
    differ."""
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    kept = {name: value for name, value in environment.items() if name != "RAY_ADDRESS"}
    for number in range(rounds + 1):
        states = set[tuple[str, ...]]()
        for engine in ("auto", "ray", "inline"):
            with tempfile.TemporaryDirectory(prefix="lmeraser-benchmark-") as folder:
                root = Path(folder) / "workspace"
                verb = ("-m", "lmeraser_ray", "train", "--workspace", str(root))
                words = (*verb, "--config", QUICKSTART, "--execution.engine", engine)
                trained = of_all_processes(words, kept)
                session = Session(root)
                state = session.folder.require_published()
                name, _ = choose(session, state, sampled=False)
                words = ("-m", "lmeraser_ray", "unlearn", "--workspace", str(root))
                erased = of_all_processes((*words, "--records", name), kept)
                after = session.folder.require_published().fingerprint
                states.add((state.fingerprint, name, after))
            machine.say(f"round {number}, {engine}: train {trained}, unlearn {erased}")
            if number:
                for verb_name, took in (("train", trained), ("unlearn", erased)):
                    found.setdefault(verb_name, {}).setdefault(engine, []).append(took)
        if len(states) > 1:
            raise SystemExit(f"The engines made different states: {states}")
    return {
        verb: {
            engine: {
                what: round(statistics.median(each[what] for each in took), 1) for what in took[0]
            }
            for engine, took in by.items()
        }
        for verb, by in found.items()
    }


def environment_of(checkout: Path, cache: Path, *, compiled: bool) -> dict[str, str]:
    """The environment of a checkout's processes: one thread, and compiled files, or none."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    own = {"PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"}
    own["PYTHONPYCACHEPREFIX"] = str(cache)
    return {**kept, **own, **({} if compiled else {"PYTHONDONTWRITEBYTECODE": "1"})}


def main() -> None:
    """Measure, and print the medians as JSON."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.start", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", type=Path, help="another checkout of this project")
    parser.add_argument("--uncompiled", action="store_true", help="keep no compiled files")
    parser.add_argument("--engines", action="store_true", help="whole commands, by their engine")
    options = parser.parse_args()
    if options.engines:
        with tempfile.TemporaryDirectory() as cache:
            environment = environment_of(HERE, Path(cache), compiled=not options.uncompiled)
            seconds = measure_engines(options.rounds, environment)
        kept = {"rounds": options.rounds, "machine": machine.describe()}
        machine.report({"seconds": seconds, **kept})
        return
    checkouts = {"here": HERE, **({"against": options.against} if options.against else {})}
    with tempfile.TemporaryDirectory() as scratch:
        workspace, cache = Path(scratch) / "workspace", Path(scratch) / "compiled"
        sides = {
            name: environment_of(checkout, cache, compiled=not options.uncompiled)
            for name, checkout in checkouts.items()
        }
        machine.say("makes a workspace")
        train = ("-m", "lmeraser_ray", "train", "--workspace", str(workspace), *SETTING)
        cpu_seconds(train, sides["here"])
        asked = programs(workspace)
        found: dict[str, dict[str, list[float]]] = {
            name: {side: [] for side in sides} for name in asked
        }
        for number in range(options.rounds + 1):
            machine.say(f"round {number} of {options.rounds}" if number else "a round to compile")
            for name, arguments in asked.items():
                for side, environment in sides.items():
                    seconds = cpu_seconds(arguments, environment)
                    if number:
                        found[name][side].append(seconds)
    medians = {
        name: {side: round(statistics.median(each), 3) for side, each in by.items()}
        for name, by in found.items()
    }
    kept = {"compiled": not options.uncompiled, "rounds": options.rounds}
    machine.report({"cpu_seconds": medians, **kept, "machine": machine.describe()})


if __name__ == "__main__":
    main()
