"""One publication: the ledger entry and the pointer together, under the lock, or neither."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection

from lmeraser_ray.config import Config
from lmeraser_ray.data.spec import PictureSpec
from lmeraser_ray.errors import ExecutionError, VerificationError
from lmeraser_ray.pipeline import workspace_folder
from lmeraser_ray.pipeline.manifest import BackboneCard, Manifest
from lmeraser_ray.pipeline.publication import publication, purge
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import LockedWorkspace, WorkspaceFolder
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.database import Database

CARD = BackboneCard(
    "a" * 64, 3, 4, PictureSpec(16, 16, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
)


def state(number: int) -> Manifest:
    """A state that holds nothing."""
    return Manifest({"seed": number}, CARD, (), None, ())


def nothing(_: Connection) -> tuple[str, ...]:
    """No quarantine."""
    return ()


def publish(workspace: LockedWorkspace, database: Database, manifest: Manifest) -> None:
    with publication(workspace, database.write, manifest, nothing) as conn:
        note(conn, manifest.fingerprint)


def note(conn: Connection, fingerprint: str) -> None:
    """Write the ledger's entry of a state."""
    facts = {"before": None, "after": ledger.state_of(conn, fingerprint)}
    ledger.append(conn, "TRAINED", None, facts)


def last_is(database: Database, fingerprint: str) -> bool:
    """Whether the ledger names this state as the published one."""
    with database.read() as conn:
        return ledger.published(conn) == ledger.state_of(conn, fingerprint)


@pytest.fixture
def folder(tmp_path: Path) -> WorkspaceFolder:
    made = WorkspaceFolder(tmp_path / "workspace")
    made.create()
    return made


@pytest.fixture
def database(folder: WorkspaceFolder) -> Iterator[Database]:
    with closing(Database.open(folder.root, None)) as opened:
        yield opened


def expect(folder: WorkspaceFolder, database: Database, manifest: Manifest) -> None:
    """This state is published, for readers and for the ledger."""
    assert folder.require_published() == manifest
    assert last_is(database, manifest.fingerprint)


def test_pointer_ledger_and_quarantine_are_written_together(
    folder: WorkspaceFolder, database: Database
) -> None:
    with folder.locked() as workspace:
        publish(workspace, database, state(1))
        with publication(workspace, database.write, state(2), lambda _: ["c" * 64]) as conn:
            expect_old = folder.require_published()
            note(conn, state(2).fingerprint)
        assert expect_old == state(1), "the pointer is written last"
    expect(folder, database, state(2))
    assert folder.require_state().quarantined == {"c" * 64}


def test_a_state_without_its_ledger_entry_is_not_published(
    folder: WorkspaceFolder, database: Database
) -> None:
    with folder.locked() as workspace:
        publish(workspace, database, state(1))
        with (
            pytest.raises(RuntimeError, match="no entry in the ledger"),
            publication(workspace, database.write, state(2), nothing),
        ):
            pass
    expect(folder, database, state(1))


@pytest.mark.parametrize("where", ["body", "quarantine", "pointer"])
def test_an_error_anywhere_leaves_the_old_state(
    folder: WorkspaceFolder, database: Database, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def fail(*_: object, **__: object) -> tuple[str, ...]:
        raise ExecutionError(where)

    with folder.locked() as workspace:
        publish(workspace, database, state(1))
        if where == "pointer":
            monkeypatch.setattr(workspace_folder, "replace_pointer", fail)
            workspace.store.put("manifests", state(2).fingerprint, [state(2).to_bytes()])
        with (
            pytest.raises(ExecutionError, match=where),
            publication(
                workspace, database.write, state(2), fail if where == "quarantine" else nothing
            ) as conn,
        ):
            after = state(2).fingerprint
            note(conn, after)
            if where == "body":
                fail()
    expect(folder, database, state(1))


def test_a_lock_that_was_lost_stops_a_publication(
    folder: WorkspaceFolder, database: Database
) -> None:
    """As in object storage, where the lock goes with a connection: pointer, ledger, configuration
    and files stay."""

    def lost() -> None:
        raise ExecutionError("the lock went with its connection")

    with folder.locked() as workspace:
        publish(workspace, database, state(1))
        orphan = LockedWorkspace(folder, lost)
        orphan.store.create()
        files = sorted(folder.store.objects())
        with pytest.raises(ExecutionError, match="lock went"):
            publish(orphan, database, state(2))
        for write in (lambda: purge(orphan, state(1)), lambda: orphan.save_config(Config())):
            with pytest.raises(ExecutionError, match="lock went"):
                write()
    expect(folder, database, state(1))
    assert set(files) <= set(folder.store.objects())
    assert not (folder.root / "configuration.json").exists()


def test_nothing_is_written_without_the_lock(folder: WorkspaceFolder, database: Database) -> None:
    """Neither before it is taken, nor once it was given back, nor by another view of the
    workspace."""
    for name in ("put_manifest", "write_pointer", "save_config"):
        assert not hasattr(folder, name)
    session = Session(folder.root)
    with folder.locked() as workspace:
        publish(workspace, database, state(1))
        for store in (folder.store, session.folder.store):
            for write in (
                lambda store=store: store.put("manifests", "0" * 64, [b"x"]),
                lambda store=store: store.purge([]),
                lambda store=store: store.clear_scratch(),
            ):
                with pytest.raises(RuntimeError, match="is not locked"):
                    write()
    item = workspace.current()
    assert item
    for write in (
        lambda: workspace.put_manifest(state(2)),
        lambda: workspace.write_pointer(item),
        lambda: workspace.save_config(Config()),
        lambda: workspace.store.purge([]),
        lambda: publish(workspace, database, state(2)),
    ):
        with pytest.raises(RuntimeError, match="is not locked"):
            write()
    expect(folder, database, state(1))


def test_a_purge_leaves_what_the_published_state_and_work_under_way_reach(
    folder: WorkspaceFolder, database: Database
) -> None:
    with folder.locked() as workspace:
        publish(workspace, database, state(1))
        kept = workspace.store.put("constituents", "1" * 64, [b"under way"])
        gone = workspace.store.put("constituents", "2" * 64, [b"of an erased person"])
        with pytest.raises(VerificationError, match="changed under a lock"):
            purge(workspace, state(2))
        assert folder.store.sound(gone)
        assert purge(workspace, state(1), [kept]) == 1
        current = folder.current()
    assert set(folder.store.objects()) == {kept, current}


def test_a_quarantine_never_changes_what_is_published(
    folder: WorkspaceFolder, database: Database
) -> None:
    """It needs no lock; one that was computed for another state is not written."""
    with folder.locked() as workspace:
        publish(workspace, database, state(1))
        old = folder.current()
        publish(workspace, database, state(2))
        new = folder.current()
    assert old and new
    assert not folder.write_quarantine(old, ["c" * 64])
    assert folder.require_state().quarantined == frozenset()
    assert folder.write_quarantine(new, ["c" * 64])
    expect(folder, database, state(2))
    assert folder.require_state().quarantined == {"c" * 64}
