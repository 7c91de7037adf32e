"""Tombstones: keyed hashes of erased records and subjects, in the request database, so that they
are not ingested again.

A tombstone is the hash of a record's or a subject's id (`pseudonyms.py`). Tombstones are no part of
the fingerprint, since a workspace that never held a record has none for it.
"""

from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, delete, select

from lmeraser_ray.storage.database import tables
from lmeraser_ray.storage.database.database import Database, insert_new
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer, TargetKind
from lmeraser_ray.storage.files import disk_errors, sync_folder


def cover_hashes(connection: Connection, hashes: Iterable[str]) -> None:
    """Add tombstones, within a transaction; existing ones stay."""
    insert_new(connection, tables.tombstones, [{"hash": found} for found in sorted(set(hashes))])


def lift_hashes(connection: Connection, hashes: Iterable[str]) -> int:
    """Remove tombstones, within a transaction. Returns how many there were."""
    gone = delete(tables.tombstones).where(tables.tombstones.c.hash == bindparam("gone"))
    return sum(connection.execute(gone, {"gone": found}).rowcount for found in set(hashes))


class Tombstones:
    """The tombstones of one workspace, as they are when the object is made."""

    def __init__(self, pseudonymizer: Pseudonymizer, database: Database) -> None:
        """Imports the file of tombstones that version 0.2.0 left in the workspace first."""
        self._pseudonymizer, self._database = pseudonymizer, database
        self._take_over()
        with database.read() as connection:
            self._hashes = frozenset(connection.scalars(select(tables.tombstones.c.hash)))

    def _take_over(self) -> None:
        """Import the file, and remove it once its hashes are committed."""
        path = self._pseudonymizer.root / "tombstones"
        with disk_errors(path):
            if not path.exists():
                return
            hashes = path.read_text().split()
        with self._database.write() as connection:
            cover_hashes(connection, hashes)
        with disk_errors(path):
            path.unlink(missing_ok=True)
            sync_folder(path.parent)

    def __len__(self) -> int:
        return len(self._hashes)

    def covers(self, what: TargetKind, name: str) -> bool:
        """Whether this record or subject was erased."""
        return bool(self._hashes) and self._pseudonymizer.hash(what, name) in self._hashes

    def cover(self, record: str, subject: str) -> bool:
        """Whether a record was erased, by its own id or as one of its subject's."""
        return self.covers("record", record) or self.covers("subject", subject)

    def hashed(self, records: Iterable[str], subjects: Iterable[str]) -> frozenset[str]:
        """The hashes of these records and subjects."""
        named: tuple[tuple[TargetKind, Iterable[str]], ...] = (
            ("record", records),
            ("subject", subjects),
        )
        return frozenset(
            self._pseudonymizer.hash(what, name) for what, names in named for name in names
        )


class NoTombstones:
    """The tombstones of a study, in which nothing was ever erased."""

    def covers(self, what: TargetKind, name: str) -> bool:  # noqa: ARG002 - as Tombstones
        """No."""
        return False

    def cover(self, record: str, subject: str) -> bool:  # noqa: ARG002 - as Tombstones
        """No."""
        return False
