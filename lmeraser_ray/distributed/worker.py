"""What runs in a worker process: a job, with a worker that each process builds once and keeps.

Every new process imports this module before its first retrain: apart from torch, nothing that
starts slowly belongs here.
"""

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import PurePosixPath
from typing import Any, TypeVar

from lmeraser_ray.config import Config
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.models.learners.base import Learner, ignore
from lmeraser_ray.models.learners.registry import make_learners
from lmeraser_ray.pipeline.jobs import Job, TrainConstituent, Worker
from lmeraser_ray.pipeline.logs import line
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.outlet import print_line
from lmeraser_ray.storage.files import files_below, write_temporary
from lmeraser_ray.storage.paths import Location
from lmeraser_ray.storage.store import Store
from lmeraser_ray.storage.times import to_text, utcnow

T = TypeVar("T")
Report = Callable[[str, int], object]
"""Takes the progress of a task: its scratch folder's name and the record passes that it has
trained."""


@dataclass(frozen=True)
class WorkerSpec:
    """What a process must know to work: the store's root, the configuration, the expected backbone.
    run: the scratch folder; learner: replaces the configured one."""

    root: Location
    config_json: str
    card: BackboneCard
    gpus: float = 0.0
    run: str = ""
    learner: Learner | None = None

    @property
    def config(self) -> Config:
        """The configuration."""
        return parsed(self.config_json)

    def store(self) -> Store:
        """The store."""
        return Store(self.root, self.run)


@lru_cache(maxsize=4)
def parsed(config_json: str) -> Config:
    """Parse a configuration from its JSON, once for each process. Errors: `ExecutionError` where
    this process cannot read it."""
    try:
        return Config.model_validate_json(config_json)
    except ValueError as error:
        said = " ".join(str(error).split())[:400]
        raise ExecutionError(
            f"A worker cannot read the configuration ({said}): does it have the same version of "
            "lmeraser_ray as the driver?"
        ) from error


def build_worker(spec: WorkerSpec) -> Worker:
    """Build a worker. Errors: `ExecutionError` where this machine does not see the workspace."""
    if not spec.root.is_dir():
        raise ExecutionError(
            f"A worker on {platform.node()} does not see {spec.root}: put the workspace where all "
            "nodes see it, with the same credentials."
        )
    learners = (spec.learner,) if spec.learner else make_learners(spec.config)
    return Worker(spec.store(), spec.config, learners, spec.card, spec.gpus)


_kept: dict[WorkerSpec, Worker] = {}


def worker_of(spec: WorkerSpec, report: Callable[[int], object] | None = None) -> Worker:
    """Return this process's worker for a description; the backbone stays loaded from one task to
    the next. report: called with a task's record passes."""
    same = replace(spec, run="")
    if spec.learner is not None:
        worker = build_worker(spec)
    elif same in _kept:
        worker = _kept[same]
        worker.store = spec.store()  # this task's scratch folder
    else:
        _kept.clear()  # one backbone at a time in memory
        worker = _kept[same] = build_worker(spec)
    worker.report = report or ignore
    return worker


def run_job(spec: WorkerSpec, scratch: str, job: Job[T], report: Report | None) -> T:
    """Run a job, with a line in this process's log at its begin and at its end.

    scratch: the folder, below the command's own, that only this task writes to before its objects
    have their names.
    """
    about = {"shard": job.key, "records": job.weight, "gpus": spec.gpus, "pid": os.getpid()}
    say(f"{job.name}-started", about)
    start = time.monotonic()
    try:
        result = job.run(
            worker_of(
                replace(spec, run=str(PurePosixPath(spec.run, scratch))),
                report and partial(report, scratch),
            )
        )
    except BaseException as error:
        say(
            f"{job.name}-failed",
            {**about, "seconds": round(time.monotonic() - start, 3), "error": type(error).__name__},
        )
        raise
    say(f"{job.name}-ended", {**about, "seconds": round(time.monotonic() - start, 3)})
    return result


def run_jobs(spec: WorkerSpec, scratch: str, jobs: Sequence[Job[T]]) -> Iterator[T]:
    """Run jobs one after the other and yield the result of each as it ends. Where the worker of an
    earlier try of this task died, what that had stored is not trained again."""
    store = replace(spec, run=str(PurePosixPath(spec.run, scratch))).store()
    tried = bool(files_below(store.scratch))
    write_temporary(store.scratch, [b""])  # what a later try finds
    listing = store.listing() if tried else {}
    for job in jobs:
        found: Any = None
        if tried and isinstance(job, TrainConstituent):
            found = job.stored(listing, spec.config.members[job.member].learner)
        yield run_job(spec, scratch, job, None) if found is None else found


def say(what: str, facts: Mapping[str, object]) -> None:
    """Write a line to stderr, which Ray keeps with the worker's log. Of an error only its kind is
    logged: its message may name a record."""
    print_line(line({"time": to_text(utcnow()), "event": what, **facts}))
