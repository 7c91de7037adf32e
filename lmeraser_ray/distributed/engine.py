"""The Ray engine: one task a job, features by Ray Data, started only when there is something to do.

Invariants: a task is told keys and rows, never pictures; it writes its result to the store itself, so a retry or a twin does no harm; what
finished before an interruption is found by key the next time. The heaviest jobs go first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import ray
import ray.exceptions

from lmeraser_ray.config import Config
from lmeraser_ray.data.reading import Features, Rows
from lmeraser_ray.distributed.cluster import connect, disconnect, total
from lmeraser_ray.distributed.features import stream_features
from lmeraser_ray.distributed.worker import WorkerSpec, worker_of
from lmeraser_ray.engine import T
from lmeraser_ray.errors import ConfigError, ExecutionError, LmeraserError
from lmeraser_ray.learners.learner import Learner
from lmeraser_ray.state.manifest import BackboneCard
from lmeraser_ray.state.store import Store
from lmeraser_ray.work import Job


def run_job(spec: WorkerSpec, job: Job[T]) -> T:
    """What a task does."""
    return job.run(worker_of(spec))


class RayEngine:
    """Carries work out on Ray. A cluster that it started ends with `close`."""

    def __init__(self, store: Store, config: Config, card: BackboneCard, *, learner: Learner | None = None) -> None:
        self.spec = WorkerSpec(store.root.absolute(), config.model_dump_json(), card, run=store.run, learner=learner)
        self.execution = config.execution
        self._owns = False
        self._task: Any = None

    def start(self) -> None:
        """Connect to the cluster, or start one."""
        self._owns = connect(self.execution) or self._owns

    def features(self, batches: Sequence[Rows]) -> Iterator[tuple[int, Features]]:
        """As the pool delivers them."""
        try:
            yield from stream_features(self._spec(self.execution.feature_gpus, 0.5), batches)
        except Exception as error:
            raise translated(error) from error

    def run(self, jobs: Sequence[Job[T]]) -> Iterator[tuple[int, T]]:
        """As tasks finish. What is still running when the caller stops listening is cancelled."""
        spec = self._spec(self.execution.task_gpus, 0.25)
        shared = ray.put(spec)
        order = sorted(range(len(jobs)), key=lambda i: -jobs[i].weight)
        waiting = {self._remote(spec.gpus).remote(shared, jobs[i]): i for i in order}
        try:
            while waiting:
                done, _ = ray.wait(list(waiting), num_returns=1)
                for reference in done:
                    yield waiting.pop(reference), ray.get(reference)
        except Exception as error:
            raise translated(error) from error
        finally:
            for reference in waiting:
                ray.cancel(reference, force=True)

    def _spec(self, gpus: float | None, usual: float) -> WorkerSpec:
        """The workers' description with their fraction of a GPU: as configured, else the usual one where the cluster has any."""
        there = total("GPU")
        if gpus is not None and gpus > there:
            raise ConfigError(f"A worker is to have {gpus:g} GPUs, the cluster has {there:g}: lower execution.task_gpus or feature_gpus.")
        wanted = there and self.execution.device != "cpu"
        return replace(self.spec, gpus=gpus if gpus is not None else (usual if wanted else 0.0))

    def _remote(self, gpus: float) -> Any:
        """The task with its resources. `max_calls` can be set only where the task is made; GPU tasks default to a process each."""
        if self._task is None:
            execution = self.execution
            make = ray.remote(
                num_cpus=1,
                num_gpus=gpus,
                max_retries=execution.retries,
                max_calls=0 if execution.reuse_workers else 1,
            )
            self._task = make(run_job)
        return self._task

    def close(self) -> None:
        """End the cluster if this engine started it."""
        if self._owns:
            disconnect()
            self._owns = False


def translated(error: BaseException) -> Exception:
    """Ray's error as one of ours: the cause that our own code raised, else an `ExecutionError` that says what Ray said."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, LmeraserError) and not isinstance(link, ray.exceptions.RayError):  # Ray's wrapper is of both kinds
            return link
        link = getattr(link, "cause", None) or link.__cause__
    if isinstance(error, ray.exceptions.WorkerCrashedError | ray.exceptions.ActorDiedError | ray.exceptions.OutOfMemoryError):
        return ExecutionError(
            f"A worker died more often than execution.retries allows ({type(error).__name__}), perhaps for want of memory: run fewer at "
            "once (--execution.cpus), then run the same command again; what is finished is kept."
        )
    first = str(error).strip().splitlines()
    return ExecutionError(f"Ray could not finish the work ({type(error).__name__}: {first[-1] if first else 'no message'}).")
