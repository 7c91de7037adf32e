"""A crash at every change of the disk, during training and during an erasure, and what the next command makes of it.

The process dies in the middle: from the chosen point on, nothing more reaches the disk, clean-up included, and the file that was being
synced is half there. What must hold: the published state is the old one or the new one, whole; the next command ends where the
uninterrupted one did.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lmeraser_ray.errors import DataError
from lmeraser_ray.evaluate import evaluate
from lmeraser_ray.fingerprint import fingerprint
from lmeraser_ray.session import Session
from lmeraser_ray.state.folder import WorkspaceFolder
from lmeraser_ray.train import train
from lmeraser_ray.unlearn import Request, unlearn
from lmeraser_ray.verify import verify
from tests.conftest import World
from tests.laws.test_law import held

EFFECTS = ("replace", "unlink", "mkdir", "rmdir", "fsync")
SMALL = {"data": {"buckets": 2}, "partition": {"sample_size": 6, "shards": 3}, "learner": {"epochs": 1}}


class Crash(BaseException):
    """The process is dead. No handler of errors may catch this."""


@dataclass
class Disk:
    """Counts the changes of the disk, and stops the process before the `fatal`-th."""

    fatal: int | None
    count: int = 0
    point: str = ""

    def reached(self, name: str, *args: object) -> bool:
        """Whether the process is dead when it comes to this change."""
        self.count += 1
        if self.fatal is not None and self.count == self.fatal:
            self.point = f"{name} {' '.join(Path(str(a)).name for a in args)}"
        return self.fatal is not None and self.count >= self.fatal


@contextmanager
def disk(fatal: int | None) -> Iterator[Disk]:
    """A disk that takes no change from the `fatal`-th on."""
    state = Disk(fatal)
    with pytest.MonkeyPatch.context() as patch:
        for name in EFFECTS:
            patch.setattr(os, name, watched(name, getattr(os, name), state))
        yield state


def watched(name: str, real: Callable[..., object], state: Disk) -> Callable[..., object]:
    """One of the functions of `os` that change the disk."""

    def change(*args: object, **options: object) -> object:
        if name == "fsync" and not os.path.isfile(f"/proc/self/fd/{args[0]}"):  # noqa: PTH113
            return real(*args, **options)
        if state.reached(name, *args):
            if name == "fsync" and state.count == state.fatal:
                os.truncate(args[0], os.fstat(args[0]).st_size // 2)  # type: ignore[arg-type, call-overload]
            raise Crash(state.point)
        return real(*args, **options)

    return change


@dataclass
class Story:
    """A world, and the states that its workspaces can be in."""

    world: World
    base: Path

    def fresh(self, source: Path | None = None) -> Path:
        """A new workspace: a copy of another, or none yet."""
        root = self.base / "now"
        shutil.rmtree(root, ignore_errors=True)
        if source:
            shutil.copytree(source, root)
        return root

    def train(self, root: Path) -> None:
        train(Session(root), self.world.config(**SMALL))

    def forget(self, root: Path, *at: int) -> None:
        unlearn(Session(root), Request(tuple(self.world.ids[i] for i in at)))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    base = tmp_path_factory.mktemp("crash")
    return Story(World(base / "world", n=10), base)


@pytest.fixture(scope="module")
def trained(story: Story) -> Path:
    root = story.base / "trained"
    story.train(root)
    return root


def crashes(prepare: Callable[[], Path], command: Callable[[Path], None]) -> Iterator[tuple[Path, str]]:
    """Run a command again and again, each time dying one change later; ends when it gets through."""
    at = 0
    while True:
        at += 1
        root = prepare()
        with disk(at) as state:
            try:
                command(root)
            except Crash:
                pass
            else:
                assert state.count == at - 1, "a crash was swallowed"
                return
        yield root, f"change {at}, {state.point}"


def published(root: Path) -> str | None:
    """The fingerprint of what is published, every byte of it read; None where nothing is."""
    if not (root / "CURRENT").exists():
        return None
    found = fingerprint(Session(root))
    evaluate(Session(root))
    return found


def expect(root: Path, wanted: dict[str, bytes], where: str) -> None:
    """The workspace is in this state, sound, and with nothing stray."""
    assert held(root) == wanted, where
    done = verify(Session(root))
    assert done.ok, (where, done.differences)
    assert list(WorkspaceFolder(root).store.scratch.iterdir()) == [], where
    assert not WorkspaceFolder(root).erasing, where


def test_the_watch_sees_every_file_that_is_written(story: Story, trained: Path) -> None:
    """A control: as many renames as there are files (and a manifest), so no write goes past the failpoints."""
    names: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        real = os.replace
        patch.setattr(os, "replace", lambda a, b: (names.append(str(b)), real(a, b))[1])
        root = story.fresh()
        story.train(root)
    files = {str(path) for path in root.rglob("*") if path.is_file()} - {str(root / "lock")}
    assert set(names) == files
    assert held(root) == held(trained)


def test_training_that_dies_anywhere_resumes(story: Story, trained: Path) -> None:
    """A first training: nothing is published or all of it, and the same command ends as if nothing had happened."""
    wanted, whole = held(trained), fingerprint(Session(trained))
    seen = set()
    count = 0
    for root, where in crashes(story.fresh, story.train):
        count += 1
        seen.add(published(root))
        story.train(root)
        expect(root, wanted, where)
    assert seen == {None, whole}
    assert count > 30


def test_a_second_training_that_dies_anywhere_keeps_the_published_state(story: Story, trained: Path) -> None:
    """Two records more than the workspace had: the old state answers until the new one does."""
    fewer = story.base / "fewer"
    train(Session(fewer), story.world.without([story.world.ids[2], story.world.ids[7]], **SMALL))
    old, new, wanted = fingerprint(Session(fewer)), fingerprint(Session(trained)), held(trained)
    assert old != new
    seen = set()
    for root, where in crashes(lambda: story.fresh(fewer), story.train):
        seen.add(published(root))
        assert seen <= {old, new}, where
        story.train(root)
        expect(root, wanted, where)
    assert seen == {old, new}


@pytest.fixture(scope="module")
def forgotten(story: Story, trained: Path) -> dict[tuple[int, ...], dict[str, bytes]]:
    """The states after uninterrupted erasures."""
    states = {}
    for at in ((3,), (3, 8)):
        root = story.fresh(trained)
        story.forget(root, *at)
        states[at] = held(root)
    return states


def test_an_erasure_that_dies_anywhere_is_finished_by_the_same_command(story: Story, trained: Path, forgotten) -> None:
    old, new = fingerprint(Session(trained)), set()
    count = 0
    for root, where in crashes(lambda: story.fresh(trained), lambda root: story.forget(root, 3)):
        count += 1
        new.add(published(root))
        story.forget(root, 3)
        expect(root, forgotten[3,], where)
    final = fingerprint(Session(root))
    assert new == {old, final}
    assert count > 15


@pytest.mark.parametrize("how", ["train", "another unlearn"])
def test_an_erasure_that_dies_after_it_was_noted_is_finished_by_any_command(story: Story, trained: Path, forgotten, how: str) -> None:
    """From the tombstones on it will happen, whatever comes next. Before them, nothing was promised and nothing is lost."""
    noted = 0
    for root, where in crashes(lambda: story.fresh(trained), lambda root: story.forget(root, 3)):
        promised = WorkspaceFolder(root).tombstones().covers("record", story.world.ids[3])
        noted += promised
        story.train(root) if how == "train" else story.forget(root, 8)
        if how == "train":
            expect(root, forgotten[3,] if promised else held(trained), where)
        elif promised:
            expect(root, forgotten[3, 8], where)
        else:
            story.forget(root, 3)
            expect(root, forgotten[3, 8], where)
    assert noted > 10


def test_an_interrupted_erasure_is_said(story: Story, trained: Path) -> None:
    """Until it is finished, `verify` is not content, and the erased id is neither unknown nor removed twice."""
    said = 0
    for root, where in crashes(lambda: story.fresh(trained), lambda root: story.forget(root, 3)):
        if WorkspaceFolder(root).erasing:
            said += 1
            done = verify(Session(root))
            assert not done.ok, where
            assert "erasure was begun" in done.differences[0], where
            with pytest.raises(DataError, match="nobody"):
                unlearn(Session(root), Request(("nobody",)))
            assert WorkspaceFolder(root).erasing, "an unknown id changes nothing"
    assert said > 10


def test_two_crashes_in_a_row(story: Story, trained: Path, forgotten) -> None:
    """The command that finishes an erasure dies too, at various places; the third gets through."""
    for first in (3, 6, 9, 14, 19):
        for second in (2, 5, 11):
            root = story.fresh(trained)
            for fatal in (first, second):
                with disk(fatal), pytest.raises(Crash):
                    story.forget(root, 3)
            assert published(root)
            story.forget(root, 3)
            expect(root, forgotten[3,], f"{first}, {second}")
