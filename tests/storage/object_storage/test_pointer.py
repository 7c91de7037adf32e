"""The pointer's compare-and-swap: one of many writers wins, a conflict is an error, and an answer
that was lost is none."""

import threading

import pytest

from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.object_storage.path import ObjectPath
from lmeraser_ray.storage.store import StoredObject


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
