"""The flow on freshly ingested records, as every study begins."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

from lmeraser_ray.config import Config
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.ingest import ingest
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.partition.shard_count import with_shard_count
from lmeraser_ray.pipeline.flow import Flow, Inputs, load_inputs
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.tombstones import NoTombstones
from lmeraser_ray.storage.store import Store
from lmeraser_ray.study.sweep_records import held_out, refuse_one_sided

On = Literal["test", "validation"]
"""The records that systems are judged by."""


@contextmanager
def ingested_flow(
    session: Session, store: Store, inputs: Inputs, on: On = "test"
) -> Iterator[tuple[Flow, list[Bucket]]]:
    """Ingest the configured records into a store, nobody's erasures counting, and open the flow on
    them. Yields the flow and the records' buckets. on: the records to judge by, marked as test
    records. Errors: those of `ingest`, `ConfigError` where the backbone has too few classes for the
    labels, `DataError` where a validation split leaves nothing to train on or to judge by."""
    buckets = ingest(inputs.config, store, NoTombstones()).buckets
    if on == "validation":
        buckets = validation_split(inputs.config, store, buckets)
    index = RecordIndex.read(store, buckets)
    config = with_shard_count(inputs.config, index)
    inputs.check_labels(index)
    public = replace(inputs, config=config).prototypes(store)
    with session.flow(store, config, inputs.card, public) as flow:
        yield flow, buckets


def validation_split(config: Config, store: Store, buckets: list[Bucket]) -> list[Bucket]:
    """Return the buckets without their test records, the records of some people marked as test
    records instead (`sweep.fraction`). Errors: `DataError`."""
    judged = config.model_copy(
        update={"sweep": config.sweep.model_copy(update={"on": "validation"})}
    )
    found = list(held_out(judged, store, buckets))
    refuse_one_sided(judged, RecordIndex.read(store, found))
    return found


def refused(configs: Mapping[str, Config]) -> dict[str, str]:
    """Return why some of these configurations cannot be trained, by name. No record is read."""
    loaded: dict[str, Backbone] = {}
    found: dict[str, str] = {}
    for name, config in configs.items():
        try:
            load_inputs(config, loaded)
        except ConfigError as error:
            found[name] = str(error)
    return found
