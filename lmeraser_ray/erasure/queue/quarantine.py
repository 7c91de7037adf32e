"""Quarantine: constituents that were trained on a record stop answering at once, before anything is
trained again.

    open requests that ask for it ─► their records in the published state ─► the constituents
                                     trained on them ─► named in the pointer: readers skip them

Rules:

- What is in quarantine is a function of two things: the requests that ask for it and still wait
  (RECEIVED, PLANNED, TRAINING, FAILED), and the published state. Nothing else keeps it.
- A publication computes it in its own transaction. Any other change of a request is followed by
  `settle_quarantine`, which writes the pointer again if it must change.
- A quarantine is lifted after the COMMIT that closes its request. So a crash in between leaves too
  many constituents in quarantine, never too few.
- Whoever comes next repairs that: each publication, each command that quarantines, cancels or
  refuses, and the queue, when it starts and whenever it looks for requests.

Writing the pointer replaces one small file. It waits for no training, and needs no lock.
"""

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Connection, select

from lmeraser_ray.config import Config
from lmeraser_ray.data.buckets import bucket_number
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.erasure.queue.affected_constituents import NO_CONSTITUENT, constituents_of_rows
from lmeraser_ray.erasure.requests.request import ErasureRequest, State, read_requests
from lmeraser_ray.errors import ExecutionError, VerificationError
from lmeraser_ray.models.learners.registry import make_learners
from lmeraser_ray.pipeline.manifest import MEMBER_STRIDE, Manifest
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.tables import requests
from lmeraser_ray.storage.store import Store

TRIES = 20
ASKING = State.where(lambda state: state.is_unpublished or state is State.FAILED)
"""States of a request whose records may still be in the published state."""
WAITING = requests.c.quarantine & requests.c.state.in_(ASKING)


@dataclass(frozen=True)
class Quarantine:
    """Which constituents of one state must not answer: what a publication asks (`__call__`)."""

    store: Store
    config: Config
    manifest: Manifest
    _known: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def prepare(self, database: Database) -> "Quarantine":
        """Find the records of the requests that ask now, so that the transaction that follows is
        short: it looks for those of newer requests only."""
        with database.read() as conn:
            asking = requests_asking(conn)
        self._learn(asking)
        return self

    def __call__(self, conn: Connection) -> frozenset[str]:
        """The keys of the constituents in quarantine, as the requests stand in this transaction."""
        asking = ids_asking(conn)
        if not set(asking) <= self._known.keys():
            self._learn([each for each in requests_asking(conn) if each.id not in self._known])
        return frozenset(key for request in asking for key in self._known[request])

    def of(self, request_id: str) -> tuple[str, ...]:
        """The keys of the constituents that were trained on a request's records, ascending."""
        return self._known[request_id]

    def _learn(self, asking: Collection[ErasureRequest]) -> None:
        self._known.update(constituents_trained_on(self.store, self.config, self.manifest, asking))


def ids_asking(conn: Connection) -> tuple[str, ...]:
    """The ids of the requests that ask for quarantine and whose records may still be in the
    published state, ascending."""
    return tuple(conn.scalars(select(requests.c.id).where(WAITING).order_by(requests.c.id)))


def requests_asking(conn: Connection) -> list[ErasureRequest]:
    """These requests, with their targets."""
    return read_requests(conn, select(requests).where(WAITING).order_by(requests.c.id))


def constituents_trained_on(
    store: Store, config: Config, manifest: Manifest, asking: Collection[ErasureRequest]
) -> dict[str, tuple[str, ...]]:
    """The keys of the constituents that were trained on records of these requests, ascending, by
    request. Reads the rows of no more buckets than it must."""
    by_name: dict[str, dict[str, list[str]]] = {
        "record": defaultdict(list),
        "subject": defaultdict(list),
    }
    for request in asking:
        for target in request.targets:
            if target.name:
                by_name[target.what][target.name].append(request.id)
    records, subjects = by_name["record"], by_name["subject"]
    buckets = {bucket_number(config.seed, name, config.data.buckets) for name in records}
    held = [state.bucket for state in manifest.buckets]
    index = RecordIndex.read(store, [one for one in held if subjects or one.number in buckets])
    hit = index.held("record_id", records) | index.held("subject_id", subjects)
    at = np.flatnonzero(hit)
    shards: dict[str, set[int]] = {request.id: set() for request in asking}
    started = {shard.number for shard in manifest.shards if shard.start}
    for record, subject, permanent, numbers in zip(
        index.names("record_id", at),
        index.names("subject_id", at),
        index.permanent[at].tolist(),
        constituents_of_rows(store, config, manifest, index)[at].tolist() if len(at) else (),
        strict=True,
    ):
        for request_id in (*records.get(record, ()), *subjects.get(subject, ())):
            shards[request_id] |= {*numbers} - {NO_CONSTITUENT}
            shards[request_id] |= started if permanent else set()
    keys = keys_by_number(config, manifest)
    return {
        request_id: tuple(sorted({key for number in found for key in keys[number]}))
        for request_id, found in shards.items()
    }


def keys_by_number(config: Config, manifest: Manifest) -> dict[int, list[str]]:
    """The key of the constituent of each number; a joint learner's one constituent has its system's
    first number."""
    learners, found = make_learners(config), dict[int, list[str]]()
    for shard in manifest.shards:
        joint = learners[shard.member].joint
        number = shard.member * MEMBER_STRIDE if joint else shard.number
        found[number] = [shard.constituent.key]
    return found


def quarantine_request(session: Session, request_id: str) -> tuple[str, ...]:
    """Take the constituents of a request's records out of prediction before this returns. Returns
    their keys; nothing where the request is closed, or its records have left the published
    state."""
    found: tuple[str, ...] = ()

    def note(conn: Connection, quarantine: Quarantine) -> None:
        nonlocal found
        if request_id in ids_asking(conn):
            found = quarantine.of(request_id)
            ledger.append(conn, "QUARANTINED", request_id, {"constituents": len(found)})

    with session.database() as database:
        settle_quarantine(session.folder, database, session.config(), note)
    return found


def settle_quarantine(
    folder: WorkspaceFolder,
    database: Database,
    config: Config,
    note: Callable[[Connection, Quarantine], object] = lambda *_: None,
) -> None:
    """Write into the pointer what must be in quarantine, and only that, for the state that is
    published then. Does nothing before the first publication.

    note: writes something more in the same transaction. Errors: `VerificationError` where the
    published state is damaged; `ExecutionError` where one state is published after the other.
    """
    for _ in range(TRIES):
        item = folder.current()
        try:
            manifest = folder.published()
            if item is None or manifest is None:
                return
            quarantine = Quarantine(folder.store, config, manifest).prepare(database)
        except VerificationError:
            if folder.current() == item:
                raise
            continue  # the next state was published and this one purged meanwhile
        if item.key != manifest.fingerprint:
            continue
        with database.write() as conn:
            if folder.write_quarantine(item, quarantine(conn)):
                note(conn, quarantine)
                return
    raise ExecutionError(
        f"New states of {folder.root} are published faster than a quarantine can be noted: try "
        "again."
    )


@dataclass
class QuarantineWatch:
    """Settles the quarantine of a workspace when the pointer, or the requests that ask for one,
    have changed since the last look."""

    folder: WorkspaceFolder
    database: Database
    config: Config
    _seen: object = None

    def look(self) -> None:
        """Settle what changed. Errors: as `settle_quarantine`."""
        asking, quarantined = seen = self._now()
        if seen == self._seen:
            return
        if asking or quarantined:
            settle_quarantine(self.folder, self.database, self.config)
        self._seen = self._now()

    def _now(self) -> tuple[object, object]:
        """The requests that ask, and what the pointer says: the published manifest and what is in
        quarantine; nothing, where that is nothing."""
        with self.database.read() as conn:
            asking, pointer = ids_asking(conn), self.folder.pointer()
        return asking, pointer if pointer and (asking or pointer[1]) else None
