"""Seconds that retraining a shard really takes, kept for the simulation of the queue. `python -m
benchmarks.simulate_queue --record FILE`.

The quickstart is trained through the project's own flow, every job in this process on one CPU
thread, one after the other. Each job is timed from reading its records to storing its constituent,
in processor seconds, which neighbours on a shared machine disturb less than the clock. Then `cost`
says exactly how many shards each sampled record's deletion would change.
"""

import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine
from lmeraser_ray.config import Config
from lmeraser_ray.config.options import load_config
from lmeraser_ray.config.quickstart import NAME as QUICKSTART
from lmeraser_ray.operations.cost import cost
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.engine import Engine, InlineEngine
from lmeraser_ray.pipeline.jobs import Job, Trained
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.store import Store


@dataclass(frozen=True)
class RetrainTimes:
    """seconds, records: of each shard; changed: shards that the deletion of each sampled record
    changes; recluster: seconds."""

    seconds: tuple[float, ...]
    records: tuple[int, ...]
    changed: tuple[int, ...]
    recluster: float

    @classmethod
    def read(cls, path: Path) -> "RetrainTimes":
        """What `record` wrote."""
        found = json.loads(path.read_text())
        return cls(
            tuple(found["seconds"]),
            tuple(found["records"]),
            tuple(found["changed"]),
            found["recluster_s"],
        )


class Clocked:
    """Makes inline engines and remembers the records and the seconds of each shard's training."""

    def __init__(self) -> None:
        self.trainings: list[tuple[int, float]] = []
        self.untrained = 0  # shards of one class, which have nothing to learn

    def __call__(self, store: Store, config: Config, card: BackboneCard) -> Engine:
        """An engine that runs the jobs in order."""
        clocked = self

        class Timed(InlineEngine):
            def run(
                self,
                jobs: Iterable[Job[Any]],
                work: int = 0,  # noqa: ARG002 - nothing is shared
            ) -> Iterator[tuple[int, Any]]:
                for at, job in enumerate(jobs):
                    start = time.process_time()
                    result = job.run(self.worker)
                    if isinstance(result, Trained):
                        clocked.trainings.append((job.weight, time.process_time() - start))
                        clocked.untrained += result.passes == 0
                    yield at, result

        return Timed(store, config, card)


def record(path: Path, changes: Sequence[str]) -> dict[str, Any]:
    """Train, measure, and write the JSON that `RetrainTimes` reads. changes: FIELD=VALUE of the
    quickstart's configuration."""
    on, clocked = machine.describe(), Clocked()
    fields = [(name, value) for name, _, value in (change.partition("=") for change in changes)]
    config = load_config(
        Path(QUICKSTART), [("execution.engine", "inline"), ("execution.device", "cpu"), *fields]
    )
    with tempfile.TemporaryDirectory(prefix="lmeraser-benchmark-") as folder:
        session = Session(Path(folder) / "workspace", Progress(quiet=True), make_engine=clocked)
        train(session, config)
        recluster = session.progress.seconds[
            "partition"
        ]  # the whole partition: the sample's clusters and every record's place
        machine.say(f"{len(clocked.trainings)} shards trained")
        costs = cost(session).costs
    result = {
        "benchmark": "retrain-times",
        "set": list(changes),
        "backbone": config.backbone.name,
        "epochs": config.learner.epochs,
        "seconds": [round(seconds, 6) for _, seconds in clocked.trainings],
        "records": [records for records, _ in clocked.trainings],
        "one_class": clocked.untrained,
        "changed": costs.touched[costs.sampled].tolist(),
        "recluster_s": round(recluster, 6),
        "machine": on,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    return result
