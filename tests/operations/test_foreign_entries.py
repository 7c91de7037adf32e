"""Somebody who can write to a workspace puts a link, a pipe or a second name in the place of one of
its files: no command follows, cuts, empties, locks or waits for what that leads to."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lmeraser_ray.erasure.queue.loop import queue_of
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ExecutionError, VerificationError
from lmeraser_ray.operations.audit import audit
from lmeraser_ray.operations.backup import backup
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.requests import submit
from lmeraser_ray.operations.restore import restore
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.store import KINDS
from tests.support.crashes import Story

OWN = ("CURRENT", "CURRENT.next", "configuration.json", "secret", "database", "lock")
FILES = (*OWN, "requests.db", "requests.db-journal", "requests.lock")
FOLDERS = ("objects", "objects/tmp", *(f"objects/{kind}" for kind in KINDS))
IN_PLACE = ("lock", "requests.db", "requests.lock")


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """Who waits for a pipe waits for ever."""
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "workspace")
    return tmp_path / "workspace"


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder of somebody else, with files that a purge would take for its own."""
    folder = tmp_path / "foreign"
    for name in ("records", "pictures", "tmp", "holiday"):
        (folder / name).mkdir(parents=True)
        (folder / name / "mine.png").write_bytes(b"nobody else's")
    return folder


def seen(folder: Path) -> dict[str, tuple[int, bytes]]:
    """The mode and the bytes of every file."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def verbs(story: Story, root: Path, tmp_path: Path) -> dict[str, Callable[[], object]]:
    """What writes to the workspace, and what reads it."""
    session = Session(root)

    def queue() -> None:
        with queue_of(session, keys=story.keys) as queue:
            queue.round(patient=False, stop=lambda: False)

    return {
        "train": lambda: story.train(root),
        "submit": lambda: submit(session, ErasureTargets(("nobody",))),
        "queue run": queue,
        "backup": lambda: backup(session, to=tmp_path / "b.tar", erasures=None),
        "restore": lambda: restore(session, tmp_path / "kept.tar", no_later_erasures=True),
        "audit": lambda: audit(session, story.keys.public_keys()),
        "fingerprint": lambda: fingerprint(session),
    }


def expect_refused(story: Story, root: Path, foreign: Path, tmp_path: Path, name: str) -> None:
    """Every verb refuses, nothing foreign has changed, and `verify` says what is wrong."""
    before, own = seen(foreign), seen(root)
    for verb, run in verbs(story, root, tmp_path).items():
        with pytest.raises(
            (VerificationError, ExecutionError), match=name.rsplit("/", maxsplit=1)[-1]
        ):
            run()
        assert seen(foreign) == before, verb
    assert seen(root) == own
    said = verify(Session(root)).differences
    assert any(difference.startswith(f"{name} ") for difference in said), said
    assert (seen(foreign), seen(root)) == (before, own)


@pytest.mark.parametrize("name", FILES)
def test_a_link_in_the_place_of_a_file(
    story: Story, root: Path, foreign: Path, tmp_path: Path, name: str
) -> None:
    backup(Session(root), to=tmp_path / "kept.tar", erasures=None)
    shutil.copy(root / name, foreign / "target") if (root / name).exists() else (
        foreign / "target"
    ).write_bytes(b"of somebody else")
    (root / name).unlink(missing_ok=True)
    (root / name).symlink_to(foreign / "target")
    expect_refused(story, root, foreign, tmp_path, name)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_link_in_the_place_of_a_folder(
    story: Story, root: Path, foreign: Path, tmp_path: Path, name: str
) -> None:
    backup(Session(root), to=tmp_path / "kept.tar", erasures=None)
    if name == "objects":
        shutil.move(root / name, foreign / "objects")
        (root / name).symlink_to(foreign / "objects")
    else:
        shutil.rmtree(root / name)
        (root / name).symlink_to(foreign)
    expect_refused(story, root, foreign, tmp_path, name)


@pytest.mark.parametrize("name", FILES)
def test_nobody_waits_for_a_pipe(
    story: Story, root: Path, foreign: Path, tmp_path: Path, name: str
) -> None:
    backup(Session(root), to=tmp_path / "kept.tar", erasures=None)
    (root / name).unlink(missing_ok=True)
    os.mkfifo(root / name)
    expect_refused(story, root, foreign, tmp_path, name)


@pytest.mark.parametrize("name", IN_PLACE)
def test_a_second_name_of_what_is_changed_in_place(
    story: Story, root: Path, foreign: Path, tmp_path: Path, name: str
) -> None:
    backup(Session(root), to=tmp_path / "kept.tar", erasures=None)
    shutil.copy(root / name, foreign / "target")
    (root / name).unlink()
    (root / name).hardlink_to(foreign / "target")
    expect_refused(story, root, foreign, tmp_path, name)


def test_verify_names_what_is_no_file_in_the_store_and_train_removes_it(
    story: Story, root: Path, foreign: Path
) -> None:
    before = seen(foreign)
    (root / "objects/records/link").symlink_to(foreign)
    os.mkfifo(root / "objects/pictures/pipe")
    (root / "objects/holiday").mkdir()
    item = next((root / "objects/pictures").glob("*.bin"))
    (foreign / "kept").hardlink_to(item)
    said = verify(Session(root)).differences
    for name in ("records/link is a link", "pictures/pipe is a pipe", "holiday is no part"):
        assert any(f"objects/{name}" in difference for difference in said), said
    assert any(f"objects/pictures/{item.name} has 2 names" in difference for difference in said)
    (foreign / "kept").unlink()
    (root / "objects/holiday").rmdir()
    story.train(root)
    assert verify(Session(root)).differences == ()
    assert seen(foreign) == before


def test_the_workspace_itself_may_be_reached_through_a_link(
    story: Story, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(root)
    session = Session(tmp_path / "link")
    story.train(session.root)
    assert verify(session).ok
    assert fingerprint(session) == fingerprint(Session(root))
