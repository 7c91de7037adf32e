"""The store: an object is there whole or not at all, listing is honest, and a full disk leaves
nothing behind."""

import hashlib
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmeraser_ray.errors import ExecutionError, VerificationError
from lmeraser_ray.storage.files import write_atomic
from lmeraser_ray.storage.store import EXTENSION, KINDS, Store, StoredObject

KEY = "a" * 64


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "objects")
    made.create()
    return made


def test_put_and_read(store: Store) -> None:
    item = store.put("features", KEY, [b"one", b"", b"two"])
    assert item == StoredObject("features", KEY, hashlib.sha256(b"onetwo").hexdigest())
    assert store.read(item) == b"onetwo"
    assert store.read_ranges(item, [3, 0], [3, 3]) == [b"two", b"one"]
    assert [str(path.relative_to(store.root)) for path in store.files()] == [item.name]


def test_private_bytes_are_for_their_owner_only(store: Store) -> None:
    assert store.path(store.put("pictures", KEY, [b"x"])).stat().st_mode & 0o777 == 0o600


def test_putting_twice_does_no_harm(store: Store) -> None:
    items = {store.put("records", KEY, [b"x"]) for _ in range(3)}
    assert len(items) == len(store.files()) == 1


def test_many_writers_of_one_key_leave_one_sound_file(store: Store) -> None:
    data = os.urandom(1 << 16)
    threads = [
        threading.Thread(target=store.put, args=("constituents", KEY, [data])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [item.sha256 for item in store.listing().values()] == [hashlib.sha256(data).hexdigest()]
    assert len(store.files()) == 1


def test_a_reader_never_sees_half_an_object(store: Store) -> None:
    """While the chunks still come, the object is not listed; nor is it after the source of chunks
    fails."""
    seen = []

    def chunks() -> Iterator[bytes]:
        yield b"x" * (1 << 20)
        seen.append(store.listing())
        raise RuntimeError("the source fails")

    with pytest.raises(RuntimeError, match="the source fails"):
        store.put("pictures", KEY, chunks())
    assert seen == [{}]
    assert store.files() == []


def test_every_kind_has_its_place(store: Store) -> None:
    items = [store.put(kind, KEY, [kind.encode()]) for kind in KINDS]
    assert sorted(store.listing().values()) == sorted(items)
    assert len({store.path(item) for item in items}) == len(KINDS) == len(EXTENSION)


def test_listing_knows_only_objects(store: Store) -> None:
    item = store.put("features", KEY, [b"x"])
    foreign = [
        "features/README",
        "features/.hidden.safetensors",
        f"features/{KEY}.safetensors",
        f"features/{KEY}-{'b' * 63}.safetensors",
        f"features/{KEY}_{'b' * 64}.safetensors",
        f"features/{KEY}-{'b' * 64}.parquet",
        f"features/{KEY}-{'b' * 64}.safetensors.tmp",
        f"tmp/{KEY}-{'b' * 64}.safetensors",
    ]
    for name in foreign:
        (store.root / name).write_bytes(b"y")
    assert list(store.listing().values()) == [item]
    assert len(store.files()) == 1 + len(foreign)


def test_two_digests_of_one_key_the_smaller_counts_whatever_the_order(store: Store) -> None:
    items = [store.put("constituents", KEY, [data]) for data in (b"one", b"two", b"three")]
    assert store.listing() == {("constituents", KEY): min(items)}


def test_purge_keeps_what_it_is_told_and_nothing_else(store: Store) -> None:
    kept, gone = store.put("features", KEY, [b"x"]), store.put("features", "b" * 64, [b"y"])
    (store.root / "records" / "stray").write_bytes(b"z")
    (store.scratch / "half").write_bytes(b"z")
    (store.root / "link").symlink_to(store.path(kept))
    assert store.purge([kept]) == 4
    assert store.files() == [store.path(kept)]
    assert store.purge([kept]) == 0
    assert not store.sound(gone)


@pytest.mark.parametrize("damage", ["missing", "shorter", "one bit", "longer", "empty"])
def test_damage_is_found_and_named(store: Store, damage: str) -> None:
    item = store.put("partitions", KEY, [b"some bytes"])
    path = store.path(item)
    data = {"shorter": b"some", "one bit": b"some bytet", "longer": b"some bytes ", "empty": b""}
    path.unlink() if damage == "missing" else path.write_bytes(data[damage])
    assert not store.sound(item)
    with pytest.raises(VerificationError, match=item.name) as caught:
        store.read(item)
    assert ("missing" if damage == "missing" else "damaged") in str(caught.value)
    assert "lmeraser" in str(caught.value), "says what to do"


def test_ranges_of_a_missing_object(store: Store) -> None:
    with pytest.raises(VerificationError, match="missing"):
        store.read_ranges(StoredObject("pictures", KEY, "b" * 64), [0], [1])


def test_clearing_scratch_leaves_objects(store: Store) -> None:
    item = store.put("features", KEY, [b"x"])
    (store.scratch / "folder" / "within").mkdir(parents=True)
    (store.scratch / "file").write_bytes(b"")
    (store.scratch / "link").symlink_to(store.path(item))
    store.clear_scratch()
    assert list(store.scratch.iterdir()) == []
    assert store.sound(item)


def test_scratch_is_cleared_while_others_are_at_work(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One removes what is theirs, when its name has been read; an orphan writes into its folder,
    when that has been emptied."""
    theirs, orphans = store.scratch / "1-a", store.scratch / "run"
    theirs.write_bytes(b"a secret")
    orphans.mkdir()
    is_dir, rmdir, late = Path.is_dir, os.rmdir, ["3-c", "2-b"]

    def remove_theirs(path: Path) -> bool:
        if path == theirs:
            theirs.unlink(missing_ok=True)
        return is_dir(path)

    def write_late(*args: object, **options: object) -> None:
        if late:
            (orphans / late.pop()).touch()
        rmdir(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "is_dir", remove_theirs)
    monkeypatch.setattr(os, "rmdir", write_late)
    store.clear_scratch()
    assert list(store.scratch.iterdir()) == late == []


def test_a_failing_rename_leaves_no_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ExecutionError, match="Input/output error"):
        store.put("features", KEY, [b"x"])
    assert store.files() == []


def test_everything_is_synced_before_it_has_its_name(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsync of the file, rename, fsync of the folder, in this order: else a power cut leaves a name
    without bytes."""
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def watched(handle: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("rename"), replace(a, b))[1])
    store.put("features", KEY, [b"x"])
    assert calls == ["file", "rename", "folder"]


FULL = """
import sys, resource, signal
from pathlib import Path
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.storage.files import write_atomic
from lmeraser_ray.storage.store import Store
store = Store(Path(sys.argv[1]) / "objects")
store.create()
item = store.put("features", "a" * 64, [b"before"])
write_atomic(store.root.parent / "CURRENT", b"old", scratch=store.scratch)
if sys.argv[2] == "limit":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
current = store.root.parent / "CURRENT"
for attempt in (lambda: store.put("features", "b" * 64, (b"x" * 50_000 for _ in range(100))),
                lambda: write_atomic(current, b"y" * 5_000_000, scratch=store.scratch)):
    try:
        attempt()
    except ExecutionError as error:
        print(error)
    else:
        print("no error")
assert store.read(item) == b"before"
assert (store.root.parent / "CURRENT").read_bytes() == b"old"
assert store.files() == [store.path(item)], store.files()
"""


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A real file system of 1 MiB. Needs the right to mount."""
    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder],
            capture_output=True,
            check=False,
        )
        if mounted.returncode:
            pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.decode().strip()}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def run_full(folder: Path, how: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(folder), how], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_full_disk(small_disk: Path) -> None:
    """A real one: the error says so, nothing half written is left, what was there is as it was."""
    lines = run_full(small_disk, "disk")
    assert len(lines) == 2
    assert all(
        "The disk is full" in line and "run the same command again" in line for line in lines
    )


def test_a_file_size_limit(tmp_path: Path) -> None:
    """Another way of not being able to write, for machines where nothing can be mounted."""
    lines = run_full(tmp_path, "limit")
    assert len(lines) == 2
    assert all("could not be read or written (File too large)" in line for line in lines)


def test_write_atomic_replaces(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data in (b"old and long", b"new"):
        write_atomic(path, data, scratch=tmp_path)
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ExecutionError, match="could not be read or written"):
        Store(tmp_path / "nowhere").put("features", KEY, [b"x"])
