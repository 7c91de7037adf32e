"""What the page of a workspace says, gathered: nothing is computed here that another operation
computes.

    evaluate ─► accuracy, confusion, calibration      cost ─► work of a deletion by unit
    request database ─► requests, scans, when it was published      store ─► prompts
                                     └──────► PageFacts ──────┘

Invariants: all of it is of one published state; ids are looked at to keep them out, and are in no
field that the page shows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from lmeraser_ray import __version__
from lmeraser_ray.config import Config
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.erasure.requests.request import ErasureRequest
from lmeraser_ray.operations.cost import Costing, CostQuestion, costs_in
from lmeraser_ray.operations.evaluate import Evaluation, evaluate_state
from lmeraser_ray.operations.learned_prompts import Prompt, learned_prompts
from lmeraser_ray.operations.reporting.request_figures import RequestFigures, figures_of
from lmeraser_ray.operations.reporting.scan_figures import ScanFigures, scans_of
from lmeraser_ray.operations.reporting.shown_names import ShownNames, shown_names
from lmeraser_ray.operations.work import WorkPlanner
from lmeraser_ray.pipeline.manifest import Manifest, shard_name
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import Published
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.ledger import STATES, entries, seal_of
from lmeraser_ray.storage.database.tombstones import Tombstones
from lmeraser_ray.storage.times import from_text

BATCH, PROMPTS = 0.01, 12
"""The share of the training records in a batch, and how many prompts are shown."""


@dataclass(frozen=True)
class ShardRow:
    """A shard: its number in words, its records, the test queries that it answered first and the
    share of these that was right, the record passes that train it anew and the seconds that these
    are expected to take. None where it is not known; passes of a joint learner, which trains all
    shards at once, too."""

    name: str
    size: int
    queries: int
    accuracy: float | None
    passes: int | None
    seconds: float | None


@dataclass(frozen=True)
class PageFacts:
    """All that the page shows.

    about: lines of a name and a text; state: the keyed hash of the state's fingerprint, as
    certificates name it; published: when, None where the ledger does not say; classes: as shown, in
    the order of `evaluation.quality.classes`; shards: in the order of their numbers; prompts: some,
    or why there are none; costs, units: of one record, one person and a batch.
    """

    about: tuple[tuple[str, str], ...]
    state: str
    published: datetime | None
    evaluation: Evaluation
    classes: ShownNames
    shards: tuple[ShardRow, ...]
    prompts: list[Prompt] | str
    costs: Costing
    requests: RequestFigures
    scans: ScanFigures
    written: datetime

    @property
    def permanent(self) -> bool:
        """Whether shards begin with what permanent records taught."""
        return bool(self.costs.index.permanent.any())

    @property
    def units(self) -> list[dict[str, object]]:
        """The figures of each unit that a deletion is asked of."""
        return [self.costs.figures(unit) for unit in self.costs.units]


def gather_facts(session: Session, requests: Sequence[ErasureRequest], now: datetime) -> PageFacts:
    """Return what there is to say of the published state, and of these requests. Errors: those of
    `evaluate` and `cost`."""
    return session.consistently(lambda state: facts_in(session, state, requests, now))


def facts_in(
    session: Session, state: Published, requests: Sequence[ErasureRequest], now: datetime
) -> PageFacts:
    """Return what there is to say of one published state."""
    config, store, manifest = session.config(), session.folder.store, state.manifest
    evaluation = evaluate_state(session, state)
    question = CostQuestion(each=True, person=True, batches=(BATCH,))
    costs = costs_in(
        store, config, manifest, question, progress=session.progress, pace=session.folder.pace()
    )
    planner = WorkPlanner(store, config, manifest, costs.index)
    with session.database() as database:
        keyed, published = named_state(database, manifest.fingerprint)
        scans = scans_of(database)
        stones = Tombstones(session.names(), database)
        classes = evaluation.quality.classes if evaluation.quality else ()
        names = shown_names(
            classes,
            ids_in(costs.index),
            lambda name: stones.covers("subject", name) or stones.covers("record", name),
        )
    return PageFacts(
        about=tuple(about_lines(config, manifest)),
        state=keyed,
        published=published,
        evaluation=evaluation,
        classes=names,
        shards=tuple(shard_rows(state, evaluation, planner, costs)),
        prompts=learned_prompts(store, config, manifest, PROMPTS),
        costs=costs,
        requests=figures_of(requests, now),
        scans=scans,
        written=now,
    )


def ids_in(index: RecordIndex) -> frozenset[str]:
    """The ids of all live records and subjects."""
    every = np.arange(len(index))
    return frozenset([*index.names("record_id", every), *index.names("subject_id", every)])


def named_state(database: Database, fingerprint: str) -> tuple[str, datetime | None]:
    """The keyed hash of a state's fingerprint, and when the ledger has it last published."""
    with database.read() as connection:
        seal = seal_of(connection)
        keyed = seal.state(fingerprint)
        moments = [
            entry.at
            for entry in entries(connection)
            if entry.kind in STATES and entry.states(seal)[1] == keyed
        ]
    return keyed, from_text(moments[-1]) if moments else None


def about_lines(config: Config, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield what the workspace is, without a path: a person may be named in one."""
    for place, member in enumerate(config.members):
        words = (
            f"{member.partition.kind} partition, learner {member.learner.kind}, aggregation "
            f"{member.aggregation.kind}"
        ).replace("_", " ")
        yield "System" if len(config.members) == 1 else f"System {place + 1}", words
    spec = manifest.backbone.spec
    backbone = config.backbone.without_operator_values()
    yield "Backbone", f"{backbone.name} (weights: {backbone.weights})"
    yield "Backbone identity (SHA-256)", manifest.backbone.identity
    yield "Features", f"{manifest.backbone.dimension:,} numbers a picture"
    yield "Pictures", f"{spec.input_size} × {spec.input_size} pixels"
    yield "Training records", f"{manifest.training_records:,}"
    yield "Test records", f"{manifest.records - manifest.training_records:,}"
    yield "Shards", f"{len(manifest.shards):,}"
    yield "Program", f"lmeraser_ray {__version__}"


def shard_rows(
    state: Published, evaluation: Evaluation, planner: WorkPlanner, costs: Costing
) -> Iterator[ShardRow]:
    """Yield a row for each shard of a state. The scores of an evaluation are by the place among the
    shards that may answer."""
    answering = state.answering.shards
    scores = {answering[at].number: found for at, found in evaluation.test.by_shard.items()}
    for shard in state.manifest.shards:
        right, queries = scores.get(shard.number, (None, 0))
        work = planner.anew.get(shard.number)
        seconds = None if work is None else costs.pace.seconds(work)
        yield ShardRow(shard_name(shard.number), shard.size, queries, right, work, seconds)
