"""`python -m benchmarks.small_shards`: what many small shards cost over one that has all their
records, whole jobs from the store to the store. Minutes.

    python -m benchmarks.small_shards --engine inline
    python -m benchmarks.small_shards --engine ray

Sides: *one*, one shard of all records; *small*, the same records in shards of equal size, as
`train` submits them; *alone*, each of these submitted by itself. A job reads and decodes pictures,
trains in batches of a small shard's size, and writes constituents. The sides alternate in one run,
in turned order every other round, after one warm-up of each. CPU seconds are those of this process
and of all that it started (on Ray the raylet and the workers too). A ratio is the CPU seconds of
*one* over those of a side, `ms_a_shard` the difference for each shard: medians of the rounds.
"""

import argparse
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import machine
from lmeraser_ray.config import Config
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.ingest import ingest
from lmeraser_ray.data.sources.png import stored_png
from lmeraser_ray.pipeline.flow import Flow, load_inputs, recipe_of
from lmeraser_ray.pipeline.jobs import TrainConstituent
from lmeraser_ray.pipeline.plan import constituent_specs
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.tombstones import Tombstones

CLASSES = 10


def arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.small_shards", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--engine", choices=["inline", "ray"], default="inline")
    parser.add_argument("--shards", type=int, default=347)
    parser.add_argument("--records", type=int, default=40, help="in a shard (40)")
    parser.add_argument("--size", type=int, default=32, help="side of the input in pixels (32)")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--backbone", default="tiny", help="a timm model, or tiny")
    parser.add_argument("--rounds", type=int, default=5, help="how often the sides alternate (5)")
    return parser.parse_args()


def configuration(options: argparse.Namespace, path: Path) -> Config:
    """Prompts and heads; the partition is the benchmark's own."""
    return Config.model_validate(
        {
            "data": {"source": "parquet", "path": path},
            "backbone": {
                "name": options.backbone,
                "weights": "random",
                "input_size": options.size,
                "readout": {"layer": None, "pool": "mean"},
            },
            "learner": {"prompt": {"width": 2}, "epochs": options.epochs, "batch": options.records},
            "execution": {"engine": options.engine},
        }
    )


def write_records(path: Path, count: int, size: int) -> None:
    """Grey noise, a little brighter by class."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % CLASSES
    noise = rng.integers(0, 100, (count, size, size)) + 15 * labels[:, None, None]
    columns = {
        "record_id": [f"record-{i:07d}" for i in range(count)],
        "label": labels,
        "image": [stored_png(grey) for grey in noise.astype(np.uint8)],
    }
    pq.write_table(pa.table(columns), path)


def jobs_of(flow: Flow, index: RecordIndex, shards: int) -> list[TrainConstituent]:
    """The jobs of shards of equal size, whose members are anywhere in the buckets."""
    shard_of = (np.arange(len(index)) % shards).astype(np.int32)
    recipe = recipe_of(flow.config, flow.card)
    specs = constituent_specs(index.digests_at, shard_of, recipe=recipe)
    return [
        TrainConstituent(spec.keys, tuple(flow.parts(index, (), part) for part in spec.slices))
        for spec in specs
    ]


def run(flow: Flow, jobs: list[TrainConstituent], *, together: bool) -> float:
    """Train all. Returns the CPU seconds."""
    before = processor_seconds()
    for _ in flow.engine.run(iter(jobs), sum(job.weight for job in jobs) if together else 0):
        pass
    return processor_seconds() - before


def processor_seconds() -> float:
    """The CPU seconds so far of this process and of all that live below it."""
    mine = psutil.Process()
    times = [process.cpu_times() for process in (mine, *mine.children(recursive=True))]
    return float(sum(spent.user + spent.system for spent in times))


def figures(spent: dict[str, list[float]], shards: int) -> dict[str, Any]:
    """The ratios and the milliseconds of the sides, of all rounds."""
    found: dict[str, Any] = {}
    for name in list(spent)[1:]:
        pairs = list(zip(spent["one"], spent[name], strict=True))
        ratios = [one / other for one, other in pairs]
        found[name] = {
            "ratio": round(statistics.median(ratios), 3),
            "ratio_min": round(min(ratios), 3),
            "ratio_max": round(max(ratios), 3),
            "ms_a_shard": round(
                1000 * statistics.median(other - one for one, other in pairs) / shards, 2
            ),
        }
    return found


def main() -> None:
    """Measure and report."""
    options, on = arguments(), machine.describe()
    spent: dict[str, list[float]] = {"one": [], "small": [], "alone": []}
    with tempfile.TemporaryDirectory(prefix="lmeraser-benchmark-") as folder:
        path = Path(folder) / "records.parquet"
        write_records(path, options.shards * options.records, options.size)
        config, session = configuration(options, path), Session(Path(folder) / "workspace")
        card = load_inputs(config).card
        session.folder.create()
        with (
            session.folder.locked() as workspace,
            closing(Database.open(session.root, config.queue.database)) as database,
            session.flow(workspace.store, config, card) as flow,
        ):
            buckets = ingest(
                config, workspace.store, Tombstones(workspace.names(), database)
            ).buckets
            index = RecordIndex.read(workspace.store, buckets)
            whole, parts = (jobs_of(flow, index, count) for count in (1, options.shards))
            flow.engine.start()
            for turn in range(-1, options.rounds):
                for name in list(spent)[:: 1 if turn % 2 == 0 else -1]:
                    jobs = whole if name == "one" else parts
                    start = time.perf_counter()
                    seconds = run(flow, jobs, together=name == "small")
                    clock = time.perf_counter() - start
                    machine.say(f"{name}: {seconds:.2f} CPU s in {clock:.1f} s")
                    if turn >= 0:
                        spent[name].append(seconds)
    medians = {name: round(statistics.median(each), 3) for name, each in spent.items()}
    result = {"benchmark": "small-shards", **vars(options), "cpu_s": medians}
    machine.report({**result, **figures(spent, options.shards), "machine": on})


if __name__ == "__main__":
    main()
