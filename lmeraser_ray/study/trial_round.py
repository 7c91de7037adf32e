"""What a round of trials starts from: the records in a store, and the planned trials."""

from dataclasses import dataclass, field

from lmeraser_ray.config import Config
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.pipeline.flow import Prototypes
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.plan import ConstituentSpec
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.store import Store
from lmeraser_ray.study.asked_unit import ONE_RECORD, AskedUnit


@dataclass(frozen=True)
class PlannedTrial:
    """One value that is to be measured: its configuration, its backbone, its public prototypes, the
    constituents that it needs, and the record passes of those that are missing."""

    name: str
    config: Config
    card: BackboneCard
    public: Prototypes
    specs: tuple[ConstituentSpec, ...] = field(repr=False)
    passes: int = 0


@dataclass(frozen=True)
class TrialRound:
    """All values on one set of records. unit: what costs are of; trials: empty until they are
    planned."""

    session: Session
    store: Store
    buckets: list[Bucket]
    index: RecordIndex
    unit: AskedUnit = ONE_RECORD
    trials: list[PlannedTrial] = field(default_factory=list)
