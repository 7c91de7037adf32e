"""The shard of each record of a state, as its hashes or its stored assignments have it.

Place in the flow: `difference`, the queue and `cost` ask which shard a record is in. Nothing is
computed that the state does not hold.
"""

from lmeraser_ray.config import Config
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.models.partition.adaptive import Labels
from lmeraser_ray.models.partition.stage import stored_shards
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.storage.store import Store


def shards_of_state(store: Store, config: Config, manifest: Manifest, index: RecordIndex) -> Labels:
    """The shard of each record [n] int32 in a state of one system (`Manifest.only`), -1 for a test
    record. index: of all buckets of the state, or of some."""
    stored = {state.bucket.number: state.assignments for state in manifest.buckets}
    return stored_shards(
        store,
        config.partition,
        config.seed,
        [stored[bucket.number] for bucket in index.buckets],
        index,
        partition=manifest.partition,
        numbers=[shard.number for shard in manifest.shards],
    )
