"""`python -m benchmarks.subtraction`: CPU seconds of one deletion where a shard keeps statistics,
at a million records and at a tenth of that. Minutes. `--out docs/results/subtraction.json` keeps
them.

One shard of ridge: features of 768 numbers, 100 classes. The store is as a training leaves it, but
that features are the same 4,000 rows in each bucket, so that the shard's statistics are theirs
times the buckets; and that files of features which no deletion reads are empty. A state is "read"
when its rows are in memory, as a queue that serves has them. Then, sizes alternating, one record
leaves:

    bucket  the record's bucket is written without it
    plan    its features, keys of the whole state, which rows left
    job     subtract, store the sums, solve, store the constituent

Asked of one deletion besides reading the state are under 1 s, and at most 1.5 times the CPU seconds
of a tenth of the records (medians). Planning sorts and hashes the digests of all records, as it did
before: it reads the state, and grows with it. So both ratios are reported, with planning and
without. Each job is checked: it reads one row, and its statistics are those of the block times the
buckets, less the row.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import machine
from lmeraser_ray.config import Config
from lmeraser_ray.data.buckets import put_bucket, rows_of
from lmeraser_ray.data.feature_file import pack_features
from lmeraser_ray.data.index import RecordIndex, remaining
from lmeraser_ray.data.record import Record
from lmeraser_ray.data.spec import PictureSpec
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.models.learners.ridge import Ridge
from lmeraser_ray.models.learners.statistics import Statistics
from lmeraser_ray.models.learners.statistics_file import pack_statistics, read_statistics
from lmeraser_ray.pipeline.engine import InlineEngine
from lmeraser_ray.pipeline.features import features_key
from lmeraser_ray.pipeline.flow import Flow
from lmeraser_ray.pipeline.manifest import BackboneCard, Manifest
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.storage.store import Store, StoredObject

BUCKET, DIMENSION, CLASSES = 4000, 768, 100
SECONDS, RATIO = 1.0, 1.5
NORMAL = (0.5, 0.5, 0.5)
CARD = BackboneCard("ab" * 32, DIMENSION, 1, PictureSpec(1, 1, "bilinear", NORMAL, NORMAL))
CONFIG = Config.model_validate(
    {
        "data": {"source": "digits", "test_fraction": 0.0},
        "partition": {"kind": "random", "shards": 1},
        "learner": {"kind": "ridge"},
        "aggregation": {"kind": "all"},
        "execution": {"engine": "inline"},
    }
)


@dataclass(frozen=True)
class Side:
    """A state of one size. whole: the statistics of its records."""

    flow: Flow
    manifest: Manifest
    index: RecordIndex
    features: np.ndarray
    whole: Statistics


def label(row: int) -> str:
    """Of a row of each bucket."""
    return f"class-{row % CLASSES:02d}"


def bucket_of(store: Store, number: int) -> Bucket:
    """A stored bucket of 4,000 records."""
    records = [
        Record(f"record-{number:04d}-{row:04d}", f"{number}-{row}", label(row), False, b"x")
        for row in range(BUCKET)
    ]
    return put_bucket(store, {}, number, rows_of(records), [b"x"] * BUCKET)


def side(root: Path, buckets: int, features: np.ndarray, touched: int) -> Side:
    """A published state with so many buckets. touched: how many of them will lose a record."""
    store = Store(root, "benchmark")
    store.create()
    layout = [bucket_of(store, number) for number in range(buckets)]
    index = RecordIndex.read(store, layout)
    for number, columns in enumerate(index.columns):
        digests = columns.digests
        full = pack_features(features, digests) if number < touched else b""
        store.put("features", features_key(CARD.identity, digests), [full])
    learner = Ridge(CONFIG.learner, quantum=2.0**-8)  # type: ignore[arg-type]
    block = learner.count(features, [label(row) for row in range(BUCKET)])
    whole = times(block, buckets)
    flow = Flow(store, CONFIG, CARD, InlineEngine(store, CONFIG, CARD), Progress())
    planned = flow.plan(layout, None, index)
    [spec] = planned.plan.specs
    built = {
        kept: store.put(kind, kept, [data])  # type: ignore[arg-type]
        for kind, kept, data in (
            ("statistics", str(spec.statistics), pack_statistics(whole)),
            ("constituents", spec.key, learner.constituent(whole).to_bytes()),
        )
    }
    return Side(flow, flow.manifest(planned, built), index, features, whole)


def times(block: Statistics, buckets: int) -> Statistics:
    """The statistics of as many copies of a block."""
    gram = None if block.gram is None else block.gram * buckets
    counts, sums = block.counts * buckets, block.sums * buckets
    return Statistics(block.classes, counts, sums, block.squares * buckets, gram)


def delete(found: Side, number: int) -> dict[str, float]:
    """Let the first record of a bucket leave. Returns the CPU seconds of each step."""
    gone = np.zeros(len(found.index), np.bool_)
    gone[found.index.of_bucket(number).start] = True
    store, flow, clock = found.flow.store, found.flow, [time.process_time()]
    buckets = remaining(store, found.index, gone)
    clock.append(time.process_time())
    planned = flow.plan(buckets, found.manifest, found.index)
    clock.append(time.process_time())
    [(_, trained)] = flow.engine.run(flow.job(planned, build) for build in planned.plan.build)
    clock.append(time.process_time())
    check(found, trained.statistics, trained.passes)
    names = ("bucket", "plan", "job")
    return {name: clock[i + 1] - clock[i] for i, name in enumerate(names)}


def check(found: Side, made: StoredObject, passes: int) -> None:
    """Errors: `RuntimeError` where more than one row was read, or the sums are others."""
    learner = Ridge(CONFIG.learner, quantum=2.0**-8)  # type: ignore[arg-type]
    wanted = found.whole - learner.count(found.features[:1], [label(0)])
    there = read_statistics(found.flow.store, made, gram=True)
    if passes != 1 or pack_statistics(there) != pack_statistics(wanted):
        raise RuntimeError(f"{passes} rows were read, or the sums are not those without the record")


def summary(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The median of each step, of all, and of all but planning."""
    steps = [
        {**each, "all": sum(each.values()), "but_plan": each["bucket"] + each["job"]}
        for each in rounds
    ]
    return {name: round(median(each[name] for each in steps), 4) for name in steps[0]}


def main() -> None:
    """Make both states, let records leave in turn, report."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.subtraction", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--records", type=int, nargs=2, default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    options = parser.parse_args()
    noise = np.random.default_rng(0).standard_normal((BUCKET, DIMENSION), np.float32)
    noise[np.arange(BUCKET), np.arange(BUCKET) % CLASSES] += 2.0
    with tempfile.TemporaryDirectory(prefix="lmeraser-subtraction-") as folder:
        sides = {}
        for records in options.records:
            sides[records] = side(
                Path(folder, str(records)), records // BUCKET, noise, options.rounds + 1
            )
            machine.say(f"{records} records are there")
        found: dict[int, list[dict[str, float]]] = {records: [] for records in sides}
        for number in range(options.rounds + 1):  # the first warms up
            for records in list(sides)[:: 1 if number % 2 else -1]:
                found[records].append(delete(sides[records], number))
    small, large = (summary(found[records][1:]) for records in options.records)
    ratios = {name: round(large[name] / small[name], 2) for name in ("all", "but_plan")}
    result = {
        "benchmark": "subtraction",
        "records": options.records,
        "dimension": DIMENSION,
        "classes": CLASSES,
        "rounds": options.rounds,
        "cpu_seconds": dict(zip(map(str, options.records), (small, large), strict=True)),
        "ratio": ratios,
        "required": {"seconds": SECONDS, "ratio": RATIO},
        "met": {
            "seconds": large["all"] < SECONDS,
            **{f"ratio, {name}": each <= RATIO for name, each in ratios.items()},
        },
        "machine": machine.describe(),
    }
    machine.report(result, options.out)


if __name__ == "__main__":
    main()
