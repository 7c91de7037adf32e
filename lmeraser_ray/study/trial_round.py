"""What a round of trials starts from: the records in a store, and the planned trials."""

from dataclasses import dataclass, field

from lmeraser_ray.config import Config
from lmeraser_ray.data.buckets import Bucket
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.plan import ConstituentSpec
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.store import Store, StoredObject


@dataclass(frozen=True)
class PlannedTrial:
    """One value that is to be measured: its configuration, its backbone, its public prototypes
    (None where it has none), and the constituents that it needs."""

    name: str
    config: Config
    card: BackboneCard
    public: StoredObject | None
    specs: tuple[ConstituentSpec, ...] = field(repr=False)


@dataclass(frozen=True)
class TrialRound:
    """All values on one set of records. trials: empty until they are planned."""

    session: Session
    store: Store
    buckets: list[Bucket]
    index: RecordIndex
    trials: list[PlannedTrial] = field(default_factory=list)
