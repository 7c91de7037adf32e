"""The one way to change what is published: the pointer is written within a write transaction of the
request database.

So no two writers of it overlap, a stale queue is stopped by its epoch first, and what is in
quarantine stays there.
"""

from collections.abc import Iterable

from sqlalchemy import Connection, delete, select

from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database.tables import quarantined
from lmeraser_ray.storage.store import StoredObject


def write_pointer(
    conn: Connection, folder: WorkspaceFolder, item: StoredObject, manifest: Manifest
) -> frozenset[str]:
    """Publish a stored manifest. Returns the keys of its constituents that are in quarantine."""
    reachable = {shard.constituent.key for shard in manifest.shards}
    silent = frozenset(conn.execute(select(quarantined.c.constituent)).scalars()) & reachable
    folder.swap(item, silent)
    return silent


def silence(conn: Connection, request: str, constituents: Iterable[str]) -> None:
    """Note which constituents a request keeps from answering, instead of those that were noted
    before."""
    release(conn, [request])
    rows = [{"request_id": request, "constituent": key} for key in sorted(set(constituents))]
    if rows:
        conn.execute(quarantined.insert(), rows)


def release(conn: Connection, requests: Iterable[str]) -> None:
    """End the quarantine of requests."""
    conn.execute(delete(quarantined).where(quarantined.c.request_id.in_(list(requests))))
