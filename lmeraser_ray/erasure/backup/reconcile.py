"""Reconcile a backup's request database with the workspace's: the newer one is kept, and no erasure
of either is lost.

    the workspace's ledger continues the backup's → keep the workspace's rows
    the backup's ledger continues the workspace's → take the backup's rows
    neither continues the other                   → refuse
    the workspace has no ledger                   → take the backup's rows, if it is known which
                                                    erasures came after the backup

Invariant: one transaction writes the tombstones of the workspace, of the backup, of the erasure
list and of the certificates; no tombstone is ever removed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from lmeraser_ray.erasure.backup.database_dump import load
from lmeraser_ray.erasure.backup.erasure_list import ErasureList
from lmeraser_ray.erasure.backup.unpack import Staged
from lmeraser_ray.erasure.certificate.standing_erasures import put_back
from lmeraser_ray.errors import ConfigError, VerificationError
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.database.secret_versions import note
from lmeraser_ray.storage.database.tombstones import (
    Tombstone,
    bring_back,
    drop_retired,
    read_tombstones,
)
from lmeraser_ray.storage.database.upgrade import upgrade_rows

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


def reconcile(database: Database, staged: Staged, known: Known, names: Pseudonymizer) -> Reconciled:
    """Reconcile the workspace's database, perhaps an empty one, with the backup's. names: the
    workspace's keyed hashes.

    Errors: `ConfigError` where neither ledger continues the other, or where it is not known what
    was erased after the backup; `VerificationError` where a ledger's chain is broken. Then nothing
    is changed.
    """
    with database.write() as conn:
        stones = [
            Tombstone(str(row["hash"]), int(str(row.get("secret", 1))), dated(row))
            for name, row in staged.rows()
            if name == tables.tombstones.name
        ]
        stones += read_tombstones(conn)
        stones += known.erasures.tombstones if known.erasures else ()
        require_versions(stones, names)
        require_chain(conn, "that is there")
        there = ledger.head(conn)
        kept = there.seq > 0 and ledger.contains(conn, staged.head)
        if not kept:
            if there.seq == 0:
                known.require(staged)
            elif staged.hash_at(there.seq) != there.hash:
                raise ConfigError(FORKED)
            take(conn, staged, names)
        bring_back(conn, latest(stones))
        drop_retired(conn, names)
        note(conn, names)
        put_back(conn)
        count = len(read_tombstones(conn))
        lost = max(0, known.erasures.seq - ledger.head(conn).seq) if known.erasures else 0
    return Reconciled(kept, lost, count)


def dated(row: Mapping[str, object]) -> str | None:
    """Return the moment of a tombstone in a backup, None where the backup has none."""
    return str(row["at"]) if row.get("at") else None


def latest(stones: Iterable[Tombstone]) -> Iterable[Tombstone]:
    """Return one tombstone for each hash, that with the latest moment."""
    return {stone.hash: stone for stone in sorted(stones, key=lambda one: one.at or "")}.values()


def require_versions(stones: Iterable[Tombstone], names: Pseudonymizer) -> None:
    """Errors: `ConfigError` where a tombstone is under a version of the secret that is not at hand:
    nobody could tell any more whom it is of."""
    ring = names.keyring
    missing = {stone.secret for stone in stones} - {*ring.secrets, *ring.retired}
    if missing:
        raise ConfigError(
            f"The erased are known under version {max(missing)} of the secret, and the secret that "
            f"is there has {ring.version}: the backup is from before a rotation. Give the newest "
            "secret by LMERASER_SECRET, or put it into the workspace, and restore again."
        )


def take(conn: Connection, staged: Staged, names: Pseudonymizer) -> None:
    """Replace the workspace's rows by the backup's. A queue that still runs finds another epoch,
    and stops."""
    before = conn.scalar(select(tables.lease.c.epoch)) or 0
    found = load(conn, staged.rows())
    if ledger.head(conn) != staged.head:
        raise VerificationError(
            "The ledger in the backup does not end where its table of contents says: give "
            "another backup."
        )
    upgrade_rows(conn, names, found)
    require_chain(conn, "in the backup")
    epoch = max(before, conn.scalar(select(tables.lease.c.epoch)) or 0) + 1
    released = {"holder": None, "process": None, "heartbeat_at": None, "snapshot": None}
    conn.execute(update(tables.lease).values(epoch=epoch, **released))


def require_chain(conn: Connection, which: str) -> None:
    """Errors: `VerificationError` where the ledger's chain is broken."""
    found = ledger.check(conn)
    if found:
        raise VerificationError(f"The ledger {which} does not hold: {found[0]}. {DAMAGED}")
