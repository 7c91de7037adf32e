"""A workspace of records that is made without training, and the traces to scan it for."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lmeraser_ray.data.buckets import put_bucket, rows_of
from lmeraser_ray.data.feature_file import pack_features
from lmeraser_ray.data.record import Record
from lmeraser_ray.data.spec import PictureSpec
from lmeraser_ray.erasure.absence.report import ScanReport
from lmeraser_ray.erasure.absence.scan import scan
from lmeraser_ray.erasure.absence.traces import Traces
from lmeraser_ray.pipeline.features import features_key
from lmeraser_ray.pipeline.manifest import BackboneCard, BucketState, Manifest
from lmeraser_ray.pipeline.workspace_folder import LockedWorkspace, WorkspaceFolder

CARD = BackboneCard(
    "ab" * 32, 24, 4, PictureSpec(16, 16, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
)


class Space:
    """A workspace of records, made without training: buckets and features, published. Erasing is
    publishing without."""

    def __init__(self, root: Path, records: Sequence[Record], *, buckets: int = 2) -> None:
        self.root, self.buckets = root, buckets
        self.folder = WorkspaceFolder(root)
        self.folder.create()
        self.publish(records)

    def publish(self, records: Sequence[Record]) -> None:
        """Publish exactly these records, and purge."""
        with self.folder.locked() as workspace:
            self._publish(workspace, records)

    def _publish(self, workspace: LockedWorkspace, records: Sequence[Record]) -> None:
        store, states = workspace.store, []
        self.records = sorted(records, key=lambda r: r.record_id.encode())
        for number in range(self.buckets):
            mine = [r for i, r in enumerate(self.records) if hash_of(r) % self.buckets == number]
            if not mine:
                continue
            bucket = put_bucket(
                store, store.listing(), number, rows_of(mine), [r.image for r in mine]
            )
            digests = np.frombuffer(b"".join(r.digest() for r in mine), np.uint8).reshape(-1, 32)
            features = np.stack([feature_of(r.image) for r in mine])
            item = store.put(
                "features", features_key(CARD.identity, digests), [pack_features(features, digests)]
            )
            states.append(BucketState(bucket, item, None))
        self.manifest = Manifest({}, CARD, tuple(states), None, ())
        item = workspace.put_manifest(self.manifest)
        workspace.write_pointer(item)
        store.purge([item, *self.manifest.objects()])

    def erase(self, *ids: str) -> list[Traces]:
        """Publish without these records. Returns what to look for."""
        gone = [r for r in self.records if r.record_id in ids]
        self.publish([r for r in self.records if r.record_id not in ids])
        return [traces_for(r) for r in gone]

    def forge(self, number: int, **data: bytes) -> None:
        """Have a bucket's objects hold other bytes, under the names that these have: what a wrong
        implementation would publish."""
        with self.folder.locked() as workspace:
            self._forge(workspace, number, **data)

    def _forge(self, workspace: LockedWorkspace, number: int, **data: bytes) -> None:
        states, store = list(self.manifest.buckets), workspace.store
        for kind, content in data.items():
            state = states[number]
            old = state.features if kind == "features" else state.bucket.pictures
            new = store.put(old.kind, old.key, [content])
            bucket = replace(state.bucket, pictures=new) if kind == "pictures" else state.bucket
            states[number] = replace(
                state, bucket=bucket, features=new if kind == "features" else state.features
            )
        self.manifest = replace(self.manifest, buckets=tuple(states))
        item = workspace.put_manifest(self.manifest)
        workspace.write_pointer(item)
        store.purge([item, *self.manifest.objects()])

    def scan(self, traces: Sequence[Traces], **options: object) -> ScanReport:
        """Scan, as the holder of the lock."""
        with self.folder.locked() as workspace:
            return scan(workspace, self.manifest, traces, **options)  # type: ignore[arg-type]


def hash_of(record: Record) -> int:
    return sum(record.record_id.encode())


def feature_of(image: bytes) -> np.ndarray:
    """A function of the picture, so that equal pictures have equal features."""
    return np.random.default_rng(list(image[:64])).normal(size=CARD.dimension).astype(np.float32)


def pixels_of(image: bytes) -> bytes:
    return np.random.default_rng(list(image[-64:])).bytes(3 * 16 * 16)


def traces_for(record: Record, subject: str | None = None) -> Traces:
    about = {
        "picture": record.image,
        "feature": feature_of(record.image).tobytes(),
        "pixels": pixels_of(record.image),
    }
    return Traces.of(record.record_id, record.digest(), subject_id=subject, **about)


def record_of(
    name: str, *, subject: str | None = None, label: str = "a label", image: bytes | None = None
) -> Record:
    picture = np.random.default_rng(list(name.encode())).bytes(300) if image is None else image
    return Record(name, subject or name.partition("/")[0], label, False, picture)


def hits_of(report: ScanReport) -> set[tuple[str, str]]:
    return {(hit.place, hit.trace) for hit in report.hits}


IDS = [f"person-{i // 2}/picture-{i}" for i in range(16)]
GONE = record_of(IDS[7])


TRACES: dict[str, bytes] = {
    "id": GONE.record_id.encode(),
    "subject": b"person-3",
    "digest": GONE.digest(),
    "hexadecimal digest": GONE.digest().hex().encode(),
    "picture": GONE.image,
    "pixels": pixels_of(GONE.image),
    "feature": feature_of(GONE.image).tobytes(),
}
