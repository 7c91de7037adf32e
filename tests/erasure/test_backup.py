"""Backups and what is restored from them: the same state, less everyone who was erased since; row
19 of the fault matrix."""

import json
import os
import shutil
import stat
import tarfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from lmeraser_ray.cli import main as cli
from lmeraser_ray.erasure.backup.archive import Contents, open_archive, part_of, write_archive
from lmeraser_ray.erasure.backup.database_dump import dump, load, rows_in
from lmeraser_ray.erasure.backup.erasure_list import ErasureList
from lmeraser_ray.erasure.certificate.keystore import key_folder
from lmeraser_ray.erasure.queue.loop import queue_of
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError, DataError, ExecutionError, VerificationError
from lmeraser_ray.operations.audit import audit
from lmeraser_ray.operations.backup import backup
from lmeraser_ray.operations.restore import Restoration, restore
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database import database as databases
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.store import Store
from tests.support.world import World

FIRST, SECOND, THIRD = "person-3", "person-7", "person-11"


@dataclass(frozen=True)
class History:
    """A workspace at three moments: trained; FIRST erased; SECOND erased and a request for THIRD
    received. A tree and a backup of each."""

    world: World
    trees: tuple[Path, Path, Path]
    tars: tuple[Path, Path, Path]
    erasures: tuple[Path, Path, Path]
    fingerprints: tuple[str, str, str]
    waiting: str

    def tree(self, moment: int, to: Path) -> Path:
        """A copy of the workspace as it was."""
        shutil.copytree(self.trees[moment], to)
        return to


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    folder = tmp_path_factory.mktemp("history")
    world, root = World(folder / "world"), folder / "workspace"
    session = Session(root)
    train(session, world.config())
    kept = []
    for moment in range(3):
        if moment:
            unlearn(session, ErasureTargets(subjects=((FIRST, SECOND)[moment - 1],)))
        waiting = ""
        if moment == 2:
            with session.database() as database:
                waiting = RequestRepository(database, session.names()).submit([], [THIRD]).id
        made = backup(session, to=folder / f"{moment}.tar", erasures=folder / f"{moment}.json")
        shutil.copytree(root, folder / f"tree-{moment}")
        kept.append(
            (
                folder / f"tree-{moment}",
                folder / f"{moment}.tar",
                folder / f"{moment}.json",
                made.fingerprint or "",
            )
        )
    trees, tars, erasures, fingerprints = zip(*kept, strict=True)
    return History(world, trees, tars, erasures, fingerprints, waiting)


def left_of(root: Path, world: World, *subjects: str) -> set[str]:
    """What a plain search finds of people: their names, and their pictures' bytes."""
    found = set()
    for path in root.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        for i, subject in enumerate(world.subjects):
            if subject in subjects and (f"{subject}/".encode() in data or world.images[i] in data):
                found.add(subject)
    return found


def entries_of(root: Path) -> list[str]:
    with Session(root).database() as database, database.read() as conn:
        assert ledger.check(conn) == []
        return [entry.kind for entry in ledger.entries(conn)]


def rows_of(root: Path) -> list[tuple[str, dict[str, object]]]:
    with closing(Database.open(root, None)) as database, database.read() as conn:
        return list(rows_in(dump(conn)))


def restored(root: Path, history: History, moment: int, **options: object) -> Restoration:
    return restore(Session(root), history.tars[moment], **options)  # type: ignore[arg-type]


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


def test_a_backup_has_no_names_of_who_was_erased(history: History) -> None:
    """Neither the rows nor the bytes between them; those of an open request, which must go on, and
    of the living, it has."""
    for tar in history.tars[2:]:
        data = tar.read_bytes()
        assert f"{FIRST}/".encode() not in data
        assert f"{SECOND}/".encode() not in data
        assert f'"{THIRD}"'.encode() in data
    for erasures in history.erasures:
        assert b"person" not in erasures.read_bytes()


def test_files_are_whole_and_their_owners_only(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (*history.tars, *history.erasures):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with tarfile.open(history.tars[1]) as archive:
        members = archive.getmembers()
    assert [member.name for member in members[:4]] == [
        "contents.json",
        "contents.sha256",
        "configuration.json",
        "secret",
    ]
    assert all(member.isreg() and member.mode == 0o600 and member.mtime == 0 for member in members)
    root = history.tree(1, tmp_path / "w")
    (tmp_path / "x.tar").write_bytes(b"the one before")
    picture = next((root / "objects" / "pictures").iterdir())
    picture.write_bytes(picture.read_bytes()[:-1] + b"?")
    with pytest.raises(VerificationError, match=r"pictures/.* is damaged"):
        backup(Session(root), to=tmp_path / "x.tar", erasures=None)
    picture.unlink()
    with pytest.raises(VerificationError, match="missing"):
        backup(Session(root), to=tmp_path / "x.tar", erasures=None)
    assert (tmp_path / "x.tar").read_bytes() == b"the one before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w", "x.tar"]


def test_places_where_a_backup_cannot_be(history: History, tmp_path: Path) -> None:
    session = Session(history.trees[1])
    for to, said in (
        (session.root / "b.tar", "within the workspace"),
        (tmp_path / "no" / "b.tar", "no place"),
        (tmp_path, "no place"),
    ):
        with pytest.raises(ConfigError, match=said):
            backup(session, to=to, erasures=None)
        with pytest.raises(ConfigError, match=said):
            backup(session, to=None, erasures=to)
    with pytest.raises(ConfigError, match="Nothing to write"):
        backup(session, to=None, erasures=None)
    WorkspaceFolder(tmp_path / "empty").create()
    with pytest.raises(DataError, match="nothing published"):
        backup(Session(tmp_path / "empty"), to=tmp_path / "b.tar", erasures=None)


def test_every_damage_of_an_archive_is_found(tmp_path: Path) -> None:
    """A byte anywhere, a cut anywhere: an error, or (in a header's padding) nothing that was read
    differs."""
    for name, size in (("one", 700), ("two", 1300)):
        (tmp_path / name).write_bytes(os.urandom(size))
    sources = [tmp_path / "one", tmp_path / "two"]
    whole = tmp_path / "whole.tar"
    write_archive(
        whole,
        Contents({"of": "a test"}, tuple(part_of(path.name, path) for path in sources)),
        sources,
    )

    def read(path: Path) -> list[object]:
        with open_archive(path) as archive:
            return [
                archive.contents,
                archive.digest,
                *((part, b"".join(pieces)) for part, pieces in archive.parts()),
            ]

    right, data = read(whole), whole.read_bytes()
    assert [found[1] for found in right[2:]] == [path.read_bytes() for path in sources]  # type: ignore[index]
    found = 0
    for at in range(0, len(data), 7):
        (tmp_path / "damaged.tar").write_bytes(
            data[:at] + bytes([data[at] ^ 0x20]) + data[at + 1 :]
        )
        try:
            assert read(tmp_path / "damaged.tar") == right
        except (VerificationError, ConfigError):
            found += 1
    assert found > 300
    end = data.index((tmp_path / "two").read_bytes()) + 1300  # zeros follow
    for at in range(0, end, 97):
        (tmp_path / "damaged.tar").write_bytes(data[:at])
        with pytest.raises(VerificationError):
            read(tmp_path / "damaged.tar")


def test_an_archive_of_something_else_touches_nothing(history: History, tmp_path: Path) -> None:
    root = history.tree(1, tmp_path / "w")
    before = {
        path: path.stat().st_mtime_ns
        for path in root.rglob("*")
        if path.is_file() and path.name != "lock"
    }
    evil = tmp_path / "../evil"
    (tmp_path / "x").write_bytes(b"x")
    part = part_of("x", tmp_path / "x")
    for name in (
        "../evil",
        "/etc/evil",
        "objects/../evil",
        f"objects/records/{'0' * 64}-{'1' * 64}.parquet",
        "CURRENT",
        "objects/x",
    ):
        about = {"workspace": Session(root).names().workspace_id}
        write_archive(
            tmp_path / "evil.tar",
            Contents(about, (type(part)(name, part.size, part.sha256),)),
            [tmp_path / "x"],
        )
        with pytest.raises(VerificationError, match="no backup has"):
            restore(Session(root), tmp_path / "evil.tar")
    assert not evil.exists()
    for wrong in (b"no tar at all", b""):
        (tmp_path / "wrong.tar").write_bytes(wrong)
        with pytest.raises(VerificationError):
            restore(Session(root), tmp_path / "wrong.tar")
    with pytest.raises(ConfigError, match="no file"):
        restore(Session(root), tmp_path / "nothing.tar")
    assert {
        path: path.stat().st_mtime_ns
        for path in root.rglob("*")
        if path.is_file() and path.name != "lock"
    } == before


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


def test_rows_come_back_as_they_were(tmp_path: Path, postgresql: str) -> None:
    """From each dialect into the other, with what counts upwards going on where it was."""
    ones = [
        Database.open(made(tmp_path / name), url)
        for name, url in (("a", None), ("b", postgresql), ("c", None))
    ]
    with ones[0].write() as conn:
        conn.execute(
            insert(tables.requests).values(
                a_request("r1", statement=b"\x00\xff{}", reason='ä \u2028 "quoted"')
            )
        )
        conn.execute(
            insert(tables.targets).values(
                request_id="r1", what="record", hash="h", name="per\u00a0son", outcome="open"
            )
        )
        conn.execute(
            insert(tables.publications).values(
                epoch=1, before=None, after="x", facts="{}", done=True
            )
        )
        ledger.append(conn, "RECEIVED", "r1", {"due": "then"})
    for source, target in pairwise(ones):
        with source.read() as conn:
            lines = list(dump(conn))
        with target.write() as conn:
            conn.execute(insert(tables.tombstones).values(hash="goes"))
            load(conn, rows_in(lines))
            [number] = conn.execute(
                insert(tables.publications).values(epoch=1, done=False)
            ).inserted_primary_key or (0,)
            assert number == 2
            conn.execute(tables.publications.delete().where(tables.publications.c.id == 2))
        with target.read() as conn:
            assert [line for line in dump(conn) if b'["workspace"' not in line] == [
                line for line in lines if b'["workspace"' not in line
            ]
            assert ledger.check(conn) == []
    with pytest.raises(VerificationError, match="unknown_column"), ones[0].write() as conn:
        load(conn, [("tombstones", {"unknown_column": 1})])
    with pytest.raises(VerificationError, match="does not know"), ones[0].write() as conn:
        load(conn, [("other", {})])
    for one in ones:
        one.close()


def made(root: Path) -> Path:
    WorkspaceFolder(root).create()
    return root


def a_request(name: str, **values: object) -> dict[str, object]:
    moments = {
        "received_at": "2026-01-01T00:00:00.000000Z",
        "due_at": "2026-02-01T00:00:00.000000Z",
    }
    return {
        "id": name,
        "content": "c",
        "submitter": "s",
        "state": "RECEIVED",
        "quarantine": True,
        "attempts": 2,
        **moments,
        **values,
    }


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


def test_the_verbs(history: History, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = history.tree(1, tmp_path / "w")
    words = ["--workspace", str(root), "--json", "--quiet"]
    assert (
        cli.run(
            "backup",
            ["--to", str(tmp_path / "b.tar"), "--erasures", str(tmp_path / "e.json"), *words],
        )
        == 0
    )
    said = json.loads(capsys.readouterr().out)
    assert (said["fingerprint"], said["bytes"]) == (
        history.fingerprints[1],
        (tmp_path / "b.tar").stat().st_size,
    )
    assert said["tombstones"] == 3  # two records and their subject
    new = ["--workspace", str(tmp_path / "new"), "--json", "--quiet"]
    assert cli.run("restore", ["--from", str(tmp_path / "b.tar"), *new]) == ConfigError.exit_code
    assert "--no_later_erasures" in capsys.readouterr().err
    assert (
        cli.run(
            "restore",
            ["--from", str(tmp_path / "b.tar"), "--erasures", str(tmp_path / "e.json"), *new],
        )
        == 0
    )
    said = json.loads(capsys.readouterr().out)
    assert (said["fingerprint"], said["erased_again"], said["retrained"]) == (
        history.fingerprints[1],
        0,
        0,
    )
    assert (
        cli.run(
            "restore",
            ["--from", str(tmp_path / "b.tar"), "--workspace", str(tmp_path / "new"), "--quiet"],
        )
        == 0
    )
    assert "was kept" in capsys.readouterr().err
    assert (
        cli.run(
            "backup", ["--erasures", str(tmp_path / "e2.json"), "--workspace", str(root), "--quiet"]
        )
        == 0
    )
    assert "3 keyed hashes" in capsys.readouterr().out
