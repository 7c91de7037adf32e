"""`python -m benchmarks.simulate_queue`: a million erasure requests over 10,000 shards and 64 GPUs,
with and without coalescing.

Discrete events, the real scheduler (`lmeraser_ray.erasure.queue.scheduler`), retrain times drawn
from recorded ones; see `benchmarks.simulation` for what is taken for granted. For each arrival
rate, given as a multiple (`--loads`) of what the slots can do if every request is trained for by
itself, and each share of sampled records (`--sampled`; 0 is what public prototypes give):
throughput, seconds to certification, retrains a request. Past a load of 1 a queue without
coalescing grows for as long as requests come, so that its times are of a stream of this length.
Writes queue-simulation.json, .png and .svg; one process, 30 to 60 minutes as it is, seconds with
`--requests 20000`.

`--record FILE` measures the retrain times first (a minute; `--set` changes the quickstart) and
ends. `--draw` draws the figure again from the numbers that are there. `--slots 256` is for quarter
GPUs, with a `--scale` for how much slower a quarter is.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.queue_figure import draw
from benchmarks.retrain_times import RetrainTimes, record
from benchmarks.simulation import Arrivals, Setting, Simulation

RESULTS = Path(__file__).parents[1] / "docs" / "results"
NAME = "queue-simulation.json"


def arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.simulate_queue", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="measure retrain times, write them there, and end",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="with --record: a field of the configuration",
    )
    parser.add_argument("--draw", action="store_true", help="only draw the figure again")
    parser.add_argument(
        "--times", type=Path, default=RESULTS / "retrain-times.json", help="recorded retrain times"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=RESULTS,
        metavar="FOLDER",
        help="where the numbers and the figure go",
    )
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--lanes", type=int, default=10_000, help="shards")
    parser.add_argument("--slots", type=int, default=64, help="shards that are trained at once")
    parser.add_argument(
        "--loads",
        type=numbers,
        default=numbers("0.1,0.2,0.5,0.8,0.95,1.1,1.5,2,3,5,10"),
        metavar="X,X,…",
    )
    parser.add_argument(
        "--sampled",
        type=numbers,
        default=numbers("0,0.001"),
        metavar="X,X,…",
        help="shares of sampled records",
    )
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="recorded seconds are multiplied by this, to stand for larger shards",
    )
    parser.add_argument(
        "--overhead",
        type=float,
        default=0.1,
        help="seconds of a publication: publish, purge, scan, sign",
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between them."""
    return tuple(float(part) for part in text.split(","))


def setting(options: argparse.Namespace, times: RetrainTimes) -> Setting:
    """As many lanes as asked for, each like a recorded shard drawn at random; requests fall on
    records, so more often on larger shards."""
    rng = np.random.default_rng(options.seed)
    like = rng.integers(0, len(times.seconds), options.lanes)
    seconds, records = (
        np.array(times.seconds)[like] * options.scale,
        np.array(times.records, np.float64)[like],
    )
    changed = np.array(times.changed or [1], np.int64)
    recluster = times.recluster * options.scale
    return Setting(
        seconds, records / records.sum(), options.slots, options.overhead, changed, recluster
    )


def point(
    world: Setting, options: argparse.Namespace, *, load: float, sampled: float, coalesce: bool
) -> dict[str, Any]:
    """One rate, one policy."""
    start, rate = time.perf_counter(), load * world.capacity
    arrivals = Arrivals.draw(
        world, requests=options.requests, rate=rate, sampled=sampled, seed=options.seed
    )
    found = Simulation(world, arrivals, coalesce=coalesce, seed=options.seed).run()
    result = {
        "load": load,
        "rate": round(rate, 6),
        "sampled": sampled,
        "coalesce": coalesce,
        **found,
    }
    machine.say(f"{result}, simulated in {time.perf_counter() - start:.1f} s")
    return result


def simulate(options: argparse.Namespace) -> dict[str, Any]:
    """All points, as a JSON value that the same seed gives again."""
    recorded = json.loads(options.times.read_text())
    world = setting(options, RetrainTimes.read(options.times))
    alone = replace(world, slots=1)
    said = {
        name: getattr(options, name)
        for name in ("requests", "lanes", "slots", "scale", "overhead", "seed")
    }
    points = [
        point(world, options, load=load, sampled=sampled, coalesce=coalesce)
        for sampled in options.sampled
        for coalesce in (True, False)
        for load in options.loads
    ]
    about = {
        name: recorded[name]
        for name in ("benchmark", "backbone", "epochs", "set", "one_class", "machine")
    }
    return {
        "benchmark": "simulate-queue",
        **said,
        "capacity": round(world.capacity, 6),
        "retrain_mean_s": round(1 / alone.capacity, 6),
        "recluster_s": round(world.recluster, 6),
        "times": {**about, "shards": len(recorded["seconds"])},
        "points": points,
    }


def main() -> None:
    """Record, or draw, or simulate and draw."""
    options = arguments()
    if options.record:
        machine.report(record(options.record, options.set))
        return
    if options.draw:
        result = json.loads((options.output / NAME).read_text())
    else:
        result = simulate(options)
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / NAME).write_text(json.dumps(result, indent=1) + "\n")
    draw(result, options.output)
    machine.report(result)


if __name__ == "__main__":
    main()
