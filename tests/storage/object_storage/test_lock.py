"""The lock of a workspace in a bucket: one command at a time; whoever loses the lock changes
nothing; the lock goes with its process."""

import gc
import subprocess
import sys
from contextlib import ExitStack

import pytest
from sqlalchemy import Engine, create_engine, text

from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database.postgresql import lock_key, parse
from lmeraser_ray.storage.object_storage.path import ObjectPath
from lmeraser_ray.storage.store import StoredObject


def test_two_commands_at_once(object_storage: str, place: ObjectPath) -> None:
    folder = WorkspaceFolder(place)
    folder.create()
    with (
        folder.locked(),
        pytest.raises(
            ExecutionError, match=r"Another command \(process \d+ on .*\) is writing to s3://"
        ),
    ):
        ExitStack().enter_context(WorkspaceFolder(place).locked())
    with WorkspaceFolder(place).locked():
        pass


def test_the_lock_is_free_before_its_connection_is_gone(
    object_storage: str, place: ObjectPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may be late to hear that a connection was closed."""
    WorkspaceFolder(place).create()
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "dispose", lambda _: None)
        with WorkspaceFolder(place).locked():
            pass
        with WorkspaceFolder(place).locked():
            pass
    gc.collect()


def test_whoever_lost_the_lock_changes_nothing(
    object_storage: str, postgresql: str, place: ObjectPath
) -> None:
    """The connection goes, and with it the lock: neither the pointer nor a file changes after
    that."""
    folder = WorkspaceFolder(place)
    folder.create()
    with folder.locked() as workspace:
        kept = workspace.store.put("constituents", "0" * 64, [b"bytes"])
        engine = create_engine(parse(postgresql))
        with engine.connect() as conn:
            ours = text(  # which waits for its end, as the next one's try does not
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_locks WHERE locktype = 'advisory' "
                "AND objsubid = 1 AND (classid::bigint << 32) | objid::bigint = :key"
            )
            assert conn.execute(ours, {"key": lock_key(str(place))}).scalars().all() == [True]
        engine.dispose()
        with WorkspaceFolder(place).locked():  # somebody else's now
            with pytest.raises(ExecutionError, match="went with its connection"):
                workspace.write_pointer(StoredObject("manifests", "1" * 64, "2" * 64))
            with pytest.raises(ExecutionError, match="went with its connection"):
                workspace.store.purge([])
    assert folder.current() is None
    assert folder.store.sound(kept)


HOLD = """
import sys
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.paths import location
with WorkspaceFolder(location(sys.argv[1])).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_the_lock_goes_with_its_process(object_storage: str, place: ObjectPath) -> None:
    WorkspaceFolder(place).create()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout and child.stdout.readline() == b"locked\n"
        with pytest.raises(ExecutionError, match=rf"process {child.pid} on"):
            ExitStack().enter_context(WorkspaceFolder(place).locked())
        child.kill()
        child.wait()
    while True:  # the server notices when it reads from the connection, which is at once
        try:
            with WorkspaceFolder(place).locked():
                break
        except ExecutionError:
            continue
