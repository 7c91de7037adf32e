"""Bugs, old and new ones, as small patches of the real code: the simulation has to find each."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sqlalchemy import Connection

from lmeraser_ray.erasure.absence import database_search
from lmeraser_ray.erasure.absence.report import ScanReport
from lmeraser_ray.erasure.certificate.recomputation import Recomputation
from lmeraser_ray.erasure.queue import intake, proof, publisher, retrains
from lmeraser_ray.erasure.queue.lease import Lease
from lmeraser_ray.erasure.requests import repository, transitions
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.operations import train
from lmeraser_ray.storage.local_disk import LocalDisk
from lmeraser_ray.storage.store import StoredObject
from tests.simulation import acts

Bug = Callable[[], AbstractContextManager[object]]


def pointer_before_artifacts() -> AbstractContextManager[object]:
    """The pointer is written before the manifest that it names."""

    @contextmanager
    def wrong(workspace: Any, transaction: Any, manifest: Any, quarantine: Any) -> Iterator[Any]:
        data = manifest.to_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        item = StoredObject("manifests", manifest.fingerprint, sha256)
        with transaction() as connection:
            yield connection
            workspace.write_pointer(item, quarantine(connection))
        workspace.put_manifest(manifest)

    return patch.object(publisher, "publication", wrong)


def purge_before_publish() -> AbstractContextManager[object]:
    """What the new state does not need is removed before the new state is published."""
    right = publisher.Publisher.publish

    def wrong(self: Any, before: Any, after: Any, *rest: Any) -> None:
        self.workspace.store.purge([self.workspace.put_manifest(after), *after.objects()])
        right(self, before, after, *rest)

    return patch.object(publisher.Publisher, "publish", wrong)


def no_fencing() -> AbstractContextManager[object]:
    """A queue writes without looking whether another one has taken over."""
    return patch.object(Lease, "require", lambda self, connection: None)


def acknowledged_before_commit() -> AbstractContextManager[object]:
    """A submission is acknowledged when its rows are written, before the COMMIT."""
    right = repository.insert_submission

    def wrong(connection: Connection, mine: Any) -> None:
        right(connection, mine)
        acts.STAGE[-1].acknowledge(mine.id)

    return patch.object(repository, "insert_submission", wrong)


def clock_went_back() -> AbstractContextManager[object]:
    """A request from the future, as the clock went back since, is not looked at."""

    def wrong(received: datetime, now: datetime, window: float) -> bool:
        return now - timedelta(seconds=window) < received

    return patch.object(intake, "waits", wrong)


def pointer_not_synced() -> AbstractContextManager[object]:
    """The folder of the pointer is not synced after the rename."""
    right = LocalDisk.sync_folder

    def wrong(self: Any, folder: Path) -> None:
        if folder.name != "workspace":
            right(self, folder)

    return patch.object(LocalDisk, "sync_folder", wrong)


def recovery_forgotten() -> AbstractContextManager[object]:
    """A crash between the pointer and the COMMIT is not made good."""
    return patch.object(publisher, "recover", lambda connection, folder: None)


@contextmanager
def any_state() -> Iterator[None]:
    """A transition does not name the states that it starts from."""
    right = transitions.move

    def wrong(connection: Any, ids: Any, sources: Any, *rest: Any) -> Any:
        return right(connection, ids, list(State), *rest)

    with patch.object(transitions, "move", wrong), patch.object(repository, "move", wrong):
        yield


def record_forgotten() -> AbstractContextManager[object]:
    """Of the records that leave together, one stays."""
    right = retrains.buckets_without

    def wrong(current: Any, leaving: set[str]) -> Any:
        return right(current, set(sorted(leaving)[: max(1, len(leaving) - 1)]))

    return patch.object(retrains, "buckets_without", wrong)


def no_tombstones() -> AbstractContextManager[object]:
    """What is erased gets no tombstones, so that the next training takes it back."""
    return patch.object(transitions, "cover_hashes", lambda connection, hashes: None)


def joint_scan() -> AbstractContextManager[object]:
    """A trace holds back every request that is proven with its owner, and not the owner alone."""
    return patch.object(ScanReport, "hits_of", lambda self, names: self.hits)


def other_clients_names() -> AbstractContextManager[object]:
    """What another open request names, of the same person, counts as a trace of the one that is
    proven."""
    right = database_search.judge

    def wrong(there: Any, named: Any, *rest: Any) -> None:
        right(there, (), *rest)

    return patch.object(database_search, "judge", wrong)


def erased_is_unknown() -> AbstractContextManager[object]:
    """Who names what was erased before is refused, as if it had never been there."""
    return patch.object(intake.Intake, "_covers", lambda self, names: lambda target: False)


def signed_unseen() -> AbstractContextManager[object]:
    """The signer signs what the database says, and recomputes nothing."""
    return patch.object(Recomputation, "differences", lambda self, proof: [])


def tombstones_trusted() -> AbstractContextManager[object]:
    """A training trusts the tombstones that are there, and does not ask the ledger for others."""
    return patch.object(train, "put_back", lambda connection: 0)


def wiped_before_scan() -> AbstractContextManager[object]:
    """The names are wiped before the scan, which then looks for nothing."""
    right = proof.Proof._wanted

    def wrong(self: Any, ids: Any) -> Any:
        found = right(self, ids)
        nothing = dict.fromkeys(found.names, frozenset[str]())
        return proof.ScanTargets([], nothing, frozenset(), found.others)

    return patch.object(proof.Proof, "_wanted", wrong)


BUGS: dict[str, Bug] = {
    bug.__name__: bug
    for bug in (
        joint_scan,
        other_clients_names,
        erased_is_unknown,
        signed_unseen,
        tombstones_trusted,
        wiped_before_scan,
        pointer_before_artifacts,
        purge_before_publish,
        no_fencing,
        acknowledged_before_commit,
        clock_went_back,
        pointer_not_synced,
        recovery_forgotten,
        any_state,
        record_forgotten,
        no_tombstones,
    )
}
