"""The records of a sweep: those to train each value on, those to judge it by, and which of them
were erased since. `sweep.on` decides:

    validation   training records; all records of some subjects, by keyed hash, are to judge by
                 (the test records are left out)
    test         training records to train on, test records to judge by
    public       public pictures instead of the records, some of them to judge by
                 (no private record is read)

Invariants: the subjects to judge by are a function of the seed and the subject alone, so that a
deletion moves no subject; records to judge by are marked as test records, so that the flow does not
train on them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lmeraser_ray.config import Config, DataConfig
from lmeraser_ray.data.buckets import SCHEMA, columns, put_bucket, read_pictures, read_rows, without
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.ingest import Erased, ingest, readmitted
from lmeraser_ray.data.sources.layout import source_of
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.tombstones import NoTombstones, Tombstones
from lmeraser_ray.storage.digests import keyed_hash, seeded_key, unit_interval
from lmeraser_ray.storage.paths import Location
from lmeraser_ray.storage.store import Store


def sweep_records(config: Config, store: Store, erased: Erased) -> list[Bucket]:
    """Return the records of a sweep, those to judge by marked as test records. Errors: `DataError`
    where there are none to train on, or none to judge by."""
    if config.sweep.on == "public":
        found = ingest(public_config(config), store, NoTombstones()).buckets
    else:
        found = ingest(config, store, erased).buckets
        if config.sweep.on == "validation":
            found = list(held_out(config, store, found))
    refuse_one_sided(config, RecordIndex.read(store, found))
    return found


def refuse_one_sided(config: Config, index: RecordIndex) -> None:
    """Errors: `DataError` where there is no record to train on, or none to judge by."""
    if not len(index.training):
        raise DataError(
            "A sweep has no record left to train on: look at data, sweep.fraction and what was "
            "erased."
        )
    if not index.test.any():
        what = "data.test_fraction" if config.sweep.on == "test" else "sweep.fraction"
        raise DataError(
            f"A sweep on {config.sweep.on} has no record to judge by: raise {what}, or bring more "
            "subjects."
        )


def public_config(config: Config) -> Config:
    """Return the configuration with the public pictures as its records. Errors: `ConfigError`
    without `sweep.path`."""
    path = config.sweep.path
    if path is None:
        raise ConfigError(
            "sweep.path is missing: with sweep.on public, give a folder or Parquet file of "
            "labelled public pictures."
        )
    known = config.data
    data = DataConfig.model_validate(
        {
            "source": source_of(path),
            "path": path,
            "test_fraction": config.sweep.fraction,
            "buckets": known.buckets,
            "max_pixels": known.max_pixels,
            "fit": known.fit,
            "window": known.window,
        }
    )
    return config.model_copy(update={"data": data})


def held_out(config: Config, store: Store, buckets: Sequence[Bucket]) -> Iterator[Bucket]:
    """Yield the buckets without their test records, the records of some subjects marked as test
    records instead."""
    key, listing = seeded_key(config.seed, "validation"), store.listing()
    for bucket in buckets:
        rows = read_rows(store, bucket)
        people, test = columns(rows, "subject_id", "test")
        left = (
            without(store, listing, bucket, rows, ~np.array(test, np.bool_))
            if any(test)
            else bucket
        )
        if left is None:
            continue
        kept = [str(person) for person, tested in zip(people, test, strict=True) if not tested]
        held = [unit_interval(keyed_hash(key, person)) < config.sweep.fraction for person in kept]
        rows = read_rows(store, left)
        at = SCHEMA.get_field_index("test")
        marked = rows.set_column(at, SCHEMA.field("test"), pa.array(held))
        yield put_bucket(store, listing, left.number, marked, read_pictures(store, left, rows))


@dataclass
class ErasureWatch:
    """What a workspace has erased so far. root: the workspace, None where a sweep has none."""

    root: Location | None
    _count: int = -1

    def now(self) -> Tombstones | NoTombstones:
        """Return the present tombstones. Errors: `ConfigError` where `root` is no workspace."""
        if self.root is None:
            return NoTombstones()
        session = Session(self.root)
        with session.database() as database:
            return Tombstones(session.names(), database)

    def gone(self, config: Config, index: RecordIndex, *, hurry: bool = False) -> NDArray[np.bool_]:
        """Return which records of a sweep were erased and are not readmitted [n] bool; of public
        pictures none.

        hurry: return none where there are as many tombstones as at the last call.
        """
        nobody = np.zeros(len(index), np.bool_)
        if self.root is None or config.sweep.on == "public":
            return nobody
        erased = self.now()
        count = len(erased) if isinstance(erased, Tombstones) else 0
        if hurry and count == self._count:
            return nobody
        self._count = count
        records, subjects = readmitted(config)
        found = (
            (name not in records and erased.covers("record", name))
            or (who not in subjects and erased.covers("subject", who))
            for name, who in index.people()
        )
        return np.fromiter(found, np.bool_, len(index))
