"""`train`: from a source to a published state. A second run reuses everything; an interrupted one
continues.

>>> from pathlib import Path
>>> from lmeraser_ray.config.options import load_config
>>> config = load_config(None, [("execution.engine", "inline"), ("learner.epochs", "1")])
>>> done = train(Session(Path("workspace")), config)  # doctest: +SKIP
>>> done.manifest.fingerprint, done.test.accuracy  # doctest: +SKIP

Everything is checked before anything is published: a workspace of another configuration, missing
records, bad input, tombstones that somebody deleted.
"""

from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lmeraser_ray.config import Config
from lmeraser_ray.data.alike_names import alike_sentences
from lmeraser_ray.data.ids import read_ids
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.ingest import Erased, Ingested, ingest, readmitted
from lmeraser_ray.data.sources.memory import HeldRecords
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.erasure.certificate.standing_erasures import put_back
from lmeraser_ray.erasure.queue.publisher import recover
from lmeraser_ray.erasure.queue.quarantine import Quarantine
from lmeraser_ray.erasure.requests.retention import expire
from lmeraser_ray.errors import ConfigError, DataError, VerificationError
from lmeraser_ray.models.partition.shard_count import FEW, with_kept_cut, with_shard_count
from lmeraser_ray.operations.evaluate import Score, score
from lmeraser_ray.pipeline.choice import read_choice
from lmeraser_ray.pipeline.flow import Evaluated, identity_of, load_inputs
from lmeraser_ray.pipeline.manifest import BackboneCard, Manifest
from lmeraser_ray.pipeline.publication import publication, purge
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import LockedWorkspace, WorkspaceFolder
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.postgresql import refuse_password
from lmeraser_ray.storage.database.tombstones import Tombstones, lift_hashes


@dataclass(frozen=True)
class Training:
    """What a training did: the published state, and the work for it."""

    manifest: Manifest
    ingested: Ingested
    evaluated: Evaluated
    test: Score
    put_back: int
    """How many tombstones of erased records and subjects were missing."""
    classes: tuple[str, ...]
    """The labels of the training records, sorted."""
    permanent: int
    """How many training records are permanent."""

    def __repr__(self) -> str:
        accuracy = "n/a" if self.test.accuracy is None else f"{self.test.accuracy:.4f}"
        return (
            f"Training({self.manifest!r}: {len(self.evaluated.trained)} trained, "
            f"{self.evaluated.reused} reused, test accuracy {accuracy})"
        )

    @property
    def passes(self) -> int:
        """The record passes that were trained (records times epochs): the unit of cost."""
        return sum(trained.passes for trained in self.evaluated.trained)

    @property
    def small_shards(self) -> tuple[int, ...]:
        """How many records each shard has that has few (`FEW`); none where one shard has all."""
        sizes = [shard.size for shard in self.manifest.shards]
        return tuple(size for size in sizes if size < FEW and len(sizes) > 1)


def train(session: Session, config: Config, held: HeldRecords | None = None) -> Training:
    """Train a workspace on the configured records, and publish. held: those of data.source memory.
    Errors: any of `errors`; what was published before stays published."""
    progress = session.progress
    refuse_password(config.queue.database)
    choice = read_choice(config)
    config = with_kept_fold(session.folder, config)
    with progress.stage("backbone"):
        inputs = load_inputs(config)
    kept = session.folder.held()
    session.folder.create()
    with (
        session.folder.locked(config.queue.database) as folder,
        folder.emptied_on_failure(held=kept),
        closing(Database.open(folder.root, config.queue.database)) as database,
    ):
        before = last_sound(folder)
        expire(database, config.queue.tombstone_days, database.write)
        with database.write() as conn:
            back = put_back(conn)
        tombstones = Tombstones(folder.names(), database)
        was = identity_before(folder, before)
        config = with_kept_cut(config, was)
        refuse_other_configuration(folder, config, inputs.card, before, was)
        with progress.stage("ingest"):
            discard_damaged(folder)
            emptied = len(tombstones) > 0
            ingested = ingest(config, folder.store, tombstones, emptied=emptied, held=held)
        refuse_missing(folder, config, before, ingested, tombstones)
        index = RecordIndex.read(folder.store, ingested.buckets)
        ingested.alike = alike_sentences(config, index)
        config = with_shard_count(config, index)
        inputs = replace(inputs, config=config)
        classes, permanent = tuple(sorted(index.training_labels)), int(index.permanent.sum())
        inputs.check_labels(index)
        public = inputs.prototypes(folder.store, expected=before.partitions if before else ())
        folder.save_config(config)
        with session.flow(folder.store, config, inputs.card, public, choice) as flow:
            spent = dict(progress.seconds)
            evaluated = flow.evaluate(ingested.buckets, before, index)
            keep_pace(folder, evaluated, spent, progress.seconds)
            with progress.stage("publish"):
                again = tombstones.hashed(*readmitted(config))
                ingested.let_in_again = publish(folder, database, config, evaluated.manifest, again)
            with progress.stage("evaluate"):
                test = score(flow, evaluated.manifest, index, np.flatnonzero(index.test))
    return Training(evaluated.manifest, ingested, evaluated, test, back, classes, permanent)


def keep_pace(
    folder: LockedWorkspace,
    evaluated: Evaluated,
    spent: Mapping[str, float],
    seconds: Mapping[str, float],
) -> None:
    """Keep how fast this training was. spent, seconds: of each stage, before and after it."""
    took = {
        name: seconds.get(name, 0.0) - spent.get(name, 0.0) for name in ("training", "features")
    }
    passes = sum(trained.passes for trained in evaluated.trained)
    pace = folder.pace()
    now = pace.after(passes, took["training"], evaluated.features_computed, took["features"])
    if now != pace:
        folder.save_pace(now)


def publish(
    workspace: LockedWorkspace,
    database: Database,
    config: Config,
    after: Manifest,
    readmitted: Iterable[str],
) -> int:
    """Publish, let erased ids (keyed hashes) in again, note both, purge what is no longer reached.
    Returns how many ids were let in.

    What a queue that died had published, or had not, is noted first: later nobody could tell.
    """
    with database.write() as conn:
        recover(conn, workspace)
    quarantine = Quarantine(workspace.store, config, after).prepare(database)
    with publication(workspace, database.write, after, quarantine) as conn:
        lifted = lift_hashes(conn, readmitted)
        last = ledger.published(conn)  # and not the pointer: a crash may have come between the two
        state = ledger.state_of(conn, after.fingerprint)
        if last != state or lifted:
            facts = {"before": last, "after": state, "readmitted": sorted(lifted)}
            ledger.append(conn, "TRAINED", None, facts)
    purge(workspace, after)
    return len(lifted)


def last_sound(folder: WorkspaceFolder) -> Manifest | None:
    """Return the published manifest; None where there is none, or where it is damaged: then all is
    built again from the source."""
    try:
        return folder.published()
    except VerificationError:
        return None


def discard_damaged(folder: LockedWorkspace) -> None:
    """Remove objects whose bytes do not have the digest in their name, so that they are built again
    instead of reused."""
    for item in folder.store.objects():
        if not folder.store.sound(item):
            folder.store.path(item).unlink(missing_ok=True)


def identity_before(folder: WorkspaceFolder, before: Manifest | None) -> dict[str, Any] | None:
    """Return the identity of what is published; None before the first publication."""
    return before.identity if before else kept_identity(folder)


def refuse_other_configuration(
    folder: WorkspaceFolder,
    config: Config,
    card: BackboneCard,
    before: Manifest | None,
    was: dict[str, Any] | None,
) -> None:
    """Errors: `ConfigError` that names the first identity field in which the configuration differs
    from `was`, the workspace's."""
    now = identity_of(config) if before else config.identity()
    found = first_difference(was, now) if was else None
    if found:
        name, old, new = found
        raise ConfigError(
            f"The workspace {folder.root} was trained with {name} {old!r}, this configuration has "
            f"{new!r}: use the same value, or another --workspace."
        )
    if before and before.backbone != card:
        raise ConfigError(
            f"The workspace {folder.root} was trained with another backbone "
            f"({before.backbone.identity[:12]}…, this is {card.identity[:12]}…: weights, "
            "classifier, preprocessing, readout, batch or backbone.fold differ): use the same one "
            "or another --workspace."
        )


def with_kept_fold(folder: WorkspaceFolder, config: Config) -> Config:
    """Return the configuration with the folding of what is published, where it sets none: by the
    kept configuration, or, where that is damaged or missing, by the manifest's digest of the
    backbone."""
    if config.backbone.fold is not None or not folder.current():
        return config.with_fold()
    with suppress(VerificationError, DataError):
        return config.with_fold(folder.load_config().backbone.fold)
    before = last_sound(folder)
    tried = [config.with_fold(fold) for fold in (True, False)]
    same = [each for each in tried if before and load_inputs(each).card == before.backbone]
    return same[0] if same else config.with_fold()


def kept_identity(folder: WorkspaceFolder) -> dict[str, Any] | None:
    """Return the identity in the workspace's kept configuration, for where the published manifest
    is damaged; None before the first publication."""
    with suppress(VerificationError):  # the configuration is damaged too
        return folder.load_config().identity() if folder.current() else None
    return None


def first_difference(was: object, now: object, name: str = "") -> tuple[str, object, object] | None:
    """Return the first field in which two JSON values differ, with both values."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in sorted({*was, *now}, key=lambda name: (name != "kind", name)):
            found = first_difference(was.get(key), now.get(key), f"{name}.{key}" if name else key)
            if found:
                return found
        return None
    return (name, was, now) if was != now else None


def refuse_missing(
    folder: WorkspaceFolder,
    config: Config,
    before: Manifest | None,
    ingested: Ingested,
    tombstones: Erased,
) -> None:
    """Errors: `DataError` where the source lacks records that the workspace holds, and that are
    neither erased nor excluded."""
    if before is None or config.data.allow_missing:
        return
    excluded = read_ids(config.data.exclude, "data.exclude")
    now: dict[int, Bucket] = {bucket.number: bucket for bucket in ingested.buckets}
    for state in before.buckets:
        after = now.get(state.bucket.number)
        if (after and after.key == state.bucket.key) or not folder.store.sound(
            state.bucket.records
        ):
            # Unchanged; or damaged, so that its records are unknown and come from the source.
            continue
        kept = set(RecordIndex.read(folder.store, [after]).names("record_id")) if after else set()
        for name, subject in RecordIndex.read(folder.store, [state.bucket]).people():
            if name not in kept and name not in excluded and not tombstones.cover(name, subject):
                raise DataError(
                    f"The workspace {folder.root} holds record {name!r}, which the source no "
                    "longer has: erase it with `lmeraser unlearn`, bring it back, or drop what "
                    "is missing with --data.allow_missing true."
                )
