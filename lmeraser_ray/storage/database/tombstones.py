"""Tombstones: keyed hashes of erased records and subjects, in the request database, so that they
are not ingested again.

A tombstone is the hash of a record's or a subject's id (`pseudonyms.py`), with the version of the
secret and the moment that it was set. Tombstones are no part of the fingerprint, since a workspace
that never held a record has none for it.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, bindparam, delete, select, update

from lmeraser_ray.storage.database import tables
from lmeraser_ray.storage.database.database import Database, insert_new
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer, TargetKind
from lmeraser_ray.storage.database.secret_versions import require_known
from lmeraser_ray.storage.files import disk_errors, read_file, sync_folder
from lmeraser_ray.storage.times import to_text, utcnow


def cover_hashes(connection: Connection, hashes: Iterable[str], *, secret: int, at: str) -> None:
    """Add tombstones, within a transaction; existing ones get the new moment. secret: the version
    that the hashes are under; at: the moment, as text."""
    stones = [{"hash": found, "secret": secret, "at": at} for found in sorted(set(hashes))]
    again = update(tables.tombstones).where(tables.tombstones.c.hash == bindparam("of"))
    if stones:
        connection.execute(again.values(at=at), [{"of": stone["hash"]} for stone in stones])
        insert_new(connection, tables.tombstones, stones)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A row. secret: the version that the hash is under; at: when it was set, as text."""

    hash: str
    secret: int
    at: str | None


def read_tombstones(connection: Connection) -> list[Tombstone]:
    """All tombstones, in the order of their hashes."""
    columns = tables.tombstones.c
    asked = select(columns.hash, columns.secret, columns.at).order_by(columns.hash)
    return [Tombstone(*row) for row in connection.execute(asked)]


def bring_back(connection: Connection, stones: Iterable[Tombstone]) -> None:
    """Add tombstones as they were, within a transaction; existing ones stay as they are."""
    insert_new(connection, tables.tombstones, [asdict(stone) for stone in stones])


def drop_retired(connection: Connection, pseudonymizer: Pseudonymizer) -> None:
    """Remove the tombstones of retired versions of the secret, which recognise nobody any more."""
    gone = tables.tombstones.c.secret.in_(list(pseudonymizer.keyring.retired))
    connection.execute(delete(tables.tombstones).where(gone))


def lift_hashes(connection: Connection, hashes: Iterable[str]) -> frozenset[str]:
    """Remove tombstones, within a transaction. Returns those that there were."""
    gone = delete(tables.tombstones).where(tables.tombstones.c.hash == bindparam("gone"))
    return frozenset(
        found for found in set(hashes) if connection.execute(gone, {"gone": found}).rowcount
    )


class Tombstones:
    """The tombstones of one workspace, as they are when the object is made."""

    def __init__(self, pseudonymizer: Pseudonymizer, database: Database) -> None:
        """Imports the file of tombstones that version 0.2.0 left in the workspace first."""
        self._pseudonymizer, self._database = pseudonymizer, database
        self._take_over()
        with database.read() as connection:
            require_known(connection, pseudonymizer)
            columns = tables.tombstones.c.secret, tables.tombstones.c.hash
            rows = connection.execute(select(*columns)).all()
        self._hashes = {
            version: frozenset(found for under, found in rows if under == version)
            for version in sorted({row.secret for row in rows}, reverse=True)
        }
        """The hashes by the version of the secret that they are under."""

    def _take_over(self) -> None:
        """Import the file, and remove it once its hashes are committed."""
        path = self._pseudonymizer.root / "tombstones"
        with disk_errors(path):
            if not path.exists():
                return
            hashes = read_file(path).decode().split()
        with self._database.write() as connection:
            cover_hashes(connection, hashes, secret=1, at=to_text(utcnow()))
        with disk_errors(path):
            path.unlink(missing_ok=True)
            sync_folder(path.parent)

    def __len__(self) -> int:
        return sum(map(len, self._hashes.values()))

    def covers(self, what: TargetKind, name: str) -> bool:
        """Whether this record or subject was erased."""
        for version, found in self._hashes.items():
            if self._pseudonymizer.hash(what, name, version=version) in found:
                return True
        return False

    def has(self, hashed: str) -> bool:
        """Whether there is a tombstone of this hash."""
        return any(hashed in found for found in self._hashes.values())

    def cover(self, record: str, subject: str) -> bool:
        """Whether a record was erased, by its own id or as one of its subject's."""
        return self.covers("record", record) or self.covers("subject", subject)

    def hashed(self, records: Iterable[str], subjects: Iterable[str]) -> frozenset[str]:
        """The hashes of these records and subjects, under every version of the secret."""
        named: tuple[tuple[TargetKind, Iterable[str]], ...] = (
            ("record", records),
            ("subject", subjects),
        )
        return frozenset(
            found
            for what, names in named
            for name in names
            for found in self._pseudonymizer.hashes(what, name)
        )


class NoTombstones:
    """The tombstones of a study, in which nothing was ever erased."""

    def covers(self, what: TargetKind, name: str) -> bool:  # noqa: ARG002 - as Tombstones
        """No."""
        return False

    def cover(self, record: str, subject: str) -> bool:  # noqa: ARG002 - as Tombstones
        """No."""
        return False
