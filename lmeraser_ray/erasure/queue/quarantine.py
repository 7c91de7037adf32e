"""Quarantine: constituents that were trained on a record stop answering at once, before anything is
trained again.

    request → its records (only their buckets are read) → their constituents → noted, and named in the pointer: readers ask the next nearest

It takes one swap of a small file. It holds until the state is published in which the record never
was.
"""

from collections.abc import Callable, Container, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from lmeraser_ray.config import Config
from lmeraser_ray.data.buckets import bucket_number
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.erasure.queue.affected_constituents import constituent_of_rows
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import ErasureRequest, Target
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.models.learners.registry import make_learner
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.pointer import release, silence, write_pointer
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.store import Store

T = TypeVar("T")
TRIES = 20


def quarantine_request(session: Session, request_id: str) -> tuple[str, ...]:
    """Take the constituents of a request's records out of prediction. Returns their keys. Does not
    wait for whoever is training."""
    store, config = session.folder.store, session.config()
    with session.database() as database:
        request = RequestRepository(database, session.names()).get(request_id)
        if settled(request):
            return ()

        def note(conn: Connection, manifest: Manifest) -> tuple[str, ...]:
            keys = affected(store, config, manifest, request.targets)
            silence(conn, request_id, keys)
            ledger.append(conn, "QUARANTINED", request_id, {"constituents": len(keys)})
            return keys

        return rewritten(session, database, note)


def lift_quarantine(session: Session, request_id: str) -> None:
    """Have the constituents answer again that only this request, which was refused or cancelled,
    kept silent."""
    with session.database() as database:
        rewritten(session, database, lambda conn, _: release(conn, [request_id]))


def rewritten(session: Session, database: Database, note: Callable[[Connection, Manifest], T]) -> T:
    """What `note` returns, with the pointer written again after it, in one transaction and for the
    state that is published then."""
    folder = session.folder
    for _ in range(TRIES):
        item, manifest = folder.current(), folder.require_published()
        with database.write() as conn:
            if item is None or item.key != manifest.fingerprint or folder.current() != item:
                continue  # published meanwhile
            found = note(conn, manifest)
            write_pointer(conn, folder, item, manifest)
        return found
    raise ExecutionError(
        f"New states of {session.root} are published faster than a quarantine can be noted: try "
        "again."
    )


def still_silent(
    database: Database,
    names: Pseudonymizer,
    store: Store,
    config: Config,
    manifest: Manifest,
    *,
    without: Container[str] = (),
) -> dict[str, tuple[str, ...]]:
    """What must not answer in a state that is about to be published: the constituents, by request,
    of all that asked for quarantine and whose records are in it. without: requests that the state
    completes."""
    waiting = RequestRepository(database, names).quarantined()
    return {
        request.id: affected(store, config, manifest, request.targets)
        for request in waiting
        if request.id not in without
    }


def settled(request: ErasureRequest) -> bool:
    """Whether nothing that a request named can answer any more, or nothing will go."""
    return not request.state.is_unpublished


def affected(
    store: Store, config: Config, manifest: Manifest, targets: Sequence[Target]
) -> tuple[str, ...]:
    """The keys of the constituents that were trained on records of these targets. Reads the rows of
    no more buckets than it must."""
    records = {target.name for target in targets if target.what == "record" and target.name}
    subjects = {target.name for target in targets if target.what == "subject" and target.name}
    numbers = {bucket_number(config.seed, name, config.data.buckets) for name in records}
    states = tuple(
        state for state in manifest.buckets if subjects or state.bucket.number in numbers
    )
    index = RecordIndex.read(store, [state.bucket for state in states])
    hit = index.held("record_id", records) | index.held("subject_id", subjects)
    lanes = set(constituent_of_rows(store, config, states, index)[hit].tolist())
    joint = make_learner(config).joint and lanes - {-1}
    return tuple(
        sorted(
            {shard.constituent.key for shard in manifest.shards if joint or shard.number in lanes}
        )
    )
