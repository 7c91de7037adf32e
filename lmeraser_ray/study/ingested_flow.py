"""The flow on freshly ingested records, as every study begins."""

from collections.abc import Iterator
from contextlib import contextmanager

from lmeraser_ray.config import Config
from lmeraser_ray.data.buckets import Bucket
from lmeraser_ray.data.ingest import ingest
from lmeraser_ray.pipeline.flow import Flow, load_inputs
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.tombstones import NoTombstones
from lmeraser_ray.storage.store import Store


@contextmanager
def ingested_flow(
    session: Session, store: Store, config: Config
) -> Iterator[tuple[Flow, list[Bucket]]]:
    """Ingest the configured records into a store, nobody's erasures counting, and open the flow on
    them. Yields the flow and the records' buckets. Errors: those of `ingest` and `load_inputs`."""
    buckets = ingest(config, store, NoTombstones()).buckets
    inputs = load_inputs(config)
    with session.flow(store, config, inputs.card, inputs.prototypes(store)) as flow:
        yield flow, buckets
