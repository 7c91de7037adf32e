"""`cost`: the work that erasures and additions would take, known before anyone asks for one.

    each record; named records as one erasure; each person; random batches; additions → `UnitWork`

Re-clustering is included: the deletion of a sampled record moves prototypes, and records near a
border change shards. So are slices, and learners that serve all shards at once. Nothing is trained.
Features are read only where prototypes may move.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import Config
from lmeraser_ray.config.several import several
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.models.learners.parameters import count_parameters
from lmeraser_ray.models.learners.registry import make_learner
from lmeraser_ray.models.partition.chains import Positions
from lmeraser_ray.models.partition.deletion import DeletionCosts
from lmeraser_ray.models.partition.expected import spread, together
from lmeraser_ray.operations.asked_names import held_alike
from lmeraser_ray.operations.single_costs import costs_by_system
from lmeraser_ray.operations.work import ChangeWork, WorkPlanner, table_of, training_systems
from lmeraser_ray.operations.work_units import (
    UnitWork,
    of_additions,
    of_batches,
    of_people,
    of_records,
)
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.pace import Pace
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.pseudonyms import TargetKind
from lmeraser_ray.storage.store import Store

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class CostQuestion:
    """What is asked.

    targets: one erasure of all that these name; each: each of its records by itself too; person:
    each person; batches, additions: shares of the training records. Where nothing is asked, each
    training record by itself.
    """

    targets: ErasureTargets = field(default_factory=ErasureTargets)
    each: bool = False
    person: bool = False
    batches: tuple[float, ...] = ()
    additions: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Errors: `ConfigError` where a share is none."""
        for share in (*self.batches, *self.additions):
            if not 0 < share < 1:
                raise ConfigError(
                    f"A batch of {100 * share:g}% of the training records was asked about: give a "
                    "share above 0% and below 100%, such as 1%."
                )

    @property
    def names_records(self) -> bool:
        """Whether an erasure is asked about."""
        return bool(self.targets.records or self.targets.subjects)

    @property
    def about_records(self) -> bool:
        """Whether single records are asked about."""
        return self.each or not (
            self.names_records or self.person or self.batches or self.additions
        )


@dataclass(frozen=True)
class Costing:
    """What was asked, as work.

    costs: of q deletions of one record each (of each training record, or of the named ones where
    each was asked about); units: a `UnitWork` for each thing that was asked, in order; erasure: the
    work of deleting all that was named at once; index: of the state; test: named test records,
    whose deletion trains nothing; passes, features: what a training of the present records takes;
    retrained [q] float64: the parameters that each deletion trains again: the mean size of the
    present constituents times the changed shards, since the size of a constituent that does not
    exist yet depends on its classes; a joint learner's one constituent counts whole; sizes: the
    parameters of each present constituent; pace: of the last trainings.
    """

    costs: DeletionCosts
    units: tuple[UnitWork, ...]
    erasure: ChangeWork | None
    index: RecordIndex = field(repr=False)
    test: tuple[str, ...]
    passes: int
    features: int
    retrained: NDArray[np.float64] = field(repr=False)
    sizes: tuple[int, ...]
    pace: Pace

    def __repr__(self) -> str:
        asked = ", ".join(unit.what for unit in self.units)
        return f"Costing({asked or 'nothing'}; {len(self.sizes)} constituents)"

    def to_pandas(self) -> "DataFrame":
        """Return a row a deletion of one record: the record, and what it trains again; where such
        deletions were not asked about, a row for each thing that was."""
        from pandas import DataFrame

        if not len(self.costs.positions):
            return DataFrame([self.figures(unit) for unit in self.units])
        return DataFrame(
            {
                "record": self.names,
                "passes": self.costs.passes,
                "share": self.costs.share,
                "shards": self.costs.touched,
                "records_in_changed_shards": self.costs.members,
                "parameters": self.retrained,
                "seconds": [self.pace.seconds(passes) for passes in self.costs.passes.tolist()],
            }
        )

    def _repr_html_(self) -> str:
        return f"<p>{self!r}</p>{self.to_pandas().to_html(max_rows=20)}"

    def figures(self, unit: UnitWork) -> dict[str, object]:
        """The figures of a unit, with the seconds that its mean and its worst are expected to
        take."""
        passes, features = unit.column("passes"), unit.column("features")
        seconds: dict[str, float | None] = {"mean_seconds": None, "worst_seconds": None}
        if len(unit):
            worst = int(np.argmax(passes + features))
            seconds = {
                "mean_seconds": self.pace.seconds(float(passes.mean()), float(features.mean())),
                "worst_seconds": self.pace.seconds(int(passes[worst]), int(features[worst])),
            }
        return {**unit.figures(), **seconds}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The record ids of the single deletions, in order."""
        return tuple(self.index.names("record_id", self.index.training[self.costs.positions]))

    @property
    def permanent(self) -> NDArray[np.bool_]:
        """Whether each single deletion is that of a permanent record [q] bool."""
        found: NDArray[np.bool_] = self.index.permanent[self.index.training[self.costs.positions]]
        return found

    @property
    def parameters(self) -> dict[str, float | None]:
        """The parameters that a deletion trains again (mean, median, p99, worst), those of a
        constituent on average, and those of all, as JSON numbers."""
        return {
            **spread(self.retrained),
            "constituent": sum(self.sizes) / max(len(self.sizes), 1),
            "total": sum(self.sizes),
        }


def cost(session: Session, question: CostQuestion | None = None) -> Costing:
    """Return the work of what is asked; without a question, of the deletion of each training
    record. Errors: `DataError` with the unknown ids, and where nothing trains."""
    asked = question or CostQuestion()
    config, store = session.config(), session.folder.store
    pace = session.folder.pace()
    return session.consistently(
        lambda state: costs_in(
            store, config, state.manifest, asked, progress=session.progress, pace=pace
        )
    )


def costs_in(
    store: Store,
    config: Config,
    manifest: Manifest,
    asked: CostQuestion,
    *,
    progress: Progress,
    known: Sequence[DeletionCosts] | None = None,
    pace: Pace = Pace(),  # noqa: B008 - frozen
) -> Costing:
    """Return the answer in one state of a store. known: the costs of each training record's
    deletion by system, where they are computed already."""
    index = RecordIndex.read(store, [state.bucket for state in manifest.buckets])
    if index.test.all():
        raise DataError(
            f"{store.root.parent} holds no training records, so a deletion costs nothing."
        )
    planner = WorkPlanner(store, config, manifest, index)
    named = positions_of(index, config, asked.targets)
    training = named[~index.test[named]]
    with progress.stage("cost"):
        chosen = np.empty(0, np.int64)
        if asked.about_records:
            chosen = np.arange(len(index.training))
            if asked.names_records:
                chosen = np.searchsorted(index.training, training)
        each = known or costs_by_system(store, config, manifest, index, chosen, progress)
        erasure = planner.leaving(named) if asked.names_records else None
        units = tuple(units_of(planner, asked, each, erasure))
        sizes, retrained = list[int](), np.zeros(len(chosen))
        for (member, system), costs in zip(training_systems(config), each, strict=True):
            own = sizes_of(store, system, manifest.only(member))
            touched = costs.touched > 0 if make_learner(system).joint else costs.touched
            retrained += touched.astype(np.float64) * (sum(own) / len(own))
            sizes += own
    everything = planner.leaving(np.empty(0, np.int64)).total
    tests = tuple(index.names("record_id", named[index.test[named]]))
    return Costing(
        costs=together(each),
        units=units,
        erasure=erasure,
        index=index,
        test=tests,
        passes=everything - len(index),
        features=len(index),
        retrained=retrained,
        sizes=tuple(sizes),
        pace=pace,
    )


def units_of(
    planner: WorkPlanner,
    asked: CostQuestion,
    each: Sequence[DeletionCosts],
    erasure: ChangeWork | None,
) -> Iterator[UnitWork]:
    """Yield what is asked about, one after the other. each: the costs of single deletions in each
    of the systems that train."""
    if erasure is not None:
        what = f"the erasure of {erasure.records:,} record{'s'[: erasure.records != 1]}"
        yield UnitWork("erasure", what, table_of([erasure]), 1, exact=True)
    if asked.about_records and len(each[0].positions):
        found = of_records(planner, each)
        yield replace(found, what="each of these") if asked.names_records else found
    if asked.person:
        yield of_people(planner)
    for share in asked.batches:
        yield of_batches(planner, share)
    for share in asked.additions:
        yield of_additions(planner, share)


def sizes_of(store: Store, config: Config, manifest: Manifest) -> tuple[int, ...]:
    """Return the parameters of each constituent, read from the heads of their files."""
    size = manifest.backbone.spec.input_size
    constituents = dict.fromkeys(
        shard.constituent for shard in manifest.shards
    )  # a joint one stands with every shard
    return tuple(count_parameters(store, item, config.learner, size) for item in constituents)


def positions_of(index: RecordIndex, config: Config, targets: ErasureTargets) -> Positions:
    """Return the positions of the named records in the order of their names, then of the named
    subjects' others. Errors: `DataError` with the unknown ids."""
    places = index.places(config.seed, targets.records, config.data.buckets)
    people = {name: index.of_subject(name) for name in targets.subjects}
    absent: tuple[tuple[TargetKind, list[str]], ...] = (
        ("record", [name for name in targets.records if name not in places]),
        ("subject", [name for name in targets.subjects if not people[name]]),
    )
    for what, unknown in absent:
        if unknown:
            raise DataError(
                f"The workspace holds no {what} {', '.join(map(repr, unknown[:5]))}: correct the "
                f"ids and try again.{held_alike(index, what, unknown[0])}"
            )
    listed = [places[name] for name in targets.records]
    listed += [at for name in targets.subjects for at in people[name]]
    return np.array(list(dict.fromkeys(listed)), np.int64)


def question_of(
    records: Iterable[str],
    subjects: Iterable[str],
    each: bool,
    person: bool,
    batches: Iterable[float],
    additions: Iterable[float],
) -> CostQuestion:
    """Return a question from what a program gives. Errors: `TypeError` for a bare text,
    `ConfigError` where a share is none."""
    shares = (several(batches, "batches", float), several(additions, "additions", float))
    return CostQuestion(ErasureTargets(records, subjects), each, person, *shares)
