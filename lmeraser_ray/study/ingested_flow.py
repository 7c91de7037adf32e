"""The flow on freshly ingested records, as every study begins."""

from collections.abc import Iterator
from contextlib import contextmanager

from lmeraser_ray.data.buckets import Bucket
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.ingest import ingest
from lmeraser_ray.pipeline.flow import Flow, Inputs
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.tombstones import NoTombstones
from lmeraser_ray.storage.store import Store


@contextmanager
def ingested_flow(
    session: Session, store: Store, inputs: Inputs
) -> Iterator[tuple[Flow, list[Bucket]]]:
    """Ingest the configured records into a store, nobody's erasures counting, and open the flow on
    them. Yields the flow and the records' buckets. Errors: those of `ingest`, and `ConfigError`
    where the backbone has too few classes for the labels."""
    config, public = inputs.config, inputs.prototypes(store)
    buckets = ingest(config, store, NoTombstones()).buckets
    inputs.check_labels(RecordIndex.read(store, buckets))
    with session.flow(store, config, inputs.card, public) as flow:
        yield flow, buckets
