"""`python -m benchmarks.scale`: what grows, and how fast, from a thousand records to a million. An
hour or two; `--records` for less.

For each size: N pictures of 8 x 8 random greys in a Parquet file, a tiny random backbone, one
epoch, about 4,000 records a shard and a bucket, a sample of 1,000. Then each command in a process
of its own: `train` on a local Ray, `unlearn` of one unsampled record, `cost` of the deletion of
two, and one training task whose reads are counted by the kernel. Reported are the seconds of every
stage, the peak memory of the driver and of the largest worker (anonymous memory: what is their own,
neither libraries nor shared memory, both of which count as theirs or not by who else runs; looked
at twenty times a second, workers twice), and how both grow: bytes a record by least squares over
all sizes and between the two largest, and the exponent of the seconds between these.

Required: no more than 100 bytes a record on the driver, by both; a task reads no more than twice
its shard's bytes; at a million records `unlearn` takes less than 5 s, training and Ray's start and
stop apart. The result is written to `--out`; what is in the temporary folder is removed.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks import machine
from benchmarks.unlearning import choose, clocked, synthetic, timed_session
from lmeraser_ray.config.options import load_config, to_yaml
from lmeraser_ray.erasure.queue.affected_constituents import PublishedState
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.models.learners.base import UNWATCHED
from lmeraser_ray.operations.cost import CostQuestion, cost
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.pipeline.engine import InlineEngine
from lmeraser_ray.pipeline.flow import parts_of
from lmeraser_ray.pipeline.jobs import TrainConstituent
from lmeraser_ray.pipeline.session import Session

SIZES = (1_000, 10_000, 100_000, 1_000_000)
A_SHARD = 4_000
"""Records of a shard and of a bucket, about; there are ten of each at least."""
MEMORY = 100.0
READS = 2.0
SECONDS = 5.0


def arguments() -> argparse.Namespace:
    """The options. `--step` is how the benchmark starts itself again."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.scale", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--records", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--engine", choices=("ray", "inline"), default="ray")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    parser.add_argument("--step", choices=sorted(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


class Watch(threading.Thread):
    """Looks at the memory of this process and of all that it started, until it is told to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.driver = self.worker = self._looks = 0
        self._end = threading.Event()

    def run(self) -> None:
        """Look, and remember the most: of this process, and of any one below it."""
        own, more = psutil.Process(), True
        while more:
            more = not self._end.wait(0.05)  # once more at the end
            self.driver = max(self.driver, anonymous(own.pid))
            if self._looks % 10 == 0:  # who is below is found by looking at all processes
                self.worker = max(
                    [
                        self.worker,
                        *(
                            anonymous(each.pid)
                            for each in own.children(recursive=True)
                            if is_worker(each)
                        ),
                    ]
                )
            self._looks += 1

    def stop(self) -> dict[str, float]:
        """The peaks in MiB."""
        self._end.set()
        self.join()
        return {
            "driver_mb": round(self.driver / 2**20, 1),
            "worker_mb": round(self.worker / 2**20, 1),
        }


def anonymous(pid: int) -> int:
    """Memory in bytes that is a process's own; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def is_worker(process: psutil.Process) -> bool:
    """Whether a process does work for us: Ray calls its workers so; the others are its own."""
    try:
        return "ray::" in " ".join(process.cmdline()[:1])
    except psutil.Error:
        return False


@contextmanager
def watched(told: dict[str, Any]) -> Iterator[None]:
    """Note the memory that a stretch takes: before it, and at most."""
    told["before_mb"] = round(anonymous(os.getpid()) / 2**20, 1)
    watch = Watch()
    watch.start()
    yield
    told |= watch.stop()
    told["growth_mb"] = round(told["driver_mb"] - told["before_mb"], 1)


def make(options: argparse.Namespace) -> dict[str, Any]:
    """The records, and the configuration to train on them."""
    n = options.records[0]
    parts = max(10, n // A_SHARD)
    config = synthetic(
        argparse.Namespace(
            records=n,
            seed=options.seed,
            shards=parts,
            sample_size=min(1000, n // 2),
            buckets=parts,
            size=8,
            engine=options.engine,
        ),
        options.folder,
    )
    (options.folder / "config.yaml").write_text(to_yaml(config))
    return {"bytes": (options.folder / "records.parquet").stat().st_size, "shards": parts}


def clock(options: argparse.Namespace, what: str, act: Callable[[Session], Any]) -> dict[str, Any]:
    """One command on the workspace: seconds and memory."""
    told: dict[str, Any] = {}
    session = timed_session(options.folder / "workspace", [])
    with watched(told):
        _, found = clocked(what, session, lambda: act(session))
    return {**found["seconds"], **told}


def step_train(options: argparse.Namespace) -> dict[str, Any]:
    """`train`."""
    config = load_config(options.folder / "config.yaml", [])
    return clock(options, "train", lambda session: train(session, config))


def step_unlearn(options: argparse.Namespace) -> dict[str, Any]:
    """`unlearn` of one unsampled record, which `task` has chosen."""
    name, _ = json.loads((options.folder / "chosen").read_text())
    return clock(options, "unlearn", lambda session: unlearn(session, ErasureTargets((name,))))


def step_cost(options: argparse.Namespace) -> dict[str, Any]:
    """`cost` of the deletion of two records, one of them sampled."""
    names = json.loads((options.folder / "chosen").read_text())
    question = CostQuestion(ErasureTargets(names), each=True)
    return clock(options, "cost", lambda session: cost(session, question))


def step_task(options: argparse.Namespace) -> dict[str, Any]:
    """One training task: the bytes that it reads against the bytes of its shard's pictures. Nothing
    is stored."""
    session = Session(options.folder / "workspace")
    store, config, manifest = (
        session.folder.store,
        session.config(),
        session.folder.require_published(),
    )
    name, other = (choose(session, manifest, sampled=sampled)[0] for sampled in (False, True))
    (options.folder / "chosen").write_text(json.dumps([name, other]))
    current = PublishedState.read(store, config, manifest)
    members = np.flatnonzero(
        current.constituents == current.constituents[current.places([name])[name]]
    )
    worker = InlineEngine(store, config, manifest.backbone).worker
    reads = []
    for some in (members[:90], members):  # the first loads the backbone, and every module
        parts = parts_of(current.index, None, some)
        before = psutil.Process().io_counters().read_chars  # type: ignore[attr-defined]
        list(TrainConstituent(("0" * 64,), (parts,)).stages(worker, UNWATCHED))
        reads.append(psutil.Process().io_counters().read_chars - before)  # type: ignore[attr-defined]
    pictures = sum(int(part.rows.about.lengths.sum()) for part in parts if part.rows.about)
    return {
        "members": len(members),
        "shard_bytes": pictures,
        "read_bytes": reads[1],
        "ratio": round(reads[1] / pictures, 3),
    }


STEPS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "make": make,
    "train": step_train,
    "task": step_task,
    "cost": step_cost,
    "unlearn": step_unlearn,
}


def measure(options: argparse.Namespace, records: int) -> dict[str, Any]:
    """All steps at one size, each in a process of its own."""
    found: dict[str, Any] = {"records": records}
    with tempfile.TemporaryDirectory(prefix="lmeraser-scale-") as folder:
        for step in STEPS:
            words = [
                "--records",
                str(records),
                "--engine",
                options.engine,
                "--seed",
                str(options.seed),
                "--step",
                step,
                "--folder",
                folder,
            ]
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.scale", *words],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            found[step] = json.loads(done.stdout.splitlines()[-1])
            machine.say(f"{records} records, {step}: {found[step]}")
    return found


def bytes_a_record(sizes: list[dict[str, Any]], step: str, field: str) -> float:
    """The slope of a memory over the records, by least squares, in bytes."""
    records, memory = (
        [size["records"] for size in sizes],
        [size[step][field] * 2**20 for size in sizes],
    )
    return round(float(np.polyfit(records, memory, 1)[0]), 1)


def exponent(sizes: list[dict[str, Any]], step: str) -> float:
    """How the seconds grow between the two largest sizes: 1 is as the records."""
    (small, large) = sizes[-2:]
    seconds = large[step]["but_training"] / small[step]["but_training"]
    return round(math.log(seconds) / math.log(large["records"] / small["records"]), 2)


def main() -> None:
    """Measure every size, fit, report."""
    options = arguments()
    if options.step:
        machine.report(STEPS[options.step](options))
        return
    sizes = [measure(options, records) for records in sorted(options.records)]
    last = sizes[-1]
    steps = ("train", "unlearn", "cost") if len(sizes) > 1 else ()
    growth, at_last = (
        {step: bytes_a_record(some, step, "growth_mb") for step in steps}
        for some in (sizes, sizes[-2:])
    )
    result = {
        "benchmark": "scale",
        "engine": options.engine,
        "sizes": sizes,
        "driver_bytes_a_record": growth,
        "driver_bytes_a_record_at_last": at_last,
        "worker_bytes_a_record": {"train": bytes_a_record(sizes, "train", "worker_mb")}
        if growth
        else {},
        "seconds_exponent": {step: exponent(sizes, step) for step in growth},
        "required": {
            "driver_bytes_a_record": MEMORY,
            "task_reads": READS,
            "unlearn_seconds": SECONDS,
        },
        "met": {
            "driver_bytes_a_record": all(
                found <= MEMORY for found in (*growth.values(), *at_last.values())
            ),
            "task_reads": last["task"]["ratio"] <= READS,
            "unlearn_seconds": last["unlearn"]["but_training"] < SECONDS,
        },
        "machine": machine.describe(),
    }
    machine.report(result, options.out)


if __name__ == "__main__":
    main()
