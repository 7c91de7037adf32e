"""Workspaces in object storage, on a real S3 server: what a disk promises, the pointer's
compare-and-swap, the lock that can be lost."""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from werkzeug.serving import WSGIRequestHandler

from lmeraser_ray.cli import main as cli
from lmeraser_ray.data.ingest import Spill
from lmeraser_ray.data.record import Record
from lmeraser_ray.data.subjects import is_test_subject
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError, ExecutionError
from lmeraser_ray.operations.backup import backup
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.restore import restore
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.pipeline.choice import choice_of
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database.postgresql import parse
from lmeraser_ray.storage.files import (
    create_once,
    digest_of,
    discard_tree,
    disk_errors,
    empty_folder,
    files_below,
    move_into_place,
    opened,
    ranges_of,
    remove_files,
    remove_tree,
    write_atomic,
    write_temporary,
)
from lmeraser_ray.storage.object_storage.path import MARKER, OVERHEAD, ObjectPath
from lmeraser_ray.storage.paths import Location, inside, location, name_below, on_disk
from lmeraser_ray.storage.store import Store, StoredObject
from tests.support.cloud import Cloud, cloud
from tests.support.world import World


@pytest.fixture
def place(s3: str, request: pytest.FixtureRequest) -> ObjectPath:
    """A new prefix of a bucket."""
    found = location(f"{s3}/{request.node.name.replace('[', '-').rstrip(']')}")
    assert isinstance(found, ObjectPath)
    return found


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A server of `gs://` and `az://` buckets."""
    with cloud() as (server, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield server


def within(request: pytest.FixtureRequest, scheme: str) -> ObjectPath:
    """A new prefix of a bucket of each provider."""
    if scheme == "s3":
        place: ObjectPath = request.getfixturevalue("place")
        return place
    return ObjectPath(f"{scheme}://{request.getfixturevalue('provider').bucket}", "workspace")


@pytest.fixture(params=["s3", "gs", "az"])
def bucket(request: pytest.FixtureRequest) -> ObjectPath:
    """A new prefix of a bucket, of each provider."""
    return within(request, request.param)


@pytest.fixture(params=["disk", "s3", "gs", "az"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """A new folder, on each kind of storage."""
    disk = request.param == "disk"
    found: Location = tmp_path / "folder" if disk else within(request, request.param)
    found.mkdir()
    return found


@pytest.mark.parametrize(
    "text",
    [
        "s3://",
        "s3:///key",
        "s3://bucket",
        "s3://bucket/a//b",
        "s3://bucket/../x",
        "http://host/x",
        "memory://x/y",
    ],
)
def test_a_url_that_is_no_place(text: str) -> None:
    with pytest.raises(ConfigError, match="is no place for a workspace"):
        location(text)


def test_places() -> None:
    found = location("s3://bucket/a/b/")
    assert str(found) == str(location("s3://bucket/a/b")) == "s3://bucket/a/b"
    assert (found.name, str(found.parent), str(found.parent.parent)) == (
        "b",
        "s3://bucket/a",
        "s3://bucket",
    )
    assert [str(folder) for folder in (found / "c").parents] == [
        "s3://bucket/a/b",
        "s3://bucket/a",
        "s3://bucket",
    ]
    assert name_below(found / "c" / "d", found) == "c/d"
    assert not inside(Path("s3:/bucket/a/b/c"), found)
    assert location("a/b") == Path("a/b")
    with pytest.raises(ConfigError, match="expected a folder of this machine"):
        on_disk("s3://bucket/a")


def test_what_a_disk_promises(anywhere: Location) -> None:
    """The same calls have the same effects."""
    (anywhere / "tmp").mkdir()
    scratch = anywhere / "tmp"
    assert anywhere.is_dir() and scratch.is_dir() and not (anywhere / "other").is_dir()
    temporary, sha256 = write_temporary(scratch, [b"pieces ", b"of it"])
    move_into_place(temporary, anywhere / "file")
    assert not temporary.exists()
    assert digest_of(anywhere / "file") == sha256
    assert (anywhere / "file").read_bytes() == b"pieces of it"
    assert ranges_of(anywhere / "file", [0, 7, 10, 3], [6, 2, 99, 0]) == [
        b"pieces",
        b"of",
        b"it",
        b"",
    ]
    assert (anywhere / "file").stat().st_size == 12
    write_atomic(anywhere / "file", b"again", scratch=scratch)
    assert (anywhere / "file").read_text() == "again"
    assert create_once(anywhere / "once", b"first", scratch=scratch)
    assert not create_once(anywhere / "once", b"second", scratch=scratch)
    assert (anywhere / "once").read_bytes() == b"first"
    assert sorted(path.name for path in anywhere.iterdir()) == ["file", "once", "tmp"]
    assert [name_below(path, anywhere) for path in files_below(anywhere)] == ["file", "once"]
    with pytest.raises(FileNotFoundError):
        (anywhere / "nothing").read_bytes()
    with pytest.raises(FileNotFoundError):
        (anywhere / "nothing").unlink()
    with pytest.raises(FileNotFoundError), (anywhere / "nothing").open("rb"):
        pass
    assert digest_of(anywhere / "nothing") is None
    remove_files([anywhere / "once", anywhere / "nothing"])
    assert not (anywhere / "once").exists()
    (anywhere / "tmp" / "deep").mkdir()
    write_temporary(anywhere / "tmp" / "deep", [b"x"])
    write_temporary(anywhere / "tmp", [b"y"])
    empty_folder(anywhere / "tmp")
    assert (anywhere / "tmp").is_dir() and files_below(anywhere / "tmp") == []
    remove_tree(anywhere / "tmp")
    assert not (anywhere / "tmp").exists()


def test_a_large_object_is_read_in_windows(
    anywhere: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmeraser_ray.storage.object_storage.bucket.WINDOW", 1000)
    data = bytes(i % 251 for i in range(5_000))
    (anywhere / "tmp").mkdir()
    write_atomic(anywhere / "large", data, scratch=anywhere / "tmp")
    view = memoryview(bytearray(700))
    with opened(anywhere / "large") as fill:
        for at in (0, 600, 1200, 4_500, 4_999, 5_000, 6_000, 100):
            size = fill(view, at)
            assert bytes(view[:size]) == data[at : at + 700]


def test_a_late_writer_finds_no_folder(anywhere: Location) -> None:
    """What outlives its command can bring nothing back: neither what it had begun to write, nor
    what it writes then."""
    store = Store(anywhere / "objects", "run")
    store.create()
    begun, sha256 = write_temporary(store.scratch, [b"of an erased person"])
    Store(anywhere / "objects").clear_scratch()
    item = StoredObject("constituents", "0" * 64, sha256)
    with pytest.raises(ExecutionError):
        move_into_place(begun, store.path(item))
    with pytest.raises(ExecutionError):
        store.put("constituents", "0" * 64, [b"of an erased person"])
    assert files_below(anywhere) == []


def test_scratch_goes_as_far_as_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A late writer gives one of its files its name while the folder is being removed: the others
    go all the same."""
    (tmp_path / "scratch").mkdir()
    for name in "abcdef":
        (tmp_path / "scratch" / name).write_bytes(b"of an erased person")
    unlink, moved = os.unlink, list[str]()

    def one_is_gone(path: str, *, dir_fd: int | None = None) -> None:
        if not moved:
            moved.append(path)
            raise FileNotFoundError(path)
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", one_is_gone)
    discard_tree(tmp_path / "scratch")
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == moved


def test_something_in_a_marker_is_seen(place: ObjectPath) -> None:
    place.mkdir()
    assert files_below(place) == []
    (place / MARKER).write(b"hidden")
    assert files_below(place) == [place / MARKER]


def test_one_of_many_swaps_wins(bucket: ObjectPath) -> None:
    (bucket / "CURRENT").swap(b"first", None)
    before, won, ready = (bucket / "CURRENT").tag(), list[int](), threading.Barrier(8)

    def race(i: int) -> None:
        ready.wait()
        try:
            (bucket / "CURRENT").swap(f"writer {i}".encode(), before)
            won.append(i)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=race, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert (bucket / "CURRENT").read_bytes() == f"writer {won[0]}".encode()
    with pytest.raises(FileExistsError):
        (bucket / "CURRENT").swap(b"late", None)


def test_somebody_published_meanwhile(
    object_storage: str, place: ObjectPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pointer changed after it was read: an error, and theirs stays."""
    folder = WorkspaceFolder(place)
    folder.create()
    tag = ObjectPath.tag

    def then_another(path: ObjectPath) -> str | None:
        found = tag(path)
        (place / "CURRENT").write(b"theirs")
        return found

    with folder.locked() as workspace:
        workspace.write_pointer(StoredObject("manifests", "1" * 64, "2" * 64))
        monkeypatch.setattr(ObjectPath, "tag", then_another)
        with pytest.raises(ExecutionError, match=r"has published in .* meanwhile"):
            workspace.write_pointer(StoredObject("manifests", "3" * 64, "4" * 64))
    assert (place / "CURRENT").read_bytes() == b"theirs"


def test_an_answer_that_was_lost(
    object_storage: str, place: ObjectPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client tries a swap again whose answer did not come: the second try finds the first one's
    bytes, and that is no conflict."""
    folder = WorkspaceFolder(place)
    folder.create()
    item, write = StoredObject("manifests", "1" * 64, "2" * 64), ObjectPath.write

    def twice(path: ObjectPath, data: bytes, mode: object = "overwrite") -> None:
        write(path, data, mode)
        write(path, data, mode)

    with folder.locked() as workspace:
        monkeypatch.setattr(ObjectPath, "write", twice)
        workspace.write_pointer(item)
    assert folder.current() == item


def test_a_bucket_that_keeps_versions_is_refused(s3: str) -> None:
    import boto3

    boto3.client("s3").create_bucket(Bucket="versioned")
    boto3.client("s3").put_bucket_versioning(
        Bucket="versioned", VersioningConfiguration={"Status": "Enabled"}
    )
    with pytest.raises(
        ExecutionError,
        match="keeps old versions of its objects, so that what is erased could be read on",
    ):
        WorkspaceFolder(location("s3://versioned/workspace")).create()


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_a_bucket_of_google_or_azure_that_keeps_versions_is_refused(
    provider: Cloud, scheme: str
) -> None:
    """Google answers each write with a generation, versioned or not; so what counts is whether an
    overwritten object can still be read."""
    place, provider.versioned = ObjectPath(f"{scheme}://{provider.bucket}", "workspace"), True
    with pytest.raises(ExecutionError, match=f"bucket {place.bucket} keeps old versions"):
        WorkspaceFolder(place).create()
    assert set(provider.objects) == {f"{provider.bucket}/workspace/{MARKER}"}
    provider.versioned = False
    WorkspaceFolder(place).create()
    provider.versioned = True
    with pytest.raises(ExecutionError, match="keeps old versions"):
        Store(place / "objects", "the next command").create()


def test_looking_for_old_versions_brings_no_folder_back(
    provider: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another command removes the folder between the two writes of its marker."""
    write = ObjectPath.write

    def and_gone(path: ObjectPath, data: bytes, mode: object = "overwrite") -> object:
        made = write(path, data, mode)
        if mode == "create":
            provider.objects.clear()
        return made

    monkeypatch.setattr(ObjectPath, "write", and_gone)
    ObjectPath(f"gs://{provider.bucket}", "workspace").mkdir()
    assert not provider.objects


def test_one_object_that_is_gone_keeps_no_other(bucket: ObjectPath) -> None:
    """A late writer renames its file while many are being removed."""
    for number in range(30):
        (bucket / f"{number:02}").write(b"of an erased person")
    listed = list(bucket.below())
    listed[3].unlink()
    remove_files(listed)
    assert list(bucket.below()) == []


def test_a_bucket_that_is_not_there(s3: str) -> None:
    with pytest.raises(ExecutionError, match="there is no bucket s3://no-such-bucket"):
        WorkspaceFolder(location("s3://no-such-bucket/workspace")).create()


def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, and not the server's page; whoever asks for a digest is not told that the bytes
    are damaged."""
    from lmeraser_ray.storage.object_storage import client as object_client

    for name, value in {
        "ENDPOINT_URL": "http://127.0.0.1:9",
        "ACCESS_KEY_ID": "x",
        "SECRET_ACCESS_KEY": "x",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setattr(object_client, "RETRIES", 1)
    path = ObjectPath("s3://nobody-answers", "workspace/file")
    with pytest.raises(ExecutionError) as raised:
        digest_of(path)
    assert "\n" not in str(raised.value) and "run the same command again" in str(raised.value)
    with pytest.raises(ExecutionError), disk_errors(path):
        path.read_bytes()


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
            ours = text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name "
                "LIKE 'lmeraser process%'"
            )
            assert conn.execute(ours).scalars().all() == [True]
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


def test_without_a_server_for_the_requests(
    s3: str, place: ObjectPath, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LMERASER_DATABASE", raising=False)
    with pytest.raises(
        ConfigError, match="no SQLite file can be: its erasure requests need PostgreSQL"
    ):
        train(Session(place), world.config())


def test_a_prefix_with_something_else_in_it(
    object_storage: str, place: ObjectPath, world: World
) -> None:
    (place / "holiday.jpg").write(b"mine")
    with pytest.raises(ConfigError, match=r"holds 'holiday.jpg', which is no part of a workspace"):
        train(Session(place), world.config())
    assert (place / "holiday.jpg").read_bytes() == b"mine"


def test_every_command(
    object_storage: str,
    place: ObjectPath,
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A user's day: all by the command line."""
    train(Session(place), world.config())
    picture = tmp_path / "picture.png"
    picture.write_bytes(world.images[0])

    def lmeraser(verb: str, *words: str) -> str:
        assert cli.run(verb, [*words, "--workspace", str(place), "--quiet"]) == 0, (
            capsys.readouterr().err
        )
        return capsys.readouterr().out

    before = lmeraser("fingerprint")
    assert "class-" in lmeraser("predict", str(picture))
    for verb in ("evaluate", "cost", "status"):
        lmeraser(verb)
    training = [subject for subject in world.subjects if not is_test_subject(0, subject, 0.2)]
    request = lmeraser("submit", "--subjects", training[0]).strip()
    lmeraser("queue", "run")
    assert "CERTIFIED" in lmeraser("status", request)
    lmeraser("certificate", request)
    assert lmeraser("fingerprint") != before
    for words in (("verify", "--rebuild"), ("audit",)):
        lmeraser(*words)
    lmeraser("sweep", "--study", str(tmp_path / "study"), "--sweep", "partition.shards=3,4")
    seen = choice_of(tmp_path / "study" / "choice.json").seen
    assert len(seen) == len(training) - training.count(training[0]), (
        "who was erased in the bucket is left out"
    )


def test_backup_and_restore(
    object_storage: str, place: ObjectPath, world: World, tmp_path: Path
) -> None:
    """Who was erased after the backup is erased again, and what is restored is what was there
    before."""
    train(Session(place), world.config())
    backup(Session(place), to=tmp_path / "backup.tar", erasures=None)
    unlearn(Session(place), ErasureTargets((world.ids[5],)))
    before = fingerprint(Session(place))
    done = restore(Session(place), tmp_path / "backup.tar")
    assert done.erased_again == 1
    assert fingerprint(Session(place)) == before


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_records_that_arrive_have_no_file(
    where: str, tmp_path: Path, place: ObjectPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are on a disk while there are too many for memory, under no name that a crash could
    leave."""
    monkeypatch.setattr("lmeraser_ray.data.ingest.SPILL_BYTES", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spill = Spill(tmp_path if where == "disk" else place)
    records = [Record(f"id-{i}", f"id-{i}", "label", False, bytes([i]) * 100) for i in range(20)]
    for i, record in enumerate(records):
        spill.add(i % 3, record)
    assert list(tmp_path.iterdir()) == []
    found = dict(spill.buckets())
    assert {number: len(some) for number, some in found.items()} == {0: 7, 1: 7, 2: 6}
    assert (
        sorted((record for some in found.values() for record in some), key=lambda r: r.image)
        == records
    )
    spill.remove()


@pytest.mark.parametrize("length", [100, 5_000])
def test_no_more_than_twice_what_is_asked_for_is_read(
    place: ObjectPath, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """Far ranges come one by one, near ones together: a task reads its pictures, and not the
    buckets that they lie in. Of small ones that are nearer than the heads of a request are long, it
    reads what is between them too."""
    data, told = os.urandom(900_000), list[str]()
    (place / "object").write(data)
    monkeypatch.setattr(
        WSGIRequestHandler, "log_request", lambda self, *_: told.append(self.headers["Range"])
    )
    close = [i * (length + OVERHEAD) for i in range(10)]
    near = [100_000 + i * (length + 50) for i in range(20)]
    far = [300_000 + i * (length + max(length, OVERHEAD) + 1) for i in range(40)]
    found = (place / "object").ranges([*close, *near, *far], [length] * 70)
    assert found == [data[at : at + length] for at in (*close, *near, *far)]
    asked = [tuple(map(int, each.removeprefix("bytes=").split("-"))) for each in told]
    read = sum(last - first + 1 for first, last in asked)
    assert len(asked) == 2 + len(far)
    assert 70 * length < read <= 2 * 70 * length + 10 * OVERHEAD
