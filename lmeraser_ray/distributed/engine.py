"""The Ray engine: one task a job or a bundle of small ones, features by Ray Data, started only when
there is something to do.

Invariants: a task is given keys and rows, never pictures; it writes its result to the store itself,
so that a retry or a duplicate does no harm; what finished before an interruption is found by key
the next time. The heaviest jobs go first.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
import ray.exceptions

from lmeraser_ray.config import Config
from lmeraser_ray.config.execution import FEATURE_GPUS, TASK_GPUS
from lmeraser_ray.data.feature_file import Features
from lmeraser_ray.data.reader import Rows
from lmeraser_ray.distributed.cluster import (
    connect,
    disconnect,
    require_room,
    session_folder,
    total,
    working,
)
from lmeraser_ray.distributed.held import HeldInCluster
from lmeraser_ray.distributed.translation import translated
from lmeraser_ray.distributed.worker import Report, WorkerSpec, run_job, run_jobs
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.learners.base import Learner
from lmeraser_ray.pipeline.engine import Engine, EngineKind, Outcome
from lmeraser_ray.pipeline.jobs import Job
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.queries import HeldQueries, PrepareQueries
from lmeraser_ray.pipeline.waiting import Waiting
from lmeraser_ray.storage.files import discard_tree, disk_errors, make_folder
from lmeraser_ray.storage.paths import Location
from lmeraser_ray.storage.store import Store


@dataclass(frozen=True)
class RunningTask:
    """A task under way, with its scratch folder, and since when. reference: of the job's result or,
    where there are several jobs, the generator of their references; tickets: of the jobs that have
    not ended, in their order."""

    reference: Any
    scratch: Location
    since: float
    tickets: list[int]
    several: bool


class RayEngine(Engine):
    """Carries work out on Ray. A cluster that it started ends with `close`."""

    def __init__(
        self,
        store: Store,
        config: Config,
        card: BackboneCard,
        *,
        learner: Learner | None = None,
        report: Report | None = None,
    ) -> None:
        """report: called in the workers with a task's progress; must be picklable and quick."""
        self.spec = WorkerSpec(
            store.root.absolute(), config.model_dump_json(), card, run=store.run, learner=learner
        )
        self.store, self.execution, self.report = store, config.execution, report
        self.passes: dict[str, int] = {}
        """The record passes that each task under way has reported, by the name of its scratch
        folder."""
        self.seconds = 0.0
        """Of all tasks that have ended, waiting for their turn included."""
        self._owns = self._roomy = False
        self._tasks: dict[Callable[..., object], Any] = {}
        self._shared: Any = None
        self._running: dict[int, RunningTask] = {}
        self._waiting: Waiting | None = None
        self._next = 0

    @property
    def kind(self) -> EngineKind:
        """Ray."""
        return "ray"

    @property
    def folders(self) -> tuple[Path, ...]:
        """The cluster's session folder on this machine: spilled objects and logs."""
        found = session_folder()
        return (found,) if found else ()

    @property
    def slots(self) -> int:
        """As configured, else one a CPU that is there, and no more than all GPUs' worth of
        tasks."""
        if self.execution.slots is not None:
            return self.execution.slots
        cpus = int(total("CPU"))
        return max(1, min(cpus, int(total("GPU") / self.gpus)) if self.gpus else cpus)

    @property
    def gpus(self) -> float:
        """As configured, else `TASK_GPUS` where the cluster has GPUs."""
        return self._spec(self.execution.task_gpus, TASK_GPUS).gpus

    def start(self) -> None:
        """Connect to the cluster, or start one, and look once whether it has room for a task."""
        self._owns = connect(self.execution) or self._owns
        if not self._roomy:
            require_room(self.execution, self.gpus)
            self._roomy = True

    def features(self, parts: Sequence[Rows]) -> Iterator[tuple[int, int, Features]]:
        """As the pool delivers them."""
        from lmeraser_ray.distributed.features import stream_features

        try:
            with working(self.execution, "features") as waiting:
                for batch in stream_features(
                    self._spec(self.execution.feature_gpus, FEATURE_GPUS), parts
                ):
                    waiting.came()
                    yield batch
        except Exception as error:
            raise translated(error) from error

    def submit(self, job: Job[Any]) -> int:
        """Start the job as a task."""
        task, scratch = self._remote(run_job).options(name=job.name), self._scratch()
        reference = task.remote(self._described(), scratch.name, job, self.report)
        self.passes[scratch.name] = 0
        return self._follow(reference, scratch, 1)[0]

    def submit_together(self, jobs: Sequence[Job[Any]]) -> list[int]:
        """Start the jobs as one task, which yields the result of each."""
        if len(jobs) == 1:
            return [self.submit(jobs[0])]
        task = self._remote(run_jobs).options(name=jobs[0].name, num_returns="streaming")
        scratch = self._scratch()
        results = task.remote(self._described(), scratch.name, tuple(jobs))
        return self._follow(results, scratch, len(jobs))

    def _scratch(self) -> Location:
        """A scratch folder for one task: when the folder is removed, nothing that the task might
        still write finds a place."""
        scratch = self.store.scratch / secrets.token_hex(8)
        with disk_errors(scratch):
            make_folder(scratch, parents=False)
        return scratch

    def _follow(self, reference: Any, scratch: Location, jobs: int) -> list[int]:
        """Tickets for the jobs of a task."""
        tickets = list(range(self._next + 1, self._next + 1 + jobs))
        self._next += jobs
        task = RunningTask(reference, scratch, time.monotonic(), list(tickets), jobs > 1)
        self._running.update(dict.fromkeys(tickets, task))
        if self._waiting is None:
            self._waiting = working(self.execution, "tasks").__enter__()
        return tickets

    def hold(self, job: PrepareQueries) -> HeldQueries:
        """In the cluster's object store, which puts what is too much for memory on the disks of
        its nodes; a node that is lost has its blocks decoded again."""
        task = self._remote(run_job).options(name=job.name, num_gpus=0)
        return HeldInCluster(task.remote(self._described(), "", job, None))

    def wait(self, seconds: float | None = None) -> list[Outcome]:
        """What has finished."""
        tasks = {task.reference: task for task in self._running.values()}
        if not tasks:
            return []
        done, _ = ray.wait(list(tasks), num_returns=len(tasks), timeout=0)
        if not done:
            done, _ = ray.wait(list(tasks), num_returns=1, timeout=seconds)
        return [outcome for reference in done for outcome in self._outcomes(tasks[reference])]

    def _outcomes(self, task: RunningTask) -> list[Outcome]:
        """The next result of a task, or its end by an error: then none of its jobs goes on."""
        ticket = task.tickets[0]
        try:
            reference = next(task.reference) if task.several else task.reference
            found = [Outcome(ticket, ray.get(reference))]
        except ray.exceptions.RayError as error:
            found = [Outcome(each, error=translated(error)) for each in task.tickets]
        for outcome in found:
            self._forget(outcome.ticket)
        return found

    def cancel(self, ticket: int) -> None:
        """Kill the task's worker; also where that fails, the task's scratch folder is removed."""
        task = self._running.get(ticket)
        if task:
            try:
                ray.cancel(task.reference, force=True)
            finally:
                for each in tuple(task.tickets):
                    self._forget(each)

    def _forget(self, ticket: int) -> None:
        """Note that a job has ended, and with its last one the task."""
        task = self._running.pop(ticket)
        if self._waiting is not None:
            self._waiting.came()
            if not self._running:
                self._waiting.__exit__(None, None, None)
                self._waiting = None
        task.tickets.remove(ticket)
        if task.tickets:
            return
        self.seconds += time.monotonic() - task.since
        self.passes.pop(task.scratch.name, None)
        discard_tree(task.scratch)

    def hear(self, scratch: str, passes: int) -> None:
        """Note what a task has reported; ignored where the task has ended."""
        if scratch in self.passes:
            self.passes[scratch] = passes

    def records(self, ticket: int) -> int:
        """As the task last reported."""
        task = self._running.get(ticket)
        return self.passes.get(task.scratch.name, 0) if task else 0

    def _described(self) -> Any:
        """The workers' description, by reference."""
        if self._shared is None:
            self._shared = ray.put(self._spec(self.execution.task_gpus, TASK_GPUS))
        return self._shared

    def _spec(self, gpus: float | None, usual: float) -> WorkerSpec:
        """The workers' description with their fraction of a GPU: as configured, else the usual one
        where the cluster has any."""
        there = total("GPU")
        if gpus is not None and gpus > there:
            raise ConfigError(
                f"A worker is to have {gpus:g} GPUs, the cluster has {there:g}: lower "
                "execution.task_gpus or feature_gpus."
            )
        wanted = there and self.execution.device != "cpu"
        return replace(self.spec, gpus=gpus if gpus is not None else (usual if wanted else 0.0))

    def _remote(self, work: Callable[..., object]) -> Any:
        """The task with its resources. `max_calls` can be set only where the task is made; GPU
        tasks default to a process each."""
        if work not in self._tasks:
            execution = self.execution
            make = ray.remote(
                num_cpus=1,
                num_gpus=self.gpus,
                max_retries=execution.retries,
                max_calls=0 if execution.reuse_workers else 1,
            )
            self._tasks[work] = make(work)
        return self._tasks[work]

    def close(self) -> None:
        """Stop what is under way, whose caller has gone, and end the cluster if this engine started
        it."""
        for ticket in list(self._running):
            with suppress(ray.exceptions.RayError):  # the cluster is gone, and the task with it
                self.cancel(ticket)
        if self._owns:
            disconnect()
            self._owns = False
