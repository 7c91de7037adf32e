"""From what was trained to what is proven: publish, purge, scan, freeze. Each step can be repeated
after a crash.

    intent (row) → manifest → [pointer + PUBLISHED, one transaction] → purge → scan → [names wiped + statement frozen, one transaction]

Invariants: every write is within the queue's lease, so a stale queue changes nothing; the pointer
is old or new; a request is PURGED only after a scan that found nothing, and its statement's bytes
never change from then on.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from lmeraser_ray.erasure.queue.lease import Lease
from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.pointer import release, silence, write_pointer
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.tables import erased, publications, requests
from lmeraser_ray.storage.store import StoredObject


@dataclass(frozen=True)
class Facts:
    """What a publication did. rebuilt: keys of the constituents that were not in the state before;
    passes: record passes that took; seen: how many of the removed records a sweep saw when it chose
    the configuration."""

    rebuilt: tuple[str, ...] = ()
    reused: int = 0
    reused_digest: str = ""
    shards: int = 0
    reclustered: bool = False
    passes: int = 0
    removed: int = 0
    numerics: tuple[dict[str, Any], ...] = ()
    seen: int = 0

    def to_json(self) -> str:
        """As the row of the publication keeps it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Facts":
        """Read what `to_json` wrote."""
        read = json.loads(text)
        return cls(
            **{**read, "rebuilt": tuple(read["rebuilt"]), "numerics": tuple(read["numerics"])}
        )


Silent = Mapping[str, Sequence[str]]
"""Keys of constituents in quarantine, by request."""


@dataclass(frozen=True)
class Leaving:
    """What leaves with a publication: for each request the hashes of its records, and which
    requests it completes."""

    records: Mapping[str, Sequence[str]]
    complete: Sequence[str]


@dataclass
class Publisher:
    """Publishes states of one workspace under one lease."""

    folder: WorkspaceFolder
    database: Database
    lease: Lease

    def publish(
        self, before: Manifest, after: Manifest, leaving: Leaving, facts: Facts, silent: Silent
    ) -> StoredObject:
        """Make `after` the published state and its requests PUBLISHED. silent: the constituents
        that must not answer, by request. Returns the manifest's object."""
        with self.lease.write() as conn:
            number = self._intend(conn, before, after, leaving, facts)
        item = self.folder.put_manifest(after)
        with self.lease.write() as conn:
            for request, constituents in silent.items():
                silence(conn, request, constituents)
            conclude(conn, number, leaving.complete)
            write_pointer(conn, self.folder, item, after)
        return item

    def hush(self, manifest: Manifest, silent: Silent) -> None:
        """Silence what must not answer now, and only that: for a request that came without its
        quarantine, or was refused since."""
        state, wanted = (
            self.folder.require_state(),
            {key for keys in silent.values() for key in keys},
        )
        item = self.folder.current()
        if item is None or wanted == state.quarantined:
            return
        with self.lease.write() as conn:
            for request, constituents in silent.items():
                silence(conn, request, constituents)
            write_pointer(conn, self.folder, item, manifest)

    def _intend(
        self, conn: Connection, before: Manifest, after: Manifest, leaving: Leaving, facts: Facts
    ) -> int:
        """Note what is about to be published, so that a crash between the pointer and the rows is
        told from one before."""
        row = {
            "epoch": self.lease.epoch,
            "before": before.fingerprint,
            "after": after.fingerprint,
            "done": False,
        }
        result = conn.execute(insert(publications).values(**row, facts=facts.to_json()))
        [number] = result.inserted_primary_key or (0,)
        for request, hashes in leaving.records.items():
            for at in range(0, len(hashes), 500):
                some = erased.c.hash.in_(hashes[at : at + 500])
                conn.execute(
                    update(erased)
                    .where(erased.c.request_id == request, some)
                    .values(publication=number)
                )
        return int(number)

    def recover(self) -> None:
        """Conclude or forget the publications that a crash left between the pointer and the
        rows."""
        with self.lease.write() as conn:
            recover(conn, self.folder)

    def purge(self, manifest: Manifest, wanted: Iterable[StoredObject]) -> int:
        """Remove every file of the store that neither the published state nor work under way
        (`wanted`) reaches. Returns how many."""
        current = self.folder.current()
        if current is None or current.key != manifest.fingerprint:
            raise VerificationError(
                f"The state that is published in {self.folder.root} changed under a lock: run "
                "`lmeraser verify`."
            )
        return self.folder.store.purge([current, *manifest.objects(), *wanted])


def recover(conn: Connection, folder: WorkspaceFolder) -> None:
    """Conclude or forget the publications that a crash left between the pointer and the rows.
    Before any other state is published."""
    current = folder.current()
    for row in conn.execute(
        select(publications).where(publications.c.done.is_(False)).order_by(publications.c.id)
    ).all():
        if current and row.after == current.key:
            conclude(conn, row.id, completed(conn, row.id))
        else:
            conn.execute(
                update(erased).where(erased.c.publication == row.id).values(publication=None)
            )
            conn.execute(publications.delete().where(publications.c.id == row.id))


def conclude(conn: Connection, number: int, complete: Sequence[str]) -> None:
    """Note that a publication happened and which requests it completed."""
    row = conn.execute(select(publications).where(publications.c.id == number)).one()
    conn.execute(update(publications).where(publications.c.id == number).values(done=True))
    transitions.set_published(conn, number, complete)
    release(conn, complete)
    ledger.append(
        conn,
        "PUBLICATION",
        None,
        {
            "publication": number,
            "before": row.before,
            "after": row.after,
            "requests": sorted(complete),
        },
    )


def completed(conn: Connection, number: int) -> list[str]:
    """The requests all of whose records left with this publication or an earlier one."""
    done = select(publications.c.id).where(publications.c.done.is_(True))
    ours = set(
        conn.execute(select(erased.c.request_id).where(erased.c.publication == number)).scalars()
    )
    left = erased.c.publication.is_(None) | (
        erased.c.publication.not_in(done) & (erased.c.publication != number)
    )
    open_ones = set(conn.execute(select(erased.c.request_id).where(left)).scalars())
    in_work = requests.c.state.in_(State.where(lambda state: state.is_in_work))
    working = select(requests.c.id).where(in_work)
    return sorted((ours - open_ones) & set(conn.execute(working).scalars()))
