"""`backup`: a workspace's published state, its requests and its secret in one file; and, apart from
it, the erasure list.

    lock → published objects + configuration + secret + rows of the request database → FILE.tar
    tombstones → ERASURES

Invariants: the file is whole or not there, and only its owner can read it; every object is compared
with its digest while it is copied; the file names nobody whose request is finished; of a secret
that lies outside of the workspace it holds only the marker. Later erasures do not reach a backup:
so backups expire, and `restore` erases again. For this it needs a list of erasures that is newer
than the backup: keep that file apart.
"""

from dataclasses import dataclass
from pathlib import Path

import lmeraser_ray
from lmeraser_ray.erasure.backup.archive import (
    KEPT,
    ROWS,
    ArchivePart,
    BackupCard,
    Contents,
    part_of,
    write_archive,
)
from lmeraser_ray.erasure.backup.database_dump import dump
from lmeraser_ray.erasure.backup.erasure_list import ErasureList
from lmeraser_ray.errors import ConfigError, ExecutionError
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.files import disk_errors, write_temporary
from lmeraser_ray.storage.paths import Location, inside
from lmeraser_ray.storage.store import present
from lmeraser_ray.storage.times import to_text, utcnow


@dataclass(frozen=True)
class Backup:
    """What was written. sha256: of the archive's table of contents, None without an archive;
    erasures: how many tombstones the erasure list has, None without a list."""

    fingerprint: str | None
    sha256: str | None
    size: int
    parts: int
    seq: int
    hash: str
    erasures: int | None


def backup(session: Session, *, to: Path | None, erasures: Path | None) -> Backup:
    """Write an archive, or the erasure list, or both.

    Errors: `ConfigError` where a file would lie within the workspace, `DataError` where nothing is
    published, `VerificationError` where an object is damaged, `ExecutionError` where another
    command writes to the workspace (for an archive) or the disk is full.
    """
    if to is None and erasures is None:
        raise ConfigError(
            "Nothing to write was named: give --to FILE.tar, --erasures FILE, or both."
        )
    for option, path in (("--to", to), ("--erasures", erasures)):
        if path is not None:
            refuse_place(session.root, option, path)
    session.folder.require_published()
    if to is not None:
        with session.database() as database:
            made = archive(session.folder, database, to)
    with session.database() as database, database.read() as conn:
        found = ErasureList.now(conn, session.names().workspace_id)
    if erasures is not None:
        found.write(erasures)
    count = len(found.tombstones) if erasures else None
    if to is None:
        return Backup(None, None, 0, 0, found.seq, found.hash, count)
    return Backup(
        made.about.fingerprint,
        made.digest,
        to.stat().st_size,
        len(made.parts),
        made.about.seq,
        made.about.hash,
        count,
    )


def refuse_place(root: Location, option: str, path: Path) -> None:
    """Errors: `ConfigError` where a file cannot be written, or would lie within the workspace."""
    if inside(path, root):
        raise ConfigError(
            f"{option} {path} lies within the workspace, which holds nothing but its own files: "
            "choose a place outside of it."
        )
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError(
            f"{option} {path} is no place for a file: give the name of a file in a folder that "
            "exists."
        )


@dataclass(frozen=True)
class Made:
    """An archive that was written. about: what it is a backup of; digest: the SHA-256 of its table
    of contents."""

    about: BackupCard
    parts: tuple[ArchivePart, ...]
    digest: str


def archive(folder: WorkspaceFolder, database: Database, to: Path) -> Made:
    """Write the archive of a workspace."""
    with folder.locked() as workspace:
        rows = workspace.store.scratch / ROWS
        with (
            database.read() as conn
        ):  # publishing is a write transaction: pointer and rows are of one moment
            state, item = folder.require_state(), folder.current()
            head = ledger.head(conn)
            write_temporary(workspace.store.scratch, dump(conn))[0].replace(rows)  # type: ignore[arg-type]
        if item is None:
            raise ExecutionError(
                f"{folder.root} lost its pointer CURRENT while it was read: try again."
            )
        files = [folder.root / name for name in KEPT if (folder.root / name).exists()] + [rows]
        parts = [part_of(path.name, path) for path in files]
        for stored in (item, *state.manifest.objects()):
            files.append(folder.store.path(stored))
            with disk_errors(files[-1]), present(stored):
                parts.append(
                    ArchivePart(f"objects/{stored.name}", files[-1].stat().st_size, stored.sha256)
                )
        about = BackupCard(
            version=lmeraser_ray.__version__,
            at=to_text(utcnow()),
            workspace=folder.names().workspace_id,
            manifest=(item.key, item.sha256),
            fingerprint=item.key,
            dialect=database.dialect,
            seq=head.seq,
            hash=head.hash,
        )
        digest = write_archive(to, Contents(about, tuple(parts)), files)
        return Made(about, tuple(parts), digest)
