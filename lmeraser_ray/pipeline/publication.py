"""The one way to publish a state.

    store the manifest ─► one transaction: ledger entry, states of requests ─► pointer ─► COMMIT

    with publication(workspace, database.write, manifest, quarantine) as conn:
        ledger.append(conn, "TRAINED", None, {"before": …, "after": …})
    purge(workspace, manifest)

Invariants: no two writers of the pointer overlap, because write transactions of the request
database are serial; a transaction that fails, as where the queue's lease or the workspace's lock
was lost, leaves the old pointer; no state is published without its ledger entry; what is in
quarantine is computed in this transaction, for the state that it publishes.

A crash between the pointer and the COMMIT leaves the new state published and its rows unwritten.
The next publisher settles that before it publishes anything else
(`lmeraser_ray.erasure.queue.publisher.recover`).
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy import Connection

from lmeraser_ray.errors import VerificationError
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.workspace_folder import LockedWorkspace
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.store import StoredObject

Transaction = Callable[[], AbstractContextManager[Connection]]
"""Opens a write transaction: `Database.write`, or `Lease.write` for a queue."""
Quarantine = Callable[[Connection], Iterable[str]]
"""Returns the keys of the constituents that must not answer in the state to be published, given the
requests as they stand in the transaction."""


@contextmanager
def publication(
    workspace: LockedWorkspace, transaction: Transaction, manifest: Manifest, quarantine: Quarantine
) -> Iterator[Connection]:
    """Publish a state. The body of the `with` statement writes the ledger entry, and whatever else
    must be true exactly when the state is published; the pointer is written after it.

    Errors: those of the transaction and of the body, `ExecutionError` where the lock was lost,
    `RuntimeError` where the body wrote no ledger entry for this state. Any error leaves the old
    state published.
    """
    item = workspace.put_manifest(manifest)
    with transaction() as conn:
        yield conn
        if ledger.published(conn) != ledger.state_of(conn, manifest.fingerprint):
            raise RuntimeError(f"the state {manifest.fingerprint} has no entry in the ledger")
        workspace.write_pointer(item, quarantine(conn))


def purge(workspace: LockedWorkspace, manifest: Manifest, also: Iterable[StoredObject] = ()) -> int:
    """Remove every file of the store that neither the published state `manifest` nor `also`
    reaches. Returns how many were removed.

    Errors: `VerificationError` where another state is published; those of `Store.purge`.
    """
    current = workspace.current()
    if current is None or current.key != manifest.fingerprint:
        raise VerificationError(
            f"The state that is published in {workspace.root} changed under a lock: run "
            "`lmeraser verify`."
        )
    return workspace.store.purge([current, *manifest.objects(), *also])
