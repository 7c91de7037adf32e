"""`sweep`: which threshold, or any other value, to train with: accuracy, expected deletion cost and
inference cost of each value, and a recommendation.

    records (without the erased) → plan every value → trials side by side in one store
        → were records erased meanwhile? again without them → a recommendation

Every trial is measured as `compare` measures. A constituent that several values need is trained
once; a value that a measured one beats in any case is stopped; an interrupted sweep continues. All
results are in the study: the state of Ray Tune is removed with the command.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

from lmeraser_ray.config import Config, PictureSgdConfig
from lmeraser_ray.config.several import several
from lmeraser_ray.data.index import RecordIndex, remaining
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.partition.shard_count import with_shard_count
from lmeraser_ray.pipeline.engines import cluster, run_trials
from lmeraser_ray.pipeline.flow import Planned, load_inputs
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.work_ahead import training_passes
from lmeraser_ray.storage.database.postgresql import refuse_password
from lmeraser_ray.storage.paths import Location, require_disk
from lmeraser_ray.storage.store import StoredObject
from lmeraser_ray.study.candidates import LARGE_SAMPLE, Suits, suits_any
from lmeraser_ray.study.deadline import TIME_OVER, Deadline
from lmeraser_ray.study.ingested_flow import refused
from lmeraser_ray.study.measure import Extent, settings
from lmeraser_ray.study.race import Race, Stopped, point_of
from lmeraser_ray.study.recommendation import USUAL, Question
from lmeraser_ray.study.study_folder import StudyFolder, digest_of
from lmeraser_ray.study.sweep_records import ErasureWatch, refuse_one_sided, sweep_records
from lmeraser_ray.study.sweep_report import Records, Sharing, SweepResult, Written, write
from lmeraser_ray.study.trial import Alone, course
from lmeraser_ray.study.trial_round import PlannedTrial, TrialRound
from lmeraser_ray.study.variants import Variant

RECORDS, SHARING = "records-of-sweep", "sharing-of-sweep"
"""Names under which a study keeps which records a sweep was on, and how its trials shared
constituents."""


@dataclass(frozen=True)
class SweepRequest:
    """What is swept: one variant a value.

    workspace: records that it has erased are left out, None for none; keep: leave the store when
    all is done; question: what is recommended; seconds: after which no trial goes on, None for no
    end; verb: which command asks, after which the results are named; unsuited: why some values are
    none, by name; suits: returns why a value does not suit the records, None where it does.
    """

    variants: Sequence[Variant]
    workspace: Location | None = None
    keep: bool = False
    question: Question = USUAL
    seconds: float | None = None
    verb: str = "sweep"
    unsuited: Mapping[str, str] = field(default_factory=dict)
    suits: Suits = suits_any

    def __post_init__(self) -> None:
        """Errors: `TypeError` where the variants are a bare text."""
        several(self.variants, "variants", Variant)


def sweep(session: Session, request: SweepRequest) -> Written:
    """Measure every value in the study `session.root`, recommend one and write the results.

    Errors: `ConfigError` where a value is wrong, before anything is measured; those of training;
    `DataError` without records to judge by.
    """
    configs = {variant.name: variant.config() for variant in request.variants}
    first = next(iter(configs.values()))
    refuse_password(first.queue.database)
    deadline = Deadline(request.seconds)
    study, erasures = StudyFolder(require_disk(session.root)), ErasureWatch(request.workspace)
    erased = erasures.now()
    failed = {**request.unsuited, **refused(configs)}
    if failed.keys() >= configs.keys():
        raise none_measured(failed)
    study.create()
    with study.store(keep=request.keep) as store, cluster(first.execution):
        with session.progress.stage("ingest"):
            buckets = sweep_records(first, store, erased)
        index = RecordIndex.read(store, buckets)
        configs = {name: with_shard_count(config, index) for name, config in configs.items()}
        failed |= {
            name: reason
            for name, config in configs.items()
            if (reason := request.suits(config, index)) is not None and name not in failed
        }
        again = 0
        while True:
            index, unit = RecordIndex.read(store, buckets), request.question.unit
            work = TrialRound(session, store, buckets, index, unit)
            race = Race(deadline, request.question.budget, failed=dict(failed))
            measuring = Sweep(work, study, configs, race)
            measuring.run(erasures)
            gone = erasures.gone(first, work.index)
            if not gone.any():
                break
            again += int(gone.sum())
            session.progress.say(
                f"{int(gone.sum()):,} records were erased meanwhile: measured again without them"
            )
            buckets = remaining(store, work.index, gone)
            refuse_one_sided(first, RecordIndex.read(store, buckets))
        tested = int(work.index.test.sum())
        records = Records(first.sweep.on, len(work.index) - tested, tested, again)
        result = measuring.result(records, request.question)
        return write(study, request.verb, request.variants, result, work.index)


class Sweep:
    """One round: all values on one set of records."""

    def __init__(
        self, work: TrialRound, study: StudyFolder, configs: dict[str, Config], race: Race
    ) -> None:
        """race: knows why some of the configurations cannot be trained at all."""
        self.round, self.study, self.configs = work, study, configs
        records = digest_of([bucket.key for bucket in work.buckets])
        if study.recall(RECORDS, records) is None:
            # Measured on other records, of which some may have been erased.
            study.forget(kept(""))
            study.note(RECORDS, records, {})
        self.made = {
            name: [settings(config, Extent(0, 0)), config.sweep.on, records, asdict(work.unit)]
            for name, config in configs.items()
        }
        self.results: dict[str, dict[str, Any]] = {}
        self.race = race
        race.note = self.note
        self.reused: frozenset[str] = frozenset()
        self._recall()
        self.known = len(self.results) + len(self.race.stopped)

    def _recall(self) -> None:
        """Recall what earlier commands measured on these records. A stopped value stays stopped
        where the value that beats it is measured."""
        recalled = {
            name: found
            for name in self.configs
            if (found := self.study.recall(kept(name), self.made[name])) is not None
        }
        self.results = {name: found for name, found in recalled.items() if "stopped" not in found}
        self.race.measured = {name: point_of(name, found) for name, found in self.results.items()}
        stopped = {
            name: Stopped.read(found) for name, found in recalled.items() if "stopped" in found
        }
        self.race.stopped = {
            name: found for name, found in stopped.items() if found.by in self.results
        }

    def note(self, name: str, result: dict[str, Any]) -> None:
        """Keep the result of a value, measured or stopped."""
        if "stopped" not in result:
            self.results[name] = result
        point = self.race.stopped[name].at_most if "stopped" in result else point_of(name, result)
        most = " at most: stopped" if "stopped" in result else ""
        self.round.session.progress.say(
            f"{name}: {point.accuracy:.2%} right{most}, {point.cost:.2%} of a training for "
            f"{self.round.unit.words}"
        )
        self.study.note(kept(name), self.made[name], result)

    def run(self, erasures: ErasureWatch) -> None:
        """Plan and measure the values that are not measured yet. Returns early where a record of
        the sweep is erased meanwhile."""
        waiting = {
            n: config
            for n, config in self.configs.items()
            if n not in self.results and n not in self.race.stopped and n not in self.race.failed
        }
        if not waiting:
            return
        first, progress = next(iter(self.configs.values())), self.round.session.progress
        self.race.erased = lambda: bool(erasures.gone(first, self.round.index, hurry=True).any())
        with progress.stage("plan"):
            self._plan(waiting)
        with progress.stage("trials"):
            run = run_inline if first.execution.engine == "inline" else run_trials
            run(self.round, self.race)

    def _plan(self, waiting: dict[str, Config]) -> None:
        """Compute features, partition and plan of each value. What no plan reaches is removed from
        the store, and with it what was made of erased records."""
        loaded: dict[str, Backbone] = {}
        wanted: set[StoredObject] = set()
        store, session = self.round.store, self.round.session
        for name, config in waiting.items():
            try:
                inputs = load_inputs(config, loaded)
                inputs.check_labels(self.round.index)
                public = inputs.prototypes(store)
                with session.flow(store, config, inputs.card, public) as flow:
                    planned = flow.plan(self.round.buckets, None)
            except ConfigError as error:
                self.race.gave_up(name, str(error))
                continue
            wanted |= set(planned.needed())
            self.reused |= {
                spec.key for spec in planned.plan.specs if spec.key in planned.plan.reuse
            }
            self.round.trials.append(
                PlannedTrial(
                    name,
                    config,
                    inputs.card,
                    public,
                    planned.plan.specs,
                    passes_ahead(config, planned),
                )
            )
        self.round.trials.sort(key=training_work)
        store.purge(wanted)

    def sharing(self) -> Sharing:
        """Return how the trials of this command shared constituents; where it had none, how those
        of the last command did."""
        made = [self.made, sorted(self.results)]
        if not self.round.trials:
            recalled = self.study.recall(SHARING, made)
            return (
                Sharing(**recalled) if recalled else Sharing(0, self.known, 0, 0, 0, 0, 0, 0, 0, 0)
            )
        specs = {spec.key: spec.passes() for trial in self.round.trials for spec in trial.specs}
        needed = [(spec.key, spec.passes()) for trial in self.round.trials for spec in trial.specs]
        there = self.round.store.listing()
        spared = {key for key in specs if ("constituents", key) not in there}
        sharing = Sharing(
            trials=len(self.round.trials),
            measured_before=self.known,
            needed=len(needed),
            distinct=len(specs),
            found=len(self.reused),
            trained=len(self.race.trained),
            spared=len(spared),
            records_needed=sum(passes for _, passes in needed),
            records_trained=self.race.records,
            records_spared=sum(specs[key] for key in spared),
        )
        self.study.note(SHARING, made, asdict(sharing))
        return sharing

    def result(self, records: Records, question: Question) -> SweepResult:
        """Return all that is known at the end. Errors: `ConfigError` where no value could be
        measured."""
        order = {name: self.results[name] for name in self.configs if name in self.results}
        known = {*order, *self.race.stopped, *self.race.failed}
        untried = {
            name: self.race.untried.get(name, TIME_OVER)
            for name in self.configs
            if name not in known
        }
        if not order:
            raise none_measured({**untried, **self.race.failed})
        return SweepResult(
            self.configs,
            order,
            dict(self.race.stopped),
            dict(self.race.failed),
            untried,
            records,
            self.sharing(),
            question,
        )


def none_measured(why: Mapping[str, str]) -> ConfigError:
    """Return the error where no value could be measured. why: by name."""
    return ConfigError(f"No value could be measured: {next(iter(why.values()))}")


def training_work(trial: PlannedTrial) -> tuple[bool, bool, int]:
    """Return what orders trials, the least work first: whether their learner sees pictures, whether
    it takes long to say what their deletions cost, and the record passes."""
    pictures = any(isinstance(m.learner, PictureSgdConfig) for m in trial.config.members)
    sampled = [getattr(m.partition, "sample_size", 0) for m in trial.config.members]
    return pictures, max(sampled) >= LARGE_SAMPLE, trial.passes


def passes_ahead(config: Config, planned: Planned) -> int:
    """Return the record passes of all trainings that a plan still needs."""
    return sum(training_passes(config, planned.index, build) for build in planned.plan.build)


def kept(name: str) -> str:
    """The name of a measurement among a study's runs."""
    return f"sweep.{name}"


def run_inline(work: TrialRound, race: Race) -> None:
    """Run the planned trials one after the other in this process."""
    for trial in work.trials:
        if race.deadline.passed:
            return
        with work.session.flow(work.store, trial.config, trial.card, trial.public) as flow:
            try:
                with closing(course(trial.name, flow, work.buckets, Alone(), work.unit)) as steps:
                    for step in steps:
                        if not race.heard(trial.name, step):
                            break
            except ConfigError as error:
                race.gave_up(trial.name, str(error))
        if race.over:
            return
