"""`sweep`: which threshold, or any other value, to train with: accuracy, expected deletion cost and
inference cost of each, and a choice.

    records (less the erased) → plan every value → trials, side by side, in one store → erased meanwhile? again without them → a choice

Every trial is measured as `compare` measures. A constituent that several values need is trained
once; a value that a finished one beats whatever happens is stopped; an interrupted sweep goes on.
Truth is in the study: Ray Tune's own state is progress, and goes with the command.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from lmeraser_ray.config import Config
from lmeraser_ray.data.index import RecordIndex, remaining
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.pipeline.flow import Planned, load_inputs, refused
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.postgresql import refuse_password
from lmeraser_ray.storage.paths import Location, require_disk
from lmeraser_ray.storage.store import StoredObject
from lmeraser_ray.study.compare import one_cluster
from lmeraser_ray.study.measure import Extent, settings
from lmeraser_ray.study.race import Race, Stopped, point_of
from lmeraser_ray.study.ready import PlannedTrial, Ready
from lmeraser_ray.study.study_folder import StudyFolder, digest_of
from lmeraser_ray.study.sweep_records import ErasureWatch, refuse_one_sided, sweep_records
from lmeraser_ray.study.sweep_report import Records, Sharing, Swept, Written, write
from lmeraser_ray.study.trial import Alone, course
from lmeraser_ray.study.variants import Variant

RECORDS, SHARING = "records-of-sweep", "sharing-of-sweep"
"""Names of what a study keeps of a sweep: on which records it was, and how its trials shared
constituents."""


@dataclass(frozen=True)
class SweepRequest:
    """What is swept: a variant a value. workspace: whose erasures count, None for no one's; keep:
    leave the store."""

    variants: Sequence[Variant]
    workspace: Location | None = None
    keep: bool = False


def sweep(session: Session, question: SweepRequest) -> Written:
    """Measure every value in the study `session.root` and choose. Errors: those of training;
    `DataError` without records to judge by."""
    configs = {
        variant.name: variant.config() for variant in question.variants
    }  # all errors come first
    first = next(iter(configs.values()))
    refuse_password(first.queue.database)
    study, erasures = StudyFolder(require_disk(session.root)), ErasureWatch(question.workspace)
    erased = erasures.now()
    failed = refused(configs)
    if failed.keys() == configs.keys():
        raise ConfigError(f"No value could be measured: {next(iter(failed.values()))}")
    study.create()
    with study.store(keep=question.keep) as store, one_cluster(first):
        with session.progress.stage("ingest"):
            buckets = sweep_records(first, store, erased)
        again = 0
        while True:
            ready = Ready(session, store, buckets, RecordIndex.read(store, buckets))
            measuring = Sweep(ready, study, configs, failed)
            measuring.run(erasures)
            gone = erasures.gone(first, ready.index)
            if not gone.any():
                break
            again += int(gone.sum())
            session.progress.say(
                f"{int(gone.sum()):,} records were erased meanwhile: measured again without them"
            )
            buckets = remaining(store, ready.index, gone)
            refuse_one_sided(first, RecordIndex.read(store, buckets))
        tested = int(ready.index.test.sum())
        records = Records(first.sweep.on, len(ready.index) - tested, tested, again)
        return write(study, question.variants, measuring.swept(records), ready.index)


class Sweep:
    """One round: all values on one set of records."""

    def __init__(
        self,
        ready: Ready,
        study: StudyFolder,
        configs: dict[str, Config],
        failed: Mapping[str, str],
    ) -> None:
        """failed: why some of the configurations cannot be trained at all, by name."""
        self.ready, self.study, self.configs = ready, study, configs
        records = digest_of([bucket.key for bucket in ready.buckets])
        if (
            study.recall(RECORDS, records) is None
        ):  # what was measured on other records goes, for some of them may have been erased
            study.forget(kept(""))
            study.note(RECORDS, records, {})
        self.made = {
            name: [settings(config, Extent(0, 0)), config.sweep.on, records]
            for name, config in configs.items()
        }
        self.results: dict[str, dict[str, Any]] = {}
        self.race = Race(self.note, lambda: False)
        self.race.failed.update(failed)
        self.found: frozenset[str] = frozenset()
        self._recall()
        self.known = len(self.results) + len(self.race.stopped)

    def _recall(self) -> None:
        """What earlier commands measured on these records; who was stopped stays so where the one
        that beats it is measured."""
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
        """Keep what became of a value."""
        if "stopped" not in result:
            self.results[name] = result
        point = self.race.stopped[name].at_most if "stopped" in result else point_of(name, result)
        most = " at most: stopped" if "stopped" in result else ""
        self.ready.session.progress.say(
            f"{name}: {point.accuracy:.2%} right{most}, {point.cost:.2%} of a training for one "
            "deletion"
        )
        self.study.note(kept(name), self.made[name], result)

    def run(self, erasures: ErasureWatch) -> None:
        """Plan and measure what is not measured yet. Ends early where a record was erased."""
        waiting = {
            n: config
            for n, config in self.configs.items()
            if n not in self.results and n not in self.race.stopped and n not in self.race.failed
        }
        if not waiting:
            return
        first, progress = next(iter(self.configs.values())), self.ready.session.progress
        self.race.erased = lambda: bool(erasures.gone(first, self.ready.index, hurry=True).any())
        with progress.stage("plan"):
            self._plan(waiting)
        with progress.stage("trials"):
            if first.execution.engine == "ray":
                from lmeraser_ray.distributed.sweep import run_on_ray

                run_on_ray(self.ready, self.race)
            else:
                run_inline(self.ready, self.race)

    def _plan(self, waiting: dict[str, Config]) -> None:
        """Features, partition and plan of each value; whatever no plan reaches, what was made of
        the erased included, is removed."""
        loaded: dict[str, Backbone] = {}
        wanted: set[StoredObject] = set()
        store, session = self.ready.store, self.ready.session
        for name, config in waiting.items():
            try:
                inputs = load_inputs(config, loaded)
                inputs.check_labels(self.ready.index)
                public = inputs.prototypes(store)
                with session.flow(store, config, inputs.card, public) as flow:
                    planned = flow.plan(self.ready.buckets, None)
            except ConfigError as error:  # this value does not suit the data: the others go on
                self.race.gave_up(name, str(error))
                continue
            wanted |= reached(planned)
            self.found |= {
                spec.key for spec in planned.plan.specs if spec.key in planned.plan.reuse
            }
            self.ready.trials.append(
                PlannedTrial(name, config, inputs.card, public, planned.plan.specs)
            )
        store.purge(wanted)

    def sharing(self) -> Sharing:
        """How the trials of this command shared constituents; of the last command that had any,
        where this one had none."""
        made = [self.made, sorted(self.results)]
        if not self.ready.trials:
            recalled = self.study.recall(SHARING, made)
            return (
                Sharing(**recalled) if recalled else Sharing(0, self.known, 0, 0, 0, 0, 0, 0, 0, 0)
            )
        specs = {spec.key: spec.passes() for trial in self.ready.trials for spec in trial.specs}
        needed = [(spec.key, spec.passes()) for trial in self.ready.trials for spec in trial.specs]
        there = self.ready.store.listing()
        spared = {key for key in specs if ("constituents", key) not in there}
        sharing = Sharing(
            trials=len(self.ready.trials),
            measured_before=self.known,
            needed=len(needed),
            distinct=len(specs),
            found=len(self.found),
            trained=len(self.race.trained),
            spared=len(spared),
            records_needed=sum(passes for _, passes in needed),
            records_trained=self.race.records,
            records_spared=sum(specs[key] for key in spared),
        )
        self.study.note(SHARING, made, asdict(sharing))
        return sharing

    def swept(self, records: Records) -> Swept:
        """All that is known at the end. Errors: `ConfigError` where no value could be measured."""
        order = {name: self.results[name] for name in self.configs if name in self.results}
        if not order:
            raise ConfigError(
                f"No value could be measured: {next(iter(self.race.failed.values()))}"
            )
        return Swept(
            self.configs,
            order,
            dict(self.race.stopped),
            dict(self.race.failed),
            records,
            self.sharing(),
        )


def kept(name: str) -> str:
    """The name of a measurement among a study's runs."""
    return f"sweep.{name}"


def reached(planned: Planned) -> set[StoredObject]:
    """What a plan needs of the store."""
    buckets = [
        item for bucket in planned.index.buckets for item in (bucket.records, bucket.pictures)
    ]
    others = [*planned.parts.assignments, planned.parts.partition]
    return {
        *buckets,
        *planned.features,
        *(item for item in others if item),
        *planned.plan.reuse.values(),
    }


def run_inline(ready: Ready, race: Race) -> None:
    """The trials one after the other in this process."""
    for trial in ready.trials:
        with ready.session.flow(ready.store, trial.config, trial.card, trial.public) as flow:
            try:
                with closing(course(trial.name, flow, ready.buckets, Alone())) as steps:
                    for step in steps:
                        if not race.heard(trial.name, step):
                            break
            except ConfigError as error:
                race.gave_up(trial.name, str(error))
        if race.over:
            return
