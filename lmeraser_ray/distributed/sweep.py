"""The trials of a sweep under Ray Tune: an actor a trial, on (a fraction of) a GPU, as many at once
as the cluster has room for.

    driver: planned trials ──Tune──► trial actors, each with an engine of its own ──► store
                                        └─ an actor of claims: which trial trains which constituent

Invariants: trials are stopped by the same `Race` as in one process; every result is in the store or
the study, so that Tune's state, in the command's scratch folder, may be lost; a constituent that
two trials need is trained by the first that claims it. A trial trains within its own actor, and
starts no task: its placement group would have no room for one.
"""

import json
import logging
import os
import platform
import secrets
from collections.abc import Generator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import Stopper
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from lmeraser_ray import errors
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.distributed.claims import Claimant, ClaimsActor
from lmeraser_ray.distributed.cluster import here, require_room, working
from lmeraser_ray.distributed.engine import RayEngine
from lmeraser_ray.distributed.translation import translated
from lmeraser_ray.distributed.worker import parsed
from lmeraser_ray.errors import ConfigError, ExecutionError, LmeraserError
from lmeraser_ray.pipeline.engine import InlineEngine
from lmeraser_ray.pipeline.flow import Flow, Prototypes
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.pipeline.waiting import Waiting
from lmeraser_ray.storage.files import discard_tree, disk_errors, make_folder
from lmeraser_ray.storage.paths import require_disk
from lmeraser_ray.storage.store import Store
from lmeraser_ray.study.asked_unit import AskedUnit
from lmeraser_ray.study.race import Race
from lmeraser_ray.study.trial import Step, course
from lmeraser_ray.study.trial_round import TrialRound

PATIENCE = 10.0
"""Seconds to wait at most for the last calls of the actor of claims."""
SETTINGS = {
    # which prints to stdout however quiet it is to be; the older one does not
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # paths that a person typed stay what they were
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # results are the study's
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the command, as everywhere
    "TUNE_RESULT_BUFFER_LENGTH": "1",  # a hopeless trial trains nothing more
    "TUNE_FORCE_TRIAL_CLEANUP_S": "10",  # what a stopped trial still trains is for nobody
}
VALUE, STEP = "value", "step"


@dataclass(frozen=True)
class TrialSpec:
    """What a trial's actor must know of one value."""

    config_json: str
    card: BackboneCard
    public: Prototypes


@dataclass(frozen=True)
class SweepSpec:
    """What every trial's actor must know. run: the scratch folder that it writes to before objects
    have their names; trials: by the name of the value; unit: what costs are of."""

    root: Path
    run: str
    gpus: float
    buckets: list[Bucket]
    trials: dict[str, TrialSpec]
    unit: AskedUnit


class SweepTrial(tune.Trainable):  # type: ignore[misc]
    """One trial: a step of Tune is a step of its `course`. Tune uses an actor for one value after
    the other."""

    def setup(
        self, config: dict[str, Any], spec: SweepSpec | None = None, claims: Any = None
    ) -> None:
        """Begin the first value. Errors: `ExecutionError` where this machine does not see the
        study."""
        if spec is None or not spec.root.is_dir():
            raise ExecutionError(
                f"A worker on {platform.node()} does not see the study: put it where all nodes "
                "see it."
            )
        self.spec, self.claims = spec, claims
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another value."""
        self.steps = self.begin(new_config[VALUE])
        return True

    def begin(self, name: str) -> Generator[Step, None, None]:
        """Begin the course of a value. A trial that died before claims again what it had
        claimed."""
        trial = self.spec.trials[name]
        store, config = Store(self.spec.root, self.spec.run), parsed(trial.config_json)
        engine = InlineEngine(store, config, trial.card)
        engine.worker.gpus = self.spec.gpus
        flow = Flow(store, config, trial.card, engine, Progress(quiet=True), trial.public)
        return course(name, flow, self.spec.buckets, Claimant(self.claims, name), self.spec.unit)

    def step(self) -> dict[str, Any]:
        """Return the next step as JSON, or the `LmeraserError` that ended the course."""
        try:
            step: dict[str, Any] = asdict(next(self.steps))
        except LmeraserError as error:
            step = {"error": [type(error).__name__, str(error)]}
        return {STEP: json.dumps(step)}


class Stopping(FIFOScheduler):  # type: ignore[misc]
    """Hands each step to the race, and stops the trials that the race stops."""

    def __init__(self, race: Race, claims: Any, waiting: Waiting) -> None:
        super().__init__()
        self.race, self.claims, self.waiting = race, claims, waiting
        self.error: LmeraserError | None = None
        self.released: list[Any] = []

    def __getstate__(self) -> dict[str, Any]:
        """Pickle nothing: Tune writes this object to its folder, too, and never reads it."""
        return {}

    def release(self, trial: str) -> None:
        """Give up the claims of a trial that ends."""
        self.released.append(self.claims.release.remote(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:  # noqa: ARG002 - as Tune calls it
        """Continue or stop the trial. A value that does not suit the data or the backbone ends
        alone; any other error ends all trials."""
        self.waiting.came()
        name, step = trial.config[VALUE], json.loads(result[STEP])
        goes_on = False
        if "error" not in step:
            goes_on = self.race.heard(name, Step(**{**step, "trained": tuple(step["trained"])}))
        elif step["error"][0] == ConfigError.__name__:
            self.race.gave_up(name, step["error"][1])
        else:
            kind, message = step["error"]
            self.error = self.error or getattr(errors, kind)(message)
        if goes_on:
            return str(TrialScheduler.CONTINUE)
        self.release(name)
        return str(TrialScheduler.STOP)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:  # noqa: ARG002 - as Tune calls it
        """A trial's worker died too often: release what the trial had claimed."""
        self.release(trial.config[VALUE])


class Over(Stopper):  # type: ignore[misc]
    """Ends all trials when the race is over, or when one met an error that ends the sweep."""

    def __init__(self, scheduler: Stopping) -> None:
        self.scheduler = scheduler

    def __getstate__(self) -> dict[str, Any]:
        """Pickle nothing: Tune writes this object to Ray's session folder, and the race holds ids
        and digests of records."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002 - as Tune calls it
        """Stop no single trial: the scheduler does."""
        return False

    def stop_all(self) -> bool:
        """Whether to end."""
        return self.scheduler.race.over or self.scheduler.error is not None


def start_claims() -> Any:
    """Start the actor of claims on this process's node, so that the loss of another node leaves it
    alone. One that Ray starts again has no claims."""
    options = {
        "num_cpus": 0,
        "max_concurrency": 1000,
        "max_restarts": -1,
        "max_task_retries": -1,
        "scheduling_strategy": here(),
    }
    return ray.remote(**options)(ClaimsActor).remote()


def end_claims(claims: Any, released: list[Any]) -> None:
    """End the actor of claims, after what it was last asked: Ray prints a line for each call that
    it cuts off."""
    if released:
        ray.wait(released, num_returns=len(released), timeout=PATIENCE)
    ray.kill(claims)


def run_on_ray(work: TrialRound, race: Race) -> None:
    """Run the planned trials. Errors: those that a trial met; `ExecutionError` where a worker died
    too often."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # errors come as exceptions
    if not work.trials:
        return
    store, first = work.store, work.trials[0]
    root, scratch = (
        require_disk(store.root).absolute(),
        require_disk(store.scratch) / secrets.token_hex(8),
    )
    execution, gpus = first.config.execution, RayEngine(store, first.config, first.card).gpus
    require_room(execution, gpus)
    with disk_errors(scratch):
        make_folder(scratch, parents=False)
    known = {
        trial.name: TrialSpec(trial.config.model_dump_json(), trial.card, trial.public)
        for trial in work.trials
    }
    spec = SweepSpec(root, f"{store.run}/{scratch.name}", gpus, work.buckets, known, work.unit)
    claims = start_claims()
    scheduler = Stopping(race, claims, working(execution, "trials"))
    try:
        with scheduler.waiting:
            grid = tuner(spec, scheduler, claims, scratch / "tune", execution.retries).fit()
    except ray.exceptions.RayError as error:
        raise translated(error) from error
    finally:
        discard_tree(scratch)  # a stopped trial that still writes finds no folder
        with suppress(ray.exceptions.RayError):  # the cluster is gone, and the actor with it
            end_claims(claims, scheduler.released)
    if scheduler.error:
        raise scheduler.error
    if grid.errors and not race.over:
        raise ended(grid.errors[0])


def ended(error: Exception) -> Exception:
    """Return the error to raise for one that ended a trial for good."""
    if isinstance(error, ray.exceptions.RayTaskError):
        return translated(error)
    return ExecutionError(
        "The worker of a trial died more often than execution.retries allows "
        f"({type(error).__name__}), perhaps for want of memory: run the same command again; what "
        "is finished is kept."
    )


def tuner(spec: SweepSpec, scheduler: Stopping, claims: Any, folder: Path, retries: int) -> Any:
    """Set Tune up: one trial a value, in the order of the values."""
    trainable = tune.with_parameters(SweepTrial, spec=spec, claims=claims)
    return tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1, "gpu": spec.gpus}),
        param_space={VALUE: tune.grid_search(list(spec.trials))},
        tune_config=tune.TuneConfig(scheduler=scheduler, reuse_actors=True),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=str(folder.absolute()),
            stop=Over(scheduler),
            failure_config=tune.FailureConfig(max_failures=retries),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # all is in the store
            verbose=0,
        ),
    )
