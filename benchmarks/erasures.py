"""`python -m benchmarks.erasures`: what the queue adds to the training that an erasure needs, and
how many retrains it saves. Minutes.

Overhead: records of tiny pictures in random shards, epochs chosen so that one shard trains for
about `--seconds`; in each round one record is erased through the whole path (submit, plan, train,
publish, purge, scan, sign), and, alternating with it, the very same shard is trained alone by the
same code. Reported are the seconds of both, their difference and their ratio. Required: less than
10% and less than 1 s. With `--engine ray` the path goes through a live `serve` and its actor on a
local Ray, and the training alone is a Ray task as the queue's; all processes are there, and have
their backbones, before anything is timed.

Coalescing: `--requests` requests for one record each, spread over `--over` shards, submitted before
the queue looks; required are no more retrains than shards. It is in this process. What is in the
temporary folder is removed at the end.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.unlearning import synthetic
from lmeraser_ray.config import Config
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.queue.affected_constituents import PublishedState
from lmeraser_ray.erasure.queue.loop import queue_of
from lmeraser_ray.erasure.queue.overview import overview_of
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.operations.stop_signal import Stop
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.pipeline.engine import InlineEngine
from lmeraser_ray.pipeline.flow import parts_of
from lmeraser_ray.pipeline.jobs import TrainConstituent
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.store import Store


def arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.erasures", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument(
        "--seconds",
        type=float,
        default=10.0,
        help="that the retrain of one shard is to take, about",
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument(
        "--over", type=int, default=20, help="shards that the requests are spread over"
    )
    parser.add_argument(
        "--engine",
        choices=("inline", "ray"),
        default="inline",
        help="who trains in the measurement of the overhead",
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def world(options: argparse.Namespace, folder: Path, *, shards: int, epochs: int) -> Config:
    """Synthetic records in random shards, trained with so many epochs."""
    plain = argparse.Namespace(
        records=options.records,
        seed=options.seed,
        shards=shards,
        sample_size=1,
        buckets=16,
        size=8,
        engine="inline",
    )
    folder.mkdir()
    tree = synthetic(plain, folder).model_dump(mode="json")
    tree["partition"] = {"kind": "random", "shards": shards}
    tree["aggregation"] = {"kind": "hash"}
    tree["learner"]["epochs"] = epochs
    return Config.model_validate(tree)


def job_of(session: Session, name: str) -> tuple[TrainConstituent, TrainConstituent]:
    """The training of a record's shard without it, and one of two records, which takes no time."""
    folder = session.folder
    current = PublishedState.read(folder.store, session.config(), folder.require_published())
    at = current.places([name])[name]
    members = np.flatnonzero(
        (current.constituents == current.constituents[at]) & (np.arange(len(current.index)) != at)
    )
    whole, short = (parts_of(current.index, None, found) for found in (members, members[:2]))
    return TrainConstituent(("0" * 64,), (whole,)), TrainConstituent(("1" * 64,), (short,))


def alone(session: Session, name: str) -> float:
    """Seconds in which the shard of a record is trained without it, by the same job, and nothing
    else."""
    folder, config = session.folder, session.config()
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(folder.store.root)
        store.scratch = Path(scratch)
        engine = InlineEngine(store, config, folder.require_published().backbone)
        engine.start()
        job, _ = job_of(session, name)
        start = time.perf_counter()
        list(job.stages(engine.worker, watch()))
        return time.perf_counter() - start


def alone_on_ray(session: Session, name: str) -> float:
    """The same as a task on the cluster, whose workers are warm. What it stores is stray, and goes
    with the next purge."""
    from lmeraser_ray.distributed.engine import RayEngine

    session = on_ray(session)
    engine = RayEngine(
        session.folder.store, session.config(), session.folder.require_published().backbone
    )
    engine.start()
    job, short = job_of(session, name)
    carry_out(engine, [short, short])  # on both CPUs
    start = time.perf_counter()
    carry_out(engine, [job])
    took = time.perf_counter() - start
    engine.close()
    return took


def carry_out(engine: Any, jobs: Sequence[TrainConstituent]) -> None:
    """Have jobs done at once. Errors: theirs."""
    for job in jobs:
        engine.submit(job)
    left = len(jobs)
    while left:
        for outcome in engine.wait():
            left -= 1
            if outcome.error:
                raise outcome.error


def on_ray(session: Session) -> Session:
    """The session with two CPUs of Ray."""
    return replace(session, overrides=(("execution.engine", "ray"), ("execution.cpus", "2")))


@contextmanager
def served(session: Session, keys: KeyFolder) -> Iterator[None]:
    """A `lmeraser queue serve` on a local Ray, in a thread, for as long as the context lasts; it
    works when the context begins."""
    from lmeraser_ray.operations.queue import serve
    from lmeraser_ray.pipeline.engines import cluster

    session, stop = on_ray(session), Stop()
    with cluster(session.config().execution):
        thread = threading.Thread(
            target=serve,
            args=(session,),
            kwargs={"keys": keys, "say": lambda _: None, "stop": stop},
        )
        thread.start()
        while not overview_of(session).live:
            if not thread.is_alive():
                raise RuntimeError("the queue has ended")
            time.sleep(0.1)
        try:
            yield
            if not thread.is_alive():
                raise RuntimeError("the queue has ended")
        finally:
            stop.ask()
            thread.join()


def watch() -> Any:
    """Nobody looks on."""
    from lmeraser_ray.models.learners.base import UNWATCHED

    return UNWATCHED


def victims(session: Session, count: int) -> list[str]:
    """Training records of different shards, as far as there are any."""
    folder = session.folder
    current = PublishedState.read(folder.store, session.config(), folder.require_published())
    names, lanes = current.index.names("record_id"), current.constituents.tolist()
    by_lane: dict[int, list[str]] = {}
    for name, lane in zip(names, lanes, strict=True):
        if lane >= 0:
            by_lane.setdefault(lane, []).append(name)
    turns = [
        group[i]
        for i in range(max(map(len, by_lane.values())))
        for group in by_lane.values()
        if i < len(group)
    ]
    return turns[:count]


def calibrated(options: argparse.Namespace, folder: Path) -> int:
    """Epochs in which a shard of the measured world trains for about `--seconds`: from what 20 more
    of them take."""
    few, more = 2, 22
    seconds = {}
    for epochs in (few, more):
        session = Session(folder / f"calibration-{epochs}")
        train(
            session,
            world(options, folder / f"calibration-{epochs}-records", shards=4, epochs=epochs),
        )
        [name] = victims(session, 1)
        seconds[epochs] = min(alone(session, name) for _ in range(3))
    each = (seconds[more] - seconds[few]) / (more - few)
    return max(1, round((options.seconds - seconds[few]) / each))


def overhead(options: argparse.Namespace, folder: Path, keys: KeyFolder) -> dict[str, Any]:
    """Whole erasures against bare retrains, alternating."""
    epochs = calibrated(options, folder)
    session = Session(folder / "overhead")
    train(session, world(options, folder / "overhead-records", shards=4, epochs=epochs))
    ray = options.engine == "ray"
    whole, bare, training = [], [], []
    with served(session, keys) if ray else nullcontext():
        first, *names = victims(session, options.rounds + 1)
        if ray:
            unlearn(Session(session.root), ErasureTargets((first,)), keys=keys)
        for name in names:
            bare.append((alone_on_ray if ray else alone)(session, name))
            timed = Session(session.root)
            start = time.perf_counter()
            unlearn(timed, ErasureTargets((name,)), keys=keys)
            whole.append(time.perf_counter() - start)
            training.append(timed.progress.rounded().get("training"))
            if ray and training[-1] is not None:
                raise RuntimeError("this process has trained, and not the queue on Ray")
            machine.say(f"whole {whole[-1]:.3f} s; the same training alone {bare[-1]:.3f} s")
    added = [a - b for a, b in zip(whole, bare, strict=True)]
    ratio = statistics.median(a / b for a, b in zip(whole, bare, strict=True))
    return {
        "engine": options.engine,
        "epochs": epochs,
        "whole_seconds": rounded(whole),
        "alone_seconds": rounded(bare),
        "added_seconds": rounded(added),
        "but_training_seconds": None
        if ray
        else rounded([w - t for w, t in zip(whole, training, strict=True)]),
        "ratio": round(ratio, 4),
        "met": ratio < 1.1 and statistics.median(added) < 1.0,
    }


def coalescing(options: argparse.Namespace, folder: Path, keys: KeyFolder) -> dict[str, Any]:
    """Many requests on few shards: how many retrains they take."""
    session = Session(folder / "coalescing")
    more = argparse.Namespace(
        **{**vars(options), "records": max(options.records, 2 * options.requests)}
    )
    train(session, world(more, folder / "coalescing-records", shards=options.over, epochs=1))
    names = victims(session, options.requests)
    start = time.perf_counter()
    with session.database() as database:
        requests = RequestRepository(database, session.names())
        ids = [requests.submit([name], []).id for name in names]
    submitted = time.perf_counter() - start
    start, retrains = time.perf_counter(), []
    counted = Session(
        session.root,
        make_engine=lambda store, config, card: Counting(store, config, card, retrains),
    )
    with queue_of(counted, keys=keys) as queue:
        queue.round(patient=True, stop=lambda: False)
        found = requests_of(queue.database, counted)
        states = {found[name] for name in ids}
    return {
        "requests": len(ids),
        "shards": options.over,
        "retrains": len(retrains),
        "states": sorted(states),
        "submit_seconds": round(submitted, 3),
        "seconds": round(time.perf_counter() - start, 3),
        "met": states == {"CERTIFIED"} and len(retrains) <= options.over,
    }


class Counting(InlineEngine):
    """Notes each job that it is given."""

    def __init__(self, store: Any, config: Config, card: Any, seen: list[object]) -> None:
        super().__init__(store, config, card)
        self._seen = seen

    def submit(self, job: Any) -> int:
        """Note it."""
        self._seen.append(job)
        return super().submit(job)


def requests_of(database: Any, session: Session) -> dict[str, str]:
    """The state of every request."""
    return {
        request.id: str(request.state)
        for request in RequestRepository(database, session.names()).list()
    }


def rounded(seconds: Sequence[float]) -> list[float]:
    """To the millisecond."""
    return [round(value, 3) for value in seconds]


def main() -> None:
    """Measure and report."""
    options = arguments()
    on = machine.describe()
    with tempfile.TemporaryDirectory(prefix="lmeraser-benchmark-") as name:
        folder = Path(name)
        keys = KeyFolder(folder / "keys")
        keys.init()
        found = {
            "overhead": overhead(options, folder, keys),
            "coalescing": coalescing(options, folder, keys),
        }
    machine.report(
        {
            "benchmark": "erasures",
            **found,
            "met": all(part["met"] for part in found.values()),
            "machine": on,
        }
    )


if __name__ == "__main__":
    main()
