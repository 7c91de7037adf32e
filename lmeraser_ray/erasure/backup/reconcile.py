"""Reconcile a backup's request database with the workspace's: the newer one is kept, and no erasure
of either is lost.

    the workspace's ledger continues the backup's → keep the workspace's rows
    the backup's ledger continues the workspace's → take the backup's rows
    neither continues the other                   → refuse
    the workspace has no ledger                   → take the backup's rows, if it is known which
                                                    erasures came after the backup

Invariant: one transaction writes the tombstones of the workspace, of the backup and of the erasure
list; no tombstone is ever removed.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from lmeraser_ray.erasure.backup.database_dump import load
from lmeraser_ray.erasure.backup.erasure_list import ErasureList
from lmeraser_ray.erasure.backup.unpack import Staged
from lmeraser_ray.errors import ConfigError, VerificationError
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.tombstones import cover_hashes

DAMAGED = (
    "To restore nevertheless, move requests.db and requests.db-journal out of the workspace, "
    "keep them, and give --erasures FILE, or --no_later_erasures if nobody was erased after the "
    "backup."
)
FORKED = (
    "The request database that is there and the backup's have both gone on from a common "
    "beginning, so that neither knows all requests: write the one's erasures with `lmeraser "
    "backup --erasures FILE`, move its requests.db out of the workspace, keep it, and restore "
    "with that FILE; requests that only it has are to be submitted again."
)


@dataclass(frozen=True)
class Known:
    """What is known of erasures after the backup: the erasure list, or that there were none, as the
    caller says (`no_later`)."""

    erasures: ErasureList | None
    no_later: bool

    def require(self, staged: Staged) -> None:
        """Errors: `ConfigError` where it is not known what was erased after the backup."""
        if self.no_later:
            return
        if self.erasures is None:
            raise ConfigError(
                "There is no request database here, so that nobody can tell who was erased after "
                "the backup: give --erasures FILE, which `lmeraser backup --erasures` wrote "
                "after it, or --no_later_erasures if you know that nobody was."
            )
        if self.erasures.seq < staged.head.seq:
            raise ConfigError(
                f"--erasures is of {self.erasures.at}, before the backup (entry "
                f"{self.erasures.seq} of the ledger, the backup has {staged.head.seq}), so that "
                "it does not say who was erased after it: give a newer one, or "
                "--no_later_erasures."
            )


@dataclass(frozen=True)
class Reconciled:
    """The reconciled database.

    kept: whether the workspace's rows were kept; lost: how many entries the ledger had when the
    erasure list was written and has no more; tombstones: how many there are.
    """

    kept: bool
    lost: int
    tombstones: int


def reconcile(database: Database, staged: Staged, known: Known) -> Reconciled:
    """Reconcile the workspace's database, perhaps an empty one, with the backup's.

    Errors: `ConfigError` where neither ledger continues the other, or where it is not known what
    was erased after the backup; `VerificationError` where a ledger's chain is broken. Then nothing
    is changed.
    """
    with database.write() as conn:
        hashes = {str(row["hash"]) for name, row in staged.rows() if name == tables.tombstones.name}
        hashes |= {
            *conn.scalars(select(tables.tombstones.c.hash)),
            *(known.erasures.tombstones if known.erasures else ()),
        }
        require_chain(conn, "that is there")
        there = ledger.head(conn)
        kept = there.seq > 0 and ledger.contains(conn, staged.head)
        if not kept:
            if there.seq == 0:
                known.require(staged)
            elif staged.hash_at(there.seq) != there.hash:
                raise ConfigError(FORKED)
            take(conn, staged)
        cover_hashes(conn, hashes)
        lost = max(0, known.erasures.seq - ledger.head(conn).seq) if known.erasures else 0
    return Reconciled(kept, lost, len(hashes))


def take(conn: Connection, staged: Staged) -> None:
    """Replace the workspace's rows by the backup's. A queue that still runs finds another epoch,
    and stops."""
    before = conn.scalar(select(tables.lease.c.epoch)) or 0
    load(conn, staged.rows())
    require_chain(conn, "in the backup")
    if ledger.head(conn) != staged.head:
        raise VerificationError(
            "The ledger in the backup does not end where its table of contents says: give "
            "another backup."
        )
    epoch = max(before, conn.scalar(select(tables.lease.c.epoch)) or 0) + 1
    released = {"holder": None, "process": None, "heartbeat_at": None, "snapshot": None}
    conn.execute(update(tables.lease).values(epoch=epoch, **released))


def require_chain(conn: Connection, which: str) -> None:
    """Errors: `VerificationError` where the ledger's chain is broken."""
    found = ledger.check(conn)
    if found:
        raise VerificationError(f"The ledger {which} does not hold: {found[0]}. {DAMAGED}")
