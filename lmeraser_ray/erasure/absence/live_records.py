"""The live record check: every published row is a live record's, and every picture byte and every
feature row belongs to one of these rows.

What a scan finds in a checked object is then a live record's own, such as a picture that another
person's record has too, byte for byte. The digest of each row in which something is found is
computed again, so that a row with the wrong bytes is a finding.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lmeraser_ray.data.buckets import digests_in, offsets_of, read_pictures, read_rows
from lmeraser_ray.data.feature_file import HEAD, Layout
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.erasure.absence.inventory import FEATURES, PICTURES, RECORDS, DataPlace
from lmeraser_ray.erasure.absence.pattern_search import Match
from lmeraser_ray.erasure.absence.patterns import PatternSet
from lmeraser_ray.erasure.absence.report import Owners, ScanReporter
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.pipeline.features import features_key
from lmeraser_ray.pipeline.manifest import BucketState, Manifest
from lmeraser_ray.storage.files import disk_errors, open_file
from lmeraser_ray.storage.paths import Location
from lmeraser_ray.storage.store import REPAIR, Store, StoredObject, present


@dataclass(frozen=True)
class LiveRecordCheck:
    """Checks the buckets of a published state. shared: collects the windows that live records have
    too, by pattern."""

    store: Store
    manifest: Manifest
    patterns: PatternSet
    report: ScanReporter
    shared: set[int]

    def check(self) -> set[StoredObject]:
        """Check all buckets. Returns the objects that need not be searched again: pictures and
        features.

        Errors: `VerificationError` where an object is missing or damaged.
        """
        for state in self.manifest.buckets:
            rows = read_rows(self.store, state.bucket)
            self._rows(state.bucket, rows)
            self._pictures(state.bucket, rows)
            self._features(state, rows)
        return {
            item
            for state in self.manifest.buckets
            for item in (state.bucket.pictures, state.features)
        }

    def _rows(self, bucket: Bucket, rows: pa.Table) -> None:
        """Report rows of erased records or subjects, and learn the live names that contain an
        erased id."""
        refused: dict[str, tuple[Collection[str] | Collection[bytes], str]] = {
            "record_id": (self.patterns.ids, "row of an erased record"),
            "subject_id": (self.patterns.subjects, "row of an erased subject"),
            "digest": (self.patterns.digests, "row with an erased digest"),
        }
        for column, (gone, trace) in refused.items():
            there = pc.is_in(rows[column], pa.array(list(gone), rows[column].type))
            for value in rows[column].filter(there).unique().to_pylist():
                owners = self.patterns.digests[value] if column == "digest" else {value}
                self._hit(RECORDS, bucket.records, trace, frozenset(owners))
        ids, subjects, labels = (rows[name] for name in ("record_id", "subject_id", "label"))
        if any(self.patterns.occurs(text_of(column)) for column in (ids, subjects, labels)):
            people, records = (
                set(subjects.to_pylist()) - self.patterns.subjects,
                set(ids.to_pylist()) - self.patterns.ids,
            )
            self.patterns.learn([*records, *people, *labels.to_pylist()])

    def _pictures(self, bucket: Bucket, rows: pa.Table) -> None:
        """Report bytes that no row accounts for: the rows' pictures lie one after the other, from
        the file's first byte to its last."""
        path = self._path(bucket.pictures)
        offsets, lengths = (rows[name].to_numpy() for name in ("offset", "length"))
        size = path.stat().st_size
        if not np.array_equal(offsets, offsets_of(lengths)) or lengths.sum() != size:
            self._hit(PICTURES, bucket.pictures, "bytes of no live record", None)
        self.report.count(PICTURES, size)
        sound: dict[int, bool] = {}
        for match in self.patterns.search.in_file(path, texts=False):
            first, last = (
                int(np.searchsorted(offsets, at, "right")) - 1
                for at in (match.at, match.at + self.patterns.size(match) - 1)
            )
            own = all(
                sound.setdefault(row, self._sound(bucket, rows, row))
                for row in range(first, last + 1)
            )
            self._judge(match, own, bucket.pictures)

    def _sound(self, bucket: Bucket, rows: pa.Table, row: int) -> bool:
        """Whether a row's picture has the row's digest."""
        try:
            return len(list(read_pictures(self.store, bucket, rows.slice(row, 1)))) == 1
        except VerificationError:
            return False

    def _features(self, state: BucketState, rows: pa.Table) -> None:
        """Report features that are not one row a record under the key of these records."""
        path = self._path(state.features)
        start, whole = extent(path, rows.num_rows)
        key = features_key(self.manifest.backbone.identity, digests_in(rows))
        if not whole or key != state.features.key:
            self._hit(FEATURES, state.features, "rows of no live record", None)
        self.report.count(FEATURES, path.stat().st_size)
        for match in self.patterns.search.in_file(path, texts=False):
            self._judge(match, whole and match.at >= start, state.features)

    def _judge(self, match: Match, own: bool, item: StoredObject) -> None:
        """Explain a window within a live record's own bytes (`own`); report any other match."""
        if own and self.patterns.is_window(match):
            self.shared.add(match.pattern)
            self.report.explained += 1
        elif match.pattern in self.patterns.common:
            self.report.explained += 1
        else:
            place = PICTURES if item.kind == "pictures" else FEATURES
            owners = self.patterns.owners(match.pattern)
            self._hit(place, item, self.patterns.trace(match), owners)

    def _hit(self, place: DataPlace, item: StoredObject, trace: str, owners: Owners) -> None:
        """Report a finding. Errors: `VerificationError` where the object is damaged: then the match
        proves nothing."""
        if not self.store.sound(item):
            raise VerificationError(
                f"{item.name} is damaged: its bytes do not have the digest in its name. {REPAIR}"
            )
        self.report.hit(place, f"objects/{item.name}", trace, owners)

    def _path(self, item: StoredObject) -> Location:
        with disk_errors(self.store.path(item)), present(item):
            self.store.path(item).stat()
        return self.store.path(item)


def text_of(column: pa.ChunkedArray) -> bytes:
    """Return all names of a column, one after the other with nothing between them."""
    return bytes(column.combine_chunks().buffers()[2] or b"")


def extent(path: Location, rows: int) -> tuple[int, bool]:
    """Return the offset of the first feature in a file, and whether the file holds the features and
    checksums of `rows` rows and nothing else."""
    with disk_errors(path), open_file(path) as file:
        layout = Layout.of(file.read(HEAD))
    if layout is None:
        return 0, False
    return layout.features, layout.rows == rows and path.stat().st_size == layout.size
