"""`verify`: whether a workspace holds what its manifest names, nothing else, and what training from
scratch gives.

    no link or pipe among its files → every object's digest → every picture's record digest
        → no stray file → ledger, requests and tombstones
        → (with rebuild) the same bytes again

`audit` checks certificates too, for which it needs keys.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from lmeraser_ray.config import PublicConfig
from lmeraser_ray.data.buckets import put_bucket, read_pictures, read_rows
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.erasure.certificate.evidence_checks import check_evidence
from lmeraser_ray.erasure.certificate.ledger_head import SignedHead
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.operations.requests import repository
from lmeraser_ray.pipeline.choice import choice_in
from lmeraser_ray.pipeline.manifest import Manifest, shard_name
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_entries import OWN_FILES, wrong_entries, wrong_objects
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.files import digest_of
from lmeraser_ray.storage.paths import name_below
from lmeraser_ray.storage.store import Store, StoredObject


@dataclass(frozen=True)
class Verification:
    """What a verification found. checked: how many comparisons were made; differences: sentences,
    the first difference first."""

    fingerprint: str | None
    checked: int
    differences: tuple[str, ...]
    rebuilt: bool

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


def verify(
    session: Session, *, rebuild: bool = False, signed: SignedHead | None = None
) -> Verification:
    """Check a workspace. With `rebuild`, train from its live records in a scratch folder and
    compare the bytes. signed: the ledger's head that the signer keeps beside its keys."""
    folder = session.folder
    if wrong := tuple(wrong_entries(session.root)):
        return Verification(None, len(wrong), wrong, False)
    if folder.current() is None:
        folder.require_published()  # refuses, before the lock makes a file
    with folder.locked() as folder:
        try:
            manifest = folder.require_published()
        except VerificationError as error:
            return Verification(None, 1, (str(error),), False)
        differences = [*unfinished(session), *damage(folder, manifest)]
        with session.database() as database:
            heads = (signed,) if signed else ()
            differences += check_evidence(folder, database, heads).differences
        checked = len(list(manifest.objects())) + 1
        if rebuild and not differences:
            rebuilt = rebuild_manifest(session, folder, manifest)
            differences = list(compare(folder, manifest, rebuilt))
            checked += len(list(rebuilt.manifest.objects())) + 1
    return Verification(manifest.fingerprint, checked, tuple(differences), rebuild)


def unfinished(session: Session) -> Iterator[str]:
    """Yield a sentence about erasures that were begun and are not done."""
    with repository(session) as requests:
        counts = requests.counts()
    begun = sum(count for state, count in counts.items() if state.is_begun)
    if begun:
        yield (
            f"An erasure was begun and not finished ({begun} requests): `lmeraser queue run` "
            "finishes it."
        )


def damage(folder: WorkspaceFolder, manifest: Manifest) -> Iterator[str]:
    """Yield a sentence for everything that is missing, damaged or stray."""
    store, current = folder.store, folder.current()
    for item in manifest.objects():
        found = digest_of(store.path(item))
        if found is None:
            yield f"{item.name} is missing, or cannot be read."
        elif found != item.sha256:
            yield f"{item.name} is damaged: its bytes do not have the digest in its name."
    for state in manifest.buckets:
        yield from bucket_damage(store, state.bucket)
    yield from wrong_objects(folder.root)
    kept = {store.path(item) for item in (*manifest.objects(), *([current] if current else []))}
    for path in store.files():
        if path not in kept:
            yield (
                f"{name_below(path, store.root)} is unreachable: an interrupted command left it; "
                "`lmeraser train` uses or removes it."
            )
    for name in sorted(path.name for path in folder.root.iterdir()):
        if name not in (*OWN_FILES, "objects"):
            yield f"{name} is no part of a workspace."


def bucket_damage(store: Store, bucket: Bucket) -> Iterator[str]:
    """Yield a sentence where a picture of a bucket does not have the digest of its record."""
    try:
        for _ in read_pictures(store, bucket, read_rows(store, bucket)):
            pass
    except VerificationError as error:
        yield str(error)


@dataclass(frozen=True)
class Rebuilt:
    """A second training of the live records, in a store that is removed with the lock's scratch
    folder."""

    store: Store
    manifest: Manifest


def rebuild_manifest(session: Session, folder: WorkspaceFolder, manifest: Manifest) -> Rebuilt:
    """Train from the live records as if nothing had ever been computed. The caller has locked
    `folder`."""
    scratch = Store(folder.store.scratch / "rebuild")
    scratch.create()
    buckets = [copy_bucket(folder.store, scratch, state.bucket) for state in manifest.buckets]
    config = session.config()
    for system, item in zip(config.members, manifest.partitions, strict=True):
        if item and isinstance(system.partition, PublicConfig):
            # an input, as the backbone's weights are
            scratch.put("partitions", item.key, [folder.store.read(item)])
    choice = choice_in(folder.store, manifest)
    with session.flow(scratch, config, manifest.backbone, manifest.partitions, choice) as flow:
        return Rebuilt(scratch, flow.evaluate(buckets, None).manifest)


def copy_bucket(source: Store, target: Store, bucket: Bucket) -> Bucket:
    """Write the records of a bucket into another store."""
    rows = read_rows(source, bucket)
    return put_bucket(target, {}, bucket.number, rows, read_pictures(source, bucket, rows))


def compare(folder: WorkspaceFolder, manifest: Manifest, rebuilt: Rebuilt) -> Iterator[str]:
    """Yield where the rebuilt state differs from the published one, in the order of the flow."""
    if manifest.to_bytes() == rebuilt.manifest.to_bytes():
        return
    ours, theirs = named(manifest), named(rebuilt.manifest)
    for name in dict.fromkeys([*ours, *theirs]):
        one, other = ours.get(name), theirs.get(name)
        if one == other:
            continue
        if one is None or other is None:
            yield f"{name} is only in the {'rebuilt' if one is None else 'published'} state."
        elif one.key != other.key:
            yield f"{name}: published is made from {one.key[:12]}…, rebuilt from {other.key[:12]}…."
        else:
            yield (
                f"{name}: the same key {one.key[:12]}…, other "
                f"bytes{numerics_hint(folder.store, rebuilt.store, one, other)}."
            )


def named(manifest: Manifest) -> dict[str, StoredObject]:
    """Return every object of a state under a name that says its place in the flow."""
    found: dict[str, StoredObject] = {}
    for state in manifest.buckets:
        for item in (
            state.bucket.records,
            state.bucket.pictures,
            state.features,
            state.assignments,
        ):
            if item:
                found[f"{item.kind} of bucket {state.bucket.number}"] = item
    if manifest.partition:
        found["partition"] = manifest.partition
    for place, other in enumerate(manifest.others, 2):
        if other.partition:
            found[f"partition of system {place}"] = other.partition
        for state, item in zip(manifest.buckets, other.assignments, strict=True):
            if item:
                found[f"assignments of bucket {state.bucket.number}, system {place}"] = item
    for shard in manifest.shards:
        where = f"shard {shard_name(shard.number)}"
        if shard.statistics:
            found[f"statistics of {where}"] = shard.statistics
        if shard.start:
            found[f"start of {where}"] = shard.start
        for stage, item in enumerate(shard.stages):
            of_stage = f", stage {stage}" if len(shard.stages) > 1 else ""
            found[f"constituent of {where}{of_stage}"] = item
    return found


def numerics_hint(ours: Store, theirs: Store, one: StoredObject, other: StoredObject) -> str:
    """Return a remark where two constituents were trained under different numerics, which explains
    different bytes; else nothing."""
    if one.kind != "constituents":
        return ""
    was, now = (
        Constituent.from_bytes(s.read(item)).about.get("numerics")
        for s, item in ((ours, one), (theirs, other))
    )
    return (
        f" (trained under {was}, rebuilt under {now}: bytes are only claimed where these agree)"
        if was != now
        else ""
    )
