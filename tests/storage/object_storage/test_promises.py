"""Object storage keeps what a disk promises: the same calls have the same effects, a removed folder
stays removed, and no read fetches much more than was asked for."""

import os
import tempfile
from pathlib import Path

import pytest
from werkzeug.serving import WSGIRequestHandler

from lmeraser_ray.data.ingest import Spill
from lmeraser_ray.data.record import Record
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.storage.files import (
    create_once,
    digest_of,
    discard_tree,
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
from lmeraser_ray.storage.paths import Location, name_below
from lmeraser_ray.storage.store import Store, StoredObject


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


def test_one_object_that_is_gone_keeps_no_other(bucket: ObjectPath) -> None:
    """A late writer renames its file while many are being removed."""
    for number in range(30):
        (bucket / f"{number:02}").write(b"of an erased person")
    listed = list(bucket.below())
    listed[3].unlink()
    remove_files(listed)
    assert list(bucket.below()) == []


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
