"""Unpack a backup into the scratch folder of the command that holds the workspace's lock; the
folder is removed with the lock.

Invariant: nothing of a backup is anywhere else before all of it was verified.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lmeraser_ray.config import Config
from lmeraser_ray.config.kept import KeptConfig, read_kept
from lmeraser_ray.erasure.backup.archive import KEPT, ROWS, Archive
from lmeraser_ray.erasure.backup.database_dump import rows_in
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.storage.database.keyring import Keyring
from lmeraser_ray.storage.database.ledger import LedgerHead
from lmeraser_ray.storage.database.secret_place import SECRET, keyring_in, read_inside
from lmeraser_ray.storage.files import disk_errors, move_into_place, write_temporary
from lmeraser_ray.storage.paths import Location
from lmeraser_ray.storage.store import EXTENSION, KINDS, Store, StoredObject

OBJECT = re.compile(rf"objects/({'|'.join(KINDS)})/([0-9a-f]{{64}})-([0-9a-f]{{64}})(\.[a-z]+)")


@dataclass(frozen=True)
class Staged:
    """An unpacked backup. root: its folder; workspace: the id of its workspace; keyring: the secret
    that it holds or that its marker leads to; head: of its ledger; digest: of its table of
    contents."""

    root: Location
    workspace: str
    keyring: Keyring
    head: LedgerHead
    digest: str
    manifest: Manifest
    kept: KeptConfig

    @property
    def config(self) -> Config:
        """Its configuration, without what only the operator names."""
        return self.kept.config

    @property
    def store(self) -> Store:
        """The backup's objects."""
        return Store(self.root / "objects")

    @property
    def secret(self) -> bytes:
        """The workspace's file `secret`: the secret, or the marker that it lies outside."""
        return (self.root / SECRET).read_bytes()

    def rows(self) -> Iterator[tuple[str, dict[str, object]]]:
        """Yield the rows of the backup's request database."""
        with disk_errors(self.root / ROWS), (self.root / ROWS).open("rb") as file:
            yield from rows_in(file)

    def hash_at(self, seq: int) -> str | None:
        """Return the hash of an entry of the backup's ledger, None where it has no such entry."""
        return next(
            (
                str(row["hash"])
                for name, row in self.rows()
                if name == "ledger" and row["seq"] == seq
            ),
            None,
        )


def unpack(archive: Archive, root: Location) -> Staged:
    """Unpack a backup into a new folder. Errors: `VerificationError` where it is damaged or its
    parts do not belong together."""
    store = Store(root / "objects")
    store.create()
    for part, pieces in archive.parts():
        temporary, sha256 = write_temporary(store.scratch, pieces)
        move_into_place(temporary, place_of(part.name, sha256, root, store))
    about = archive.contents.about
    item = StoredObject("manifests", *about.manifest)
    head, workspace = LedgerHead(about.seq, about.hash), about.workspace
    try:
        kept = read_kept((root / "configuration.json").read_bytes())
    except (ValueError, FileNotFoundError) as error:
        raise VerificationError(
            "The backup has no manifest or no configuration that this version reads: give "
            "another backup."
        ) from error
    manifest = Manifest.from_bytes(store.read(item))
    keyring = keyring_in(read_inside(root / SECRET) or b"", root / SECRET)
    if manifest.fingerprint != item.key or keyring.workspace != workspace:
        raise VerificationError(
            "The backup's manifest or secret is not the one that it names: give another backup."
        )
    for stored in manifest.objects():
        if not store.path(stored).is_file():
            raise VerificationError(f"The backup lacks {stored.name}: give another backup.")
    return Staged(root, workspace, keyring, head, archive.digest, manifest, kept)


def place_of(name: str, sha256: str, root: Location, store: Store) -> Location:
    """Return where a part is unpacked. Errors: `VerificationError` for a name that no backup
    has."""
    found = OBJECT.fullmatch(name)
    if found:
        item = StoredObject(found[1], found[2], found[3])  # type: ignore[arg-type]
        if item.sha256 == sha256 and EXTENSION[item.kind] == found[4]:
            return store.path(item)
    elif name in (*KEPT, ROWS):
        return root / name
    raise VerificationError(
        f"The backup has a part {name[:80]!r} that no backup has: give another one."
    )
