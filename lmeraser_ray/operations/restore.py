"""`restore`: a workspace from a backup, without the records that were erased since.

    unpack and verify (in scratch) → secret, configuration → reconcile the request databases
        → the backup's records without the erased → flow
        → [RESTORED + pointer, one transaction] → purge → absence scan

Invariants: no erasure is lost: the tombstones of the workspace, of the backup and of the erasure
list are committed before anything is published; a record with a tombstone is in no published state,
and in no file but scratch, which is removed with the lock; a crash anywhere leaves the old state,
or none, and the same command again finishes.
"""

import os
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import Config
from lmeraser_ray.config.options import override
from lmeraser_ray.data.index import remaining
from lmeraser_ray.erasure.absence.scan import scan
from lmeraser_ray.erasure.absence.traces import Traces
from lmeraser_ray.erasure.backup.archive import open_archive
from lmeraser_ray.erasure.backup.erasure_list import ErasureList
from lmeraser_ray.erasure.backup.reconcile import DAMAGED, Known, Reconciled, reconcile
from lmeraser_ray.erasure.backup.unpack import Staged, unpack
from lmeraser_ray.erasure.queue.affected_constituents import PublishedState
from lmeraser_ray.erasure.queue.quarantine import Quarantine
from lmeraser_ray.erasure.queue.trace_gathering import gather_traces
from lmeraser_ray.errors import ConfigError, DataError, VerificationError
from lmeraser_ray.pipeline.choice import choice_in
from lmeraser_ray.pipeline.flow import Evaluated
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.publication import publication, purge
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import LockedWorkspace, WorkspaceFolder
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.database import VARIABLE, Database
from lmeraser_ray.storage.database.database_location import DatabaseLocation
from lmeraser_ray.storage.database.secret_place import (
    SECRET,
    SECRET_VARIABLE,
    keyring_in,
    marker_of,
    outside_keyring,
)
from lmeraser_ray.storage.database.tombstones import Tombstones
from lmeraser_ray.storage.files import (
    disk_errors,
    move_into_place,
    read_file,
    remove_tree,
    share,
    write_atomic,
)

REUSED = ("features", "partitions", "assignments", "statistics", "constituents")
"""Objects of the present workspace that are reused where their keys are needed."""


@dataclass(frozen=True)
class Restoration:
    """What a restore did.

    backup: the backup's manifest; evaluated: the published state, and the work for it;
    erased_again: how many of the backup's records were left out; reconciled: the request database;
    ignored: what the backup's configuration named and only the operator may name.
    """

    backup: Manifest
    evaluated: Evaluated
    erased_again: int
    reconciled: Reconciled
    ignored: Mapping[str, str]


def restore(
    session: Session, source: Path, *, erasures: Path | None = None, no_later_erasures: bool = False
) -> Restoration:
    """Restore the workspace from the backup `source`, into a new or empty folder, or over the
    present workspace.

    erasures: the file of `lmeraser backup --erasures`; no_later_erasures: nothing was erased after
    the backup, as the caller knows. Errors: `ConfigError` where the backup or the erasure list is
    of another workspace, or where it is not known what was erased after the backup;
    `VerificationError` where the backup or the present request database is damaged; those of
    training.
    """
    known = Known(ErasureList.read(erasures) if erasures else None, no_later_erasures)
    folder = session.folder
    with open_archive(source) as archive:
        refuse_other_workspace(folder, archive.contents.about.workspace, known)
        folder.create()
        with folder.locked() as workspace:
            staged = unpack(archive, workspace.store.scratch / "backup")
            override(staged.config, session.overrides).backbone.require_weights()
            settle_pin(workspace, staged, known)
            take_secret(workspace, staged)
            take_configuration(workspace, staged)
            with closing(open_database(workspace, session.config())) as database:
                reconciled = reconcile(database, staged, known, workspace.names())
                return Restoring(session, workspace, database, staged).run(reconciled)


def refuse_other_workspace(folder: WorkspaceFolder, workspace: str, known: Known) -> None:
    """Errors: `ConfigError`, before anything is written, where the file of erasures, or the folder,
    is not of the backup's workspace."""
    if known.erasures and known.erasures.workspace != workspace:
        raise ConfigError(
            f"--erasures is of workspace {known.erasures.workspace}, the backup of {workspace}: "
            "give the file of this one."
        )
    pinned = pin_of(folder)
    if len(pinned) > 1 and len(pinned[1]) == len(workspace) and pinned[1] != workspace:
        raise ConfigError(
            f"{folder.root} is workspace {pinned[1]}, the backup of {workspace}: restore it into "
            "another folder."
        )


def pin_of(folder: WorkspaceFolder) -> list[str]:
    """Return the words of the pin file, the kind of database and the workspace's id; none where
    there is no pin."""
    pin = folder.root / "database"
    with disk_errors(pin):
        return read_file(pin).decode(errors="replace").split() if pin.exists() else []


def settle_pin(folder: LockedWorkspace, staged: Staged, known: Known) -> None:
    """Remove a pin file that is damaged, or whose SQLite database is gone. Errors: those of
    `Known.require`, where there is no request database at all."""
    pin, words, file = folder.root / "database", pin_of(folder), folder.root / "requests.db"
    there = file.is_file() and file.stat().st_size > 0
    elsewhere = words[:1] == ["postgresql"] or bool(folder.database or os.environ.get(VARIABLE))
    if not there and not elsewhere:
        known.require(staged)
    damaged = len(words) < 2 or DatabaseLocation.damaged(folder.root)
    if damaged or (words[0] == "sqlite" and not there):
        with disk_errors(pin):
            pin.unlink(missing_ok=True)


def take_secret(folder: LockedWorkspace, staged: Staged) -> None:
    """Write the backup's secret into the workspace, unless the one that is there has all its
    versions; where LMERASER_SECRET leads to it, only a marker.

    Errors: `ConfigError` where another secret is there with a request database that may have been
    made with it, or where LMERASER_SECRET leads to another one.
    """
    path = folder.root / SECRET
    with disk_errors(path):
        there = read_file(path) if path.exists() else b""
    with suppress(VerificationError):  # it is damaged
        if there and keyring_in(there, path).covers(staged.keyring):
            return
    if there and (folder.root / "requests.db").exists() and not pin_of(folder):
        raise ConfigError(
            f"{folder.root} has another secret than the backup, so it is another workspace: "
            "restore into another folder."
        )
    data = staged.secret
    if os.environ.get(SECRET_VARIABLE) and outside_keyring(staged.workspace).covers(staged.keyring):
        data = marker_of(staged.workspace)
    write_atomic(path, data, scratch=folder.store.scratch)


def take_configuration(folder: LockedWorkspace, staged: Staged) -> None:
    """Write the backup's configuration, unless the present one has the same identity: its execution
    fields are newer."""
    with suppress(DataError, VerificationError):  # there is none, or the present one is damaged
        if folder.load_config().identity() == staged.config.identity():
            return
    folder.save_config(staged.config)


def open_database(folder: WorkspaceFolder, config: Config) -> Database:
    """Open the present request database, or a new one. Errors: `VerificationError` where the
    present one is damaged."""
    try:
        database = Database.open(folder.root, config.queue.database)
    except VerificationError as error:
        raise VerificationError(f"{error} {DAMAGED}") from error
    problems = database.check()
    if problems:
        database.close()
        raise VerificationError(
            f"The request database of {folder.root} is damaged ({problems[0]}). {DAMAGED}"
        )
    return database


@dataclass(frozen=True)
class Restoring:
    """The second half of a restore: the state of the backup's records without the erased is built,
    published and searched."""

    session: Session
    workspace: LockedWorkspace
    database: Database
    staged: Staged

    def run(self, reconciled: Reconciled) -> Restoration:
        """Build the state in scratch, publish, purge, search. Errors: `VerificationError` where a
        trace of an erased record is found."""
        config, manifest = self.session.config(), self.staged.manifest
        current = PublishedState.read(self.staged.store, config, manifest)
        gone = self._gone(current)
        traces = list(gather_traces(current, np.flatnonzero(gone).tolist(), ()))
        evaluated = self._evaluate(config, current, gone)
        self._publish(evaluated.manifest, int(gone.sum()))
        remove_tree(self.staged.root)  # its empty folders
        self._search(evaluated.manifest, traces)
        return Restoration(
            manifest, evaluated, int(gone.sum()), reconciled, self.staged.kept.ignored
        )

    def _gone(self, current: PublishedState) -> NDArray[np.bool_]:
        """Return which of the backup's records were erased, by themselves or with their subject
        [n] bool."""
        tombstones = Tombstones(self.workspace.names(), self.database)
        covered = (tombstones.cover(record, subject) for record, subject in current.index.people())
        return np.fromiter(covered, np.bool_, len(current.index))

    def _evaluate(
        self, config: Config, current: PublishedState, gone: NDArray[np.bool_]
    ) -> Evaluated:
        """Evaluate the state without the erased records in the backup's own store, reusing objects
        of the present workspace."""
        store = self.staged.store
        for item in self.workspace.store.objects():
            if (
                item.kind in REUSED
                and not store.path(item).exists()
                and self.workspace.store.sound(item)
            ):
                share(self.workspace.store.path(item), store.path(item))
        buckets = remaining(store, current.index, gone)
        public = current.manifest.partitions
        choice = choice_in(store, current.manifest)
        with self.session.flow(store, config, current.manifest.backbone, public, choice) as flow:
            return flow.evaluate(buckets, current.manifest)

    def _publish(self, manifest: Manifest, erased_again: int) -> None:
        """Move the objects of the state out of scratch, publish it, and purge everything else."""
        store = self.workspace.store
        for item in manifest.objects():
            if not store.sound(item):
                move_into_place(self.staged.store.path(item), store.path(item))
        quarantine = Quarantine(store, self.session.config(), manifest).prepare(self.database)
        with publication(self.workspace, self.database.write, manifest, quarantine) as conn:
            after = ledger.state_of(conn, manifest.fingerprint)
            states = {"before": ledger.published(conn), "after": after}
            found = {
                "backup": self.staged.digest,
                "entry": self.staged.head.seq,
                "erased_again": erased_again,
            }
            ledger.append(conn, "RESTORED", None, {**states, **found})
        purge(self.workspace, manifest)  # what is left of the backup in scratch too

    def _search(self, manifest: Manifest, traces: list[Traces]) -> None:
        """Search for the records that were left out."""
        report = scan(self.workspace, manifest, traces, database=self.database)
        if report.hits:
            raise VerificationError(
                "The state without the erased is published, and the absence scan found the "
                f"{report.hits[0].trace} of one in {report.hits[0].place} ({len(report.hits)} "
                "findings): remove what is no part of the workspace, and restore again."
            )
