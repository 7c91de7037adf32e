"""Features: one vector for each record, from the frozen backbone, without augmentation; computed
once, and stored by bucket.

Invariants: a feature is a function of its record and the backbone (the batch shape is fixed), so a
bucket that lost a record keeps the other rows bit for bit; every number is finite; the file of a
bucket is written once, as a whole, by the process that plans.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.data.feature_file import Features, pack_features, read_features, require_finite
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.order import Digests
from lmeraser_ray.data.reader import Rows
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.pipeline.engine import Engine
from lmeraser_ray.pipeline.manifest import BackboneCard, BucketState
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.pipeline.work_ahead import WorkAhead
from lmeraser_ray.storage.digests import key_of
from lmeraser_ray.storage.store import Listing, Store, StoredObject


def features_key(backbone: str, digests: Digests) -> str:
    """SHA-256 over the backbone's identity and the record digests of a bucket in order."""
    return key_of("features/2", bytes.fromhex(backbone), digests.tobytes())


@dataclass
class Bucketful:
    """A bucket whose features are being gathered. known [m] bool: which rows are there. The array
    is allocated when the first row comes."""

    bucket: Bucket
    key: str
    dimension: int
    digests: Digests
    known: NDArray[np.bool_]

    @cached_property
    def rows(self) -> Features:
        """The features [m, d] float32, filled row by row."""
        return np.empty((len(self.known), self.dimension), np.float32)


@dataclass(frozen=True)
class FeatureStage:
    """Finds the features of all buckets in the store, takes rows over from the previous state, and
    computes the rest."""

    store: Store
    listing: Listing
    card: BackboneCard
    engine: Engine
    previous: dict[int, BucketState]
    progress: Progress

    def run(self, index: RecordIndex) -> tuple[list[StoredObject], int]:
        """The features of each bucket of the index, in order, and for how many records they were
        computed."""
        keys = [
            features_key(self.card.identity, index.columns[i].digests)
            for i in range(len(index.buckets))
        ]
        found = {i: self.listing.get(("features", key)) for i, key in enumerate(keys)}
        missing = {
            i: self._carry_over(index, i, keys[i]) for i, item in found.items() if item is None
        }
        for i in [i for i, full in missing.items() if full.known.all()]:
            found[i] = self._put(missing.pop(i))
        computed = sum(int((~full.known).sum()) for full in missing.values())
        with self.progress.bar("features", computed, "rec") as advance:
            found.update(self._compute(index, missing, advance))
        return [item for i in range(len(keys)) if (item := found[i])], computed

    def _carry_over(self, index: RecordIndex, i: int, key: str) -> Bucketful:
        """Take over the rows that the bucket had in the previous state."""
        digests = index.columns[i].digests
        full = Bucketful(
            index.buckets[i], key, self.card.dimension, digests, np.zeros(len(digests), np.bool_)
        )
        before = self.previous.get(full.bucket.number)
        if (
            before is None
            or not self.store.sound(before.features)
            or not self.store.sound(before.bucket.records)
        ):
            return full
        old = RecordIndex.read(self.store, [before.bucket]).digests
        if before.features.key != features_key(self.card.identity, old):
            return full
        where = {digest.tobytes(): row for row, digest in enumerate(old)}
        features = read_features(self.store, before.features)
        finite = np.asarray(np.isfinite(features).all(axis=1))  # earlier releases did not look
        for row, digest in enumerate(digests):
            if (source := where.get(digest.tobytes())) is not None and finite[source]:
                full.rows[row], full.known[row] = features[source], True
        return full

    def _compute(
        self, index: RecordIndex, missing: dict[int, Bucketful], advance: Callable[[int], object]
    ) -> dict[int, StoredObject]:
        """Compute the missing rows. Each bucket is stored when its last row has come, so that only
        unfinished buckets are in memory. Errors: `DataError` that names records whose features are
        not finite."""
        stored: dict[int, StoredObject] = {}
        if not missing:
            return stored
        order = list(missing)
        parts = [Rows(missing[i].bucket, np.flatnonzero(~missing[i].known)) for i in order]
        pictures = sum(len(part.rows) for part in parts)
        nbytes = sum(int(index.columns[i].lengths[~missing[i].known].sum()) for i in order)
        with self.progress.stage("start"):
            self.engine.choose(WorkAhead("features", index, pictures=pictures, nbytes=nbytes))
            self.engine.start()
        for at, first, features in self.engine.features(parts):
            full, rows = missing[order[at]], parts[at].rows[first : first + len(features)]
            require_finite(
                features,
                lambda wrong, i=order[at], rows=rows: index.columns[i].names(  # type: ignore[misc]
                    "record_id", rows[wrong]
                ),
            )
            full.rows[rows], full.known[rows] = features, True
            advance(len(rows))
            if full.known.all():
                stored[order[at]] = self._put(missing.pop(order[at]))
        return stored

    def _put(self, full: Bucketful) -> StoredObject:
        return self.store.put("features", full.key, [pack_features(full.rows, full.digests)])
