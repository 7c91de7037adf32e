"""What must be so after the power went, for each act of `tests/support/crash_acts.py`. Recovers
with the real code."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from sqlalchemy import select

from lmeraser_ray.erasure.backup.archive import open_archive
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.queue.publisher import recover
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.database import Database
from tests.support.crash_acts import GONE, STAYS
from tests.support.power_cuts import Expect

Facts = dict[str, list[str]]


def facts_of(told: Sequence[str]) -> Facts:
    """What was told, by its kind, in order."""
    found: Facts = {}
    for text in told:
        kind, _, fact = text.partition(" ")
        found.setdefault(kind, []).append(fact)
    return found


def expect_desk(folder: Path, told: Sequence[str]) -> None:
    """What was told of the act `desk` is so, and the next command finds a workspace that works."""
    root, facts = folder / "workspace", facts_of(told)
    if "purged" in facts:
        expect_gone(root)
    found = WorkspaceFolder(root)
    found.create()
    with found.locked() as workspace, closing(Database.open(root, None)) as database:
        names = workspace.names()
        requests = RequestRepository(database, names)
        known = requests.list()
        with database.write() as conn:
            recover(conn, workspace)
            assert ledger.check(conn) == []
            tombstones = set(conn.scalars(select(tables.tombstones.c.hash)))
        assert database.check() == []
        expect_published(workspace, facts)
        if "submitted" in facts:
            assert [request.id for request in known] == facts["submitted"], "a request is lost"
        if "planned" in facts:
            assert facts["planned"] == [names.hash("record", GONE)], "another secret"
            assert set(facts["planned"]) <= tombstones, "a tombstone is lost"
        if "purged" in facts:
            assert known[0].state is State.PURGED
        again = requests.submit([GONE], [], key="ticket", submitter="somebody")
        assert len(requests.list()) == 1
        assert not known or again.id == known[0].id


def expect_published(workspace: WorkspaceFolder, facts: Facts) -> None:
    """The pointer names what was published last, or what was about to be; all of it is whole."""
    wanted, state = facts.get("published", []), workspace.state()
    assert state or not wanted, "what was published is not"
    assert state is None or len(wanted) < 2 or state.manifest.fingerprint == wanted[-1]
    for item in state.manifest.objects() if state else ():
        assert workspace.store.sound(item), item.name


def expect_gone(root: Path) -> None:
    """No file holds the record that was erased; the other one is there."""
    data = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert [path.name for path in data if GONE.encode() in data[path]] == [], "the erased is back"
    assert any(STAYS.encode() in each for each in data.values())


def expect_pinned(folder: Path, told: Sequence[str]) -> None:
    """The server holds hashes, so the secret is there; the pointer is what was told. The server's
    own disk is not looked at."""
    root, facts = folder / "workspace", facts_of(told)
    found = WorkspaceFolder(root)
    if "purged" in facts:
        expect_gone(root)
    if "hashed" in facts:
        assert (root / "secret").exists(), "the secret is lost"
        assert facts["hashed"] == [found.names().hash("record", GONE)]
        expect_published(found, facts)
    else:
        found.create()


def expect_archived(folder: Path, told: Sequence[str]) -> None:
    """A backup that was told is there, whole, or the one that took its place."""
    path, digests = folder / "backup.tar", facts_of(told).get("archived", [])
    if not digests and not path.exists():
        return
    with open_archive(path) as archive:
        for _, pieces in archive.parts():
            assert b"".join(pieces)
        assert len(digests) < 2 or archive.digest == digests[-1]


def expect_keys(folder: Path, told: Sequence[str]) -> None:
    """Each key that was told can verify, and the last one, or the one that was being made, can
    sign."""
    found, ids = KeyFolder(folder / "new" / "keys"), facts_of(told).get("key", [])
    if not ids:
        return
    signs = found.current().keyid
    assert {signs, *ids} <= set(found.public_keys()), "a certificate cannot be verified any more"
    assert len(ids) < 2 or signs == ids[-1]


EXPECTED: dict[str, Expect] = {
    "desk": expect_desk,
    "pinned": expect_pinned,
    "archived": expect_archived,
    "keys": expect_keys,
}
