"""What is restored from a backup: the same state, less everyone who was erased since; row 19 of
the fault matrix. A crash anywhere serves nothing or the old state."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from lmeraser_ray.erasure.backup.erasure_list import ErasureList
from lmeraser_ray.erasure.certificate.keystore import key_folder
from lmeraser_ray.erasure.queue.loop import queue_of
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError, ExecutionError, VerificationError
from lmeraser_ray.operations.audit import audit
from lmeraser_ray.operations.backup import backup
from lmeraser_ray.operations.restore import restore
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database import database as databases
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.store import Store
from tests.support.history import (
    FIRST,
    SECOND,
    THIRD,
    History,
    entries_of,
    left_of,
    restored,
    rows_of,
)
from tests.support.world import World


def test_a_restored_workspace_is_the_one_that_was_kept(history: History, tmp_path: Path) -> None:
    """Byte for byte what it published, with its requests, and nothing to train."""
    done = restored(tmp_path / "new", history, 2, no_later_erasures=True)
    assert (done.erased_again, done.evaluated.trained, done.reconciled.kept) == (0, (), False)
    session = Session(tmp_path / "new")
    assert (
        done.evaluated.manifest.fingerprint
        == session.folder.require_published().fingerprint
        == history.fingerprints[2]
    )
    assert verify(session).differences == ()
    assert (tmp_path / "new" / "secret").read_bytes() == (history.trees[2] / "secret").read_bytes()
    mine, theirs = (rows_of(tmp_path / "new"), rows_of(history.trees[2]))
    kept = [row for row in theirs if row[0] not in ("lease", "ledger")]
    assert [row for row in mine if row[0] not in ("lease", "ledger")] == kept
    assert entries_of(tmp_path / "new") == [*entries_of(history.trees[2]), "RESTORED"]


def test_the_erased_are_not_restored_from_a_backup_of_before(
    history: History, tmp_path: Path
) -> None:
    """Row 19: the oldest backup and the newest erasures give the newest state, which training
    without them would give."""
    root = tmp_path / "new"
    assert left_of(history.trees[0], history.world, FIRST, SECOND) == {FIRST, SECOND}
    done = restored(root, history, 0, erasures=history.erasures[2])
    assert done.erased_again == 4
    assert done.evaluated.manifest.fingerprint == history.fingerprints[2]
    assert left_of(root, history.world, FIRST, SECOND) == set()
    assert verify(Session(root), rebuild=True).differences == ()
    assert done.reconciled.lost > 0  # the requests of that time are in no database any more
    with pytest.raises(ConfigError, match="--no_later_erasures"):
        restored(tmp_path / "other", history, 0)
    assert not (tmp_path / "other" / "CURRENT").exists()
    assert not (tmp_path / "other" / "secret").exists()


@pytest.mark.parametrize("moment", [0, 1, 2])
def test_an_audit_holds_after_a_restore(history: History, tmp_path: Path, moment: int) -> None:
    """The ledger tells of the restored state; certificates of before are still there."""
    root = history.tree(2, tmp_path / "w")
    restored(root, history, moment)
    done = audit(Session(root), key_folder(None).public_keys())
    assert done.differences == ()
    assert done.certificates == 2


def test_an_audit_holds_where_a_restore_changed_the_state(history: History, tmp_path: Path) -> None:
    root = history.tree(0, tmp_path / "w")
    restored(root, history, 0, erasures=history.erasures[2])
    assert "RESTORED" in ledger.STATES, "the ledger's kinds that say which state was published"
    assert audit(Session(root), key_folder(None).public_keys()).differences == ()


def test_erasures_from_before_the_backup_say_nothing(history: History, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="before the backup"):
        restored(tmp_path / "new", history, 1, erasures=history.erasures[0])
    done = restored(
        tmp_path / "new", history, 1, erasures=history.erasures[0], no_later_erasures=True
    )
    assert done.evaluated.manifest.fingerprint == history.fingerprints[1]


def test_over_a_damaged_workspace_its_own_requests_count(history: History, tmp_path: Path) -> None:
    """Its database is newer than the backup, and knows whom the backup does not know to be
    erased."""
    root = history.tree(2, tmp_path / "w")
    for path in (root / "objects").rglob("*.bin"):
        path.write_bytes(b"damaged")
    (root / "CURRENT").unlink()
    before = entries_of(root)
    done = restored(root, history, 0)
    assert (done.reconciled.kept, done.erased_again) == (True, 4)
    assert done.evaluated.manifest.fingerprint == history.fingerprints[2]
    assert done.evaluated.trained == ()  # its sound constituents are used again
    assert entries_of(root) == [*before, "RESTORED"]
    assert left_of(root, history.world, FIRST, SECOND) == set()
    assert verify(Session(root)).differences == ()


def test_over_a_workspace_that_was_rolled_back_the_newer_backup_counts(
    history: History, tmp_path: Path
) -> None:
    root = history.tree(0, tmp_path / "w")
    epochs = [
        row["epoch"]
        for tree in (root, history.trees[2])
        for name, row in rows_of(tree)
        if name == "lease"
    ]
    done = restored(root, history, 2)
    assert (done.reconciled.kept, done.evaluated.manifest.fingerprint) == (
        False,
        history.fingerprints[2],
    )
    assert left_of(root, history.world, FIRST, SECOND) == set()
    with Session(root).database() as database:
        assert (
            RequestRepository(database, Session(root).names()).get(history.waiting).state
            is State.RECEIVED
        )
        with database.read() as conn:
            assert conn.scalar(select(tables.lease.c.epoch)) > max(
                epochs
            )  # a queue that still runs is fenced off


def test_over_a_workspace_that_was_rolled_back_a_file_of_erasures_counts(
    history: History, tmp_path: Path
) -> None:
    """An old snapshot and a backup as old: only the file knows better."""
    root = history.tree(0, tmp_path / "w")
    done = restored(root, history, 0, erasures=history.erasures[2])
    assert (done.reconciled.kept, done.reconciled.lost > 0) == (True, True)
    assert done.evaluated.manifest.fingerprint == history.fingerprints[2]
    assert left_of(root, history.world, FIRST, SECOND) == set()


def test_what_could_not_be_removed_is_told(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The absence scan looks after the purge, whatever that said."""
    root = history.tree(0, tmp_path / "w")
    monkeypatch.setattr(Store, "purge", lambda *_: 0)
    with pytest.raises(VerificationError, match="absence scan found"):
        restored(root, history, 0, erasures=history.erasures[2])
    monkeypatch.undo()
    restored(root, history, 0, erasures=history.erasures[2])
    assert left_of(root, history.world, FIRST, SECOND) == set()


def test_requests_that_were_open_are_worked_off_after_a_restore(
    history: History, tmp_path: Path
) -> None:
    root = tmp_path / "new"
    restored(root, history, 2, no_later_erasures=True)
    session = Session(root)
    with queue_of(session, keys=key_folder(None)) as queue:
        queue.round(patient=False, stop=lambda: False)
        assert (
            RequestRepository(queue.database, session.names()).get(history.waiting).state
            is State.CERTIFIED
        )
    assert left_of(root, history.world, FIRST, SECOND, THIRD) == set()


def test_requests_that_went_different_ways_are_not_mixed(history: History, tmp_path: Path) -> None:
    root = history.tree(0, tmp_path / "w")
    unlearn(Session(root), ErasureTargets(subjects=(THIRD,)))
    before = entries_of(root), (root / "CURRENT").read_bytes()
    with pytest.raises(ConfigError, match="common beginning"):
        restored(root, history, 2)
    assert (entries_of(root), (root / "CURRENT").read_bytes()) == before
    backup(Session(root), to=None, erasures=tmp_path / "mine.json")  # as the message says
    (root / "requests.db").rename(tmp_path / "requests.db")
    found = ErasureList.read(tmp_path / "mine.json")
    done = restored(
        root,
        history,
        2,
        erasures=tmp_path / "mine.json",
        no_later_erasures=found.seq < len(entries_of(history.trees[2])),
    )
    assert done.erased_again == 2
    assert left_of(root / "objects", history.world, FIRST, SECOND, THIRD) == set()


def test_a_damaged_database_is_not_taken_for_none(history: History, tmp_path: Path) -> None:
    root = history.tree(2, tmp_path / "w")
    path = root / "requests.db"
    data = bytearray(path.read_bytes())
    data[4096:12288] = bytes(8192)
    path.write_bytes(data)
    with pytest.raises((VerificationError, ExecutionError), match="damaged"):
        restored(root, history, 1)
    path.unlink()
    with pytest.raises(ConfigError, match="nobody can tell"):
        restored(root, history, 1)
    done = restored(root, history, 1, erasures=history.erasures[2])
    assert done.evaluated.manifest.fingerprint == history.fingerprints[2]


def test_another_workspaces_backup_or_erasures_are_refused(
    history: History, tmp_path: Path
) -> None:
    world = World(tmp_path / "world", n=12)
    root = world.space()
    train(Session(root), world.config())
    kept = (root / "CURRENT").read_bytes()
    with pytest.raises(ConfigError, match="another folder"):
        restored(root, history, 1, no_later_erasures=True)
    backup(Session(root), to=None, erasures=tmp_path / "theirs.json")
    with pytest.raises(ConfigError, match="--erasures is of workspace"):
        restored(tmp_path / "new", history, 1, erasures=tmp_path / "theirs.json")
    assert (root / "CURRENT").read_bytes() == kept
    assert not (tmp_path / "new").exists()


def dying(work: Callable[[], object], patch: Callable[[pytest.MonkeyPatch], None]) -> int:
    """Run something in a child process that may die on the way. Returns its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            patch(pytest.MonkeyPatch())
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def at_call(target: object, name: str, number: int) -> Callable[[pytest.MonkeyPatch], None]:
    """A failpoint: the process dies at the so-manieth call of a function."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        real, calls = getattr(target, name), [0]

        def counting(*args: object, **options: object) -> object:
            calls[0] += 1
            if calls[0] == number:
                os.kill(os.getpid(), 9)
            return real(*args, **options)

        monkeypatch.setattr(target, name, counting)

    return patch


@pytest.mark.parametrize("over", ["new", "old"])
def test_a_crash_anywhere_serves_nothing_or_the_old_state(
    history: History, tmp_path: Path, over: str
) -> None:
    """Killed before and after every COMMIT, and at moves of files; then the same command
    finishes."""
    import lmeraser_ray.operations.restore as module

    first = 2 if over == "new" else 1  # of a new workspace the first COMMIT makes the tables
    points = [
        (databases, how, number)
        for how in ("committing", "committed")
        for number in (first, first + 1)
    ]
    points += [(os, "replace", 40), (module, "scan", 1)]
    died = 0
    for place, (target, name, number) in enumerate(points):
        root = tmp_path / f"w-{place}"
        if over == "old":
            history.tree(0, root)
        old = (root / "CURRENT").read_bytes() if over == "old" else None
        code = dying(
            lambda root=root: restored(root, history, 0, erasures=history.erasures[2]),
            at_call(target, name, number),
        )
        assert code in (0, -9)
        died += code == -9
        now = (root / "CURRENT").read_bytes() if (root / "CURRENT").exists() else None
        if now != old:
            assert WorkspaceFolder(root).require_published().fingerprint == history.fingerprints[2]
        done = restored(root, history, 0, erasures=history.erasures[2])
        assert done.evaluated.manifest.fingerprint == history.fingerprints[2]
        assert left_of(root, history.world, FIRST, SECOND) == set()
        assert entries_of(root).count("RESTORED") in (1, 2)
        shutil.rmtree(root)
    assert died == len(points)


def test_a_workspace_on_postgresql(
    history: History, tmp_path: Path, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is lost, the server is not: its database knows who was erased after the backup."""
    monkeypatch.setenv("LMERASER_DATABASE", postgresql)
    root, session = tmp_path / "w", Session(tmp_path / "w")
    train(session, history.world.config())
    backup(session, to=tmp_path / "b.tar", erasures=None)
    unlearn(session, ErasureTargets(subjects=(FIRST,)))
    fingerprint = session.folder.require_published().fingerprint
    shutil.rmtree(root)
    done = restore(session, tmp_path / "b.tar")
    assert (done.reconciled.kept, done.erased_again) == (True, 2)
    assert session.folder.require_published().fingerprint == fingerprint
    monkeypatch.delenv("LMERASER_DATABASE")
    other = Session(tmp_path / "other")
    with pytest.raises(ConfigError, match="nobody can tell"):
        restore(other, tmp_path / "b.tar")
    done = restore(other, tmp_path / "b.tar", no_later_erasures=True)
    assert (done.reconciled.kept, done.erased_again) == (False, 0)
    with other.database() as database:
        assert database.dialect == "sqlite"
