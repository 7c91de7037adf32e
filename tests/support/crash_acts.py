"""What processes do whose changes of the disk are recorded (`tests/support/system_calls.py`): each
says in a note what it has acknowledged.

    python -m tests.support.crash_acts FOLDER desk keys
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection

from lmeraser_ray.data.spec import PictureSpec
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.erasure.backup.archive import BackupCard, Contents, part_of, write_archive
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.queue.lease import Lease
from lmeraser_ray.erasure.queue.publisher import Facts, Leaving, Publisher
from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.pipeline.manifest import BackboneCard, BucketState, Manifest
from lmeraser_ray.pipeline.publication import publication, purge
from lmeraser_ray.pipeline.workspace_folder import LockedWorkspace, WorkspaceFolder
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.digests import key_of
from lmeraser_ray.storage.files import write_temporary
from lmeraser_ray.storage.store import Kind, Store, StoredObject
from tests.support.system_calls import note

GONE, STAYS = "canary-gone", "canary-stays"
CARD = BackboneCard("ab" * 32, 1, 1, PictureSpec(1, 1, "nearest", (0.0,) * 3, (1.0,) * 3))


def picture_of(name: str) -> bytes:
    """Stands for a picture of this record: more than two blocks, which hold its name."""
    return f"{name} ".encode() * 800


def state_of(workspace: LockedWorkspace, *names: str) -> Manifest:
    """Store a state that holds these records."""

    def put(kind: Kind, data: bytes) -> StoredObject:
        return workspace.store.put(kind, key_of("a test", repr(names).encode()), [data])

    data = b"".join(map(picture_of, names))
    kinds: tuple[Kind, ...] = ("records", "pictures", "features")
    records, pictures, features = (put(kind, kind.encode() + data) for kind in kinds)
    return Manifest(
        {"of": "a test"},
        CARD,
        (BucketState(Bucket(0, len(names), records, pictures), features, None),),
        None,
        (),
    )


def note_training(conn: Connection, after: Manifest) -> None:
    """The ledger's entry of a state that was trained."""
    states = {"before": ledger.published(conn), "after": ledger.state_of(conn, after.fingerprint)}
    ledger.append(conn, "TRAINED", None, states)


@contextmanager
def opened(root: Path, url: str | None) -> Iterator[tuple[LockedWorkspace, Database]]:
    """A workspace, locked, with its request database."""
    with WorkspaceFolder(root).locked() as workspace, closing(Database.open(root, url)) as database:
        yield workspace, database


def desk(folder: Path) -> None:
    """A workspace from nothing: a state with two records is published, one of them is erased. What
    the queue does, without training."""
    root = folder / "workspace"
    WorkspaceFolder(root).create()
    with WorkspaceFolder(root).locked():
        dead = Store(root / "objects", "dead")
        dead.create()
        write_temporary(dead.scratch, [picture_of(GONE)])  # of a writer that is killed
    with opened(root, None) as (workspace, database):
        names = workspace.names()
        requests = RequestRepository(database, names)
        first = state_of(workspace, GONE, STAYS)
        with publication(workspace, database.write, first, lambda _: ()) as conn:
            note_training(conn, first)
        note(folder, f"published {first.fingerprint}")
        made = requests.submit([GONE], [], key="ticket", submitter="somebody")
        note(folder, f"submitted {made.id}")
        lease = Lease.claim(database, "a queue", timeout_s=60.0)
        digest = names.hash("record", GONE)
        with lease.write() as conn:
            erased = transitions.ErasedRecord(digest, GONE, picture_of(GONE)[:64])
            transitions.plan(conn, made.id, [erased], {})
        note(folder, f"planned {digest}")
        with lease.write() as conn:
            transitions.begin_training(conn, [made.id])
        second = state_of(workspace, STAYS)
        Publisher(workspace, database, lease).publish(
            first, second, Leaving({made.id: [digest]}, [made.id]), Facts(), lambda _: ()
        )
        note(folder, f"published {second.fingerprint}")
        purge(workspace, second)
        with lease.write() as conn:
            transitions.wipe_names(conn, [made.id])
            transitions.set_purged(conn, made.id, b"a statement")
        note(folder, "purged")
        lease.release()


def pinned(folder: Path) -> None:
    """A workspace whose requests are on the server of the variable SERVER: no COMMIT of SQLite
    syncs what is beside the secret and the pointer."""
    root = folder / "workspace"
    WorkspaceFolder(root).create()
    with opened(root, os.environ["SERVER"]) as (workspace, database):
        assert database.dialect == "postgresql"
        note(folder, f"hashed {workspace.names().hash('record', GONE)}")
        for names in ((GONE, STAYS), (STAYS,)):
            state = state_of(workspace, *names)
            with publication(workspace, database.write, state, lambda _: ()) as conn:
                note_training(conn, state)
            note(folder, f"published {state.fingerprint}")
        purge(workspace, state)
        note(folder, "purged")


BACKUP = BackupCard(
    version="1",
    at="then",
    workspace="0" * 12,
    manifest=("0" * 64, "0" * 64),
    fingerprint="0" * 64,
    dialect="sqlite",
    seq=0,
    hash="0" * 64,
)


def archived(folder: Path) -> None:
    """A backup, and another in its place."""
    for name in (STAYS, GONE):
        source = folder / name
        source.write_bytes(picture_of(name))
        contents = Contents(BACKUP, (part_of(name, source),))
        note(folder, f"archived {write_archive(folder / 'backup.tar', contents, [source])}")


def keys(folder: Path) -> None:
    """Signing keys: the first, and another in its place."""
    found = KeyFolder(folder / "new" / "keys")
    for make in (found.init, found.rotate):
        note(folder, f"key {make().keyid}")


def main(acts: Sequence[Callable[[Path], None]]) -> None:
    """Do the acts that the command line names, each in the folder of its name."""
    folder, *wanted = sys.argv[1:]
    for act in acts:
        if act.__name__ in wanted:
            act(Path(folder, act.__name__))


if __name__ == "__main__":
    main((desk, pinned, archived, keys))
