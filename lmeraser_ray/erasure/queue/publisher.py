"""Publishing for erasure requests: a publication is noted before it happens, so that a crash in the
middle of it can be told from one before.

    intent: a row of `publications` ─► one transaction: requests PUBLISHED, ledger, pointer
                                       (`lmeraser_ray.pipeline.publication`)

Invariant: every write is within the queue's lease, so that a queue that lost it changes nothing.
After a crash between the pointer and the COMMIT, `recover` does what the transaction would have
done; after any earlier crash it takes the intent back.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from lmeraser_ray.erasure.queue.lease import Lease
from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.publication import Quarantine, publication
from lmeraser_ray.pipeline.workspace_folder import LockedWorkspace, WorkspaceFolder
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.tables import erased, publications, requests


@dataclass(frozen=True)
class Facts:
    """What a publication changed, as the certificate will say.

    rebuilt: keys of the constituents that were not in the state before; reused, reused_digest: how
    many were, and the hash over their keys; passes: record passes that training took; removed:
    records that left; numerics: on what the rebuilt ones were trained; seen: how many of the
    removed records a sweep saw when it chose the configuration.
    """

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
        """The JSON that the row of the publication keeps."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Facts":
        """Read what `to_json` wrote."""
        read = json.loads(text)
        return cls(
            **{**read, "rebuilt": tuple(read["rebuilt"]), "numerics": tuple(read["numerics"])}
        )


@dataclass(frozen=True)
class Leaving:
    """What leaves with a publication: for each request the hashes of its records, and which
    requests it completes."""

    records: Mapping[str, Sequence[str]]
    complete: Sequence[str]


@dataclass
class Publisher:
    """Publishes states of one workspace under one lease."""

    workspace: LockedWorkspace
    database: Database
    lease: Lease

    def publish(
        self,
        before: Manifest,
        after: Manifest,
        leaving: Leaving,
        facts: Facts,
        quarantine: Quarantine,
    ) -> None:
        """Make `after` the published state, and the requests that it completes PUBLISHED."""
        with self.lease.write() as conn:
            number = self._intend(conn, before, after, leaving, facts)
        with publication(self.workspace, self.lease.write, after, quarantine) as conn:
            conclude(conn, number, leaving.complete)

    def _intend(
        self, conn: Connection, before: Manifest, after: Manifest, leaving: Leaving, facts: Facts
    ) -> int:
        """Note what is about to be published. Returns the number of the publication."""
        row = {
            "epoch": self.lease.epoch,
            "before": ledger.state_of(conn, before.fingerprint),
            "after": ledger.state_of(conn, after.fingerprint),
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
        """Conclude or take back the publications that a crash interrupted."""
        with self.lease.write() as conn:
            recover(conn, self.workspace)


def recover(conn: Connection, folder: WorkspaceFolder) -> None:
    """Conclude the publications whose state is published but whose rows a crash left unwritten, and
    take back the others. Must come before any other state is published."""
    current = folder.current()
    state = ledger.state_of(conn, current.key) if current else None
    for row in conn.execute(
        select(publications).where(publications.c.done.is_(False)).order_by(publications.c.id)
    ).all():
        if row.after == state:
            conclude(conn, row.id, completed(conn, row.id))
        else:
            conn.execute(
                update(erased).where(erased.c.publication == row.id).values(publication=None)
            )
            conn.execute(publications.delete().where(publications.c.id == row.id))


def conclude(conn: Connection, number: int, complete: Sequence[str]) -> None:
    """Note that a publication happened: its requests become PUBLISHED, with a ledger entry."""
    row = conn.execute(select(publications).where(publications.c.id == number)).one()
    conn.execute(update(publications).where(publications.c.id == number).values(done=True))
    transitions.set_published(conn, number, complete)
    ledger.append(
        conn,
        "PUBLICATION",
        None,
        {
            "publication": number,
            "before": row.before,
            "after": row.after,
            "requests": sorted(complete),
            "facts": hashlib.sha256(row.facts.encode()).hexdigest(),
        },
    )


def completed(conn: Connection, number: int) -> list[str]:
    """The ids of the requests in work all of whose records left with this publication or an earlier
    one."""
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
