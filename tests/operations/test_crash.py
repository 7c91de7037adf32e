"""A crash at every change of the disk, during training and during an erasure, and what the next
command makes of it.

The process dies in the middle, by kill -9 (`tests/support/dying.py`): from the chosen point on, nothing
more reaches the disk, and the file that was being synced is half there. What must hold: the
published state is the old one or the new one, whole; what was noted to be erased will be, by any
command; the next command ends where the uninterrupted one did, at once, with one certificate a
request and a ledger that an audit finds in order.
"""

import itertools
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import func, select

from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.queue.lease import Lease
from lmeraser_ray.erasure.queue.loop import queue_of
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import DataError
from lmeraser_ray.operations.audit import audit
from lmeraser_ray.operations.evaluate import evaluate
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.tables import (
    erased,
    lease,
    ledger,
    publications,
    quarantined,
    requests,
    targets,
    tombstones,
)
from lmeraser_ray.storage.database.tombstones import Tombstones
from tests.support import dying
from tests.support.law import held
from tests.support.world import World

pytestmark = pytest.mark.timeout(1200)
SMALL = {
    "data": {"buckets": 2},
    "partition": {"sample_size": 6, "shards": 3},
    "learner": {"epochs": 1},
}
LOCKS = {"lock", "requests.lock"}
"""Files without content."""
DATABASE = {"requests.db"}
"""Written by SQLite."""
COLUMNS = (
    (requests.c.state, requests.c.attempts, requests.c.publication),
    (targets.c.hash, targets.c.name, targets.c.outcome),
    (erased.c.hash, erased.c.name, erased.c.publication),
    (tombstones.c.hash,),
    (publications.c.before, publications.c.after, publications.c.done),
    (lease.c.epoch, lease.c.holder.is_(None)),
    (ledger.c.kind,),
)


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
        unlearn(Session(root), ErasureTargets(tuple(self.world.ids[i] for i in at)), keys=self.keys)

    @property
    def keys(self) -> KeyFolder:
        """The signing keys. How the first one is made: test_signing.py."""
        return KeyFolder(self.base / "keys")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    base = tmp_path_factory.mktemp("crash")
    story = Story(World(base / "world", n=10), base)
    story.keys.init()
    return story


@pytest.fixture(scope="module")
def trained(story: Story) -> Path:
    root = story.base / "trained"
    story.train(root)
    return root


def deaths(
    prepare: Callable[[], Path], command: Callable[..., None], *args: object
) -> Iterator[tuple[Path, str]]:
    """Run a command again and again, each time dying one change later; ends when it gets
    through."""
    at = 0
    while True:
        at += 1
        root = prepare()
        end = dying.run(command, root, *args, fatal=at)
        if end.point is None:
            assert end.changes == at - 1
            return
        yield root, f"change {at}, {end.point}"


def published(root: Path) -> str | None:
    """The fingerprint of what is published, every byte of it read; None where nothing is."""
    if not (root / "CURRENT").exists():
        return None
    found = fingerprint(Session(root))
    evaluate(Session(root))
    return found


def states(root: Path) -> dict[State, int]:
    """How many erasure requests are in each state, those in none left out."""
    session = Session(root)
    with session.database() as database:
        return {
            state: count
            for state, count in RequestRepository(database, session.names()).counts().items()
            if count
        }


def erasing(root: Path) -> bool:
    """Whether an erasure was noted that is not certified yet."""
    return any(state.is_begun for state in states(root))


def covered(root: Path, name: str) -> bool:
    """Whether a record has a tombstone."""
    session = Session(root)
    with session.database() as database:
        return Tombstones(session.names(), database).covers("record", name)


def work_off(root: Path, keys: KeyFolder) -> None:
    """What `lmeraser queue run` does."""
    with queue_of(Session(root), keys=keys) as queue:
        queue.round(patient=False, stop=lambda: False)


def expect(story: Story, root: Path, wanted: dict[str, bytes], where: str, **closed: int) -> None:
    """The workspace is in this state, sound, with nothing stray, and with so many requests by
    state, all of them closed."""
    assert held(root) == wanted, where
    done = verify(Session(root))
    assert done.ok, (where, done.differences)
    assert list(WorkspaceFolder(root).store.scratch.iterdir()) == [], where
    assert not (root / "requests.db-journal").exists(), where
    assert {str(state): count for state, count in states(root).items()} == closed, where
    expect_evidence(root, where, story.keys)


def expect_evidence(root: Path, where: str, keys: KeyFolder) -> None:
    """The ledger, the certificates and the tables agree, no id is in them, and nobody claims to be
    the queue."""
    session = Session(root)
    with session.database() as database:
        assert Lease.look(database).holder is None, where
        with database.read() as conn:
            for open_rows in (
                targets.c.name.is_not(None),
                erased.c.name.is_not(None),
                erased.c.needles.is_not(None),
            ):
                assert conn.scalar(select(func.count()).where(open_rows)) == 0, where
            assert conn.scalar(select(func.count()).select_from(quarantined)) == 0, where
            assert conn.scalar(select(func.count()).where(publications.c.done.is_(False))) == 0, (
                where
            )
    found = audit(session, keys.public_keys())
    assert found.ok, (where, found.differences)


def expect_gone(story: Story, root: Path, where: str, *at: int) -> None:
    """No file holds the id or the picture of these records."""
    for path in root.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        for i in at:
            assert story.world.ids[i].encode() not in data, (where, path.name)
            assert story.world.images[i] not in data, (where, path.name)


def test_the_watch_sees_every_file_that_is_written(story: Story, trained: Path) -> None:
    """A control: as many renames and links as there are files (and a manifest), so no write goes
    past the failpoints but SQLite's own."""
    names: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "link"):
            real = getattr(os, name)
            patch.setattr(os, name, lambda a, b, real=real: (names.append(str(b)), real(a, b))[1])
        root = story.fresh()
        story.train(root)
    files = {str(path) for path in root.rglob("*") if path.is_file()} - {
        str(root / name) for name in LOCKS | DATABASE
    }
    assert set(names) == files
    assert held(root) == held(trained)


@pytest.mark.long
def test_training_that_dies_anywhere_resumes(story: Story, trained: Path) -> None:
    """A first training: nothing is published or all of it, and the same command ends as if nothing
    had happened."""
    wanted, whole = held(trained), fingerprint(Session(trained))
    seen = set()
    count = 0
    for root, where in deaths(story.fresh, story_train, story):
        count += 1
        seen.add(published(root))
        story.train(root)
        expect(story, root, wanted, where)
    assert seen == {None, whole}
    assert count > 50


@pytest.mark.long
def test_a_second_training_that_dies_anywhere_keeps_the_published_state(
    story: Story, trained: Path
) -> None:
    """Two records more than the workspace had: the old state answers until the new one does."""
    fewer = story.base / "fewer"
    train(Session(fewer), story.world.without([story.world.ids[2], story.world.ids[7]], **SMALL))
    old, new, wanted = fingerprint(Session(fewer)), fingerprint(Session(trained)), held(trained)
    assert old != new
    seen = set()
    for root, where in deaths(lambda: story.fresh(fewer), story_train, story):
        seen.add(published(root))
        assert seen <= {old, new}, where
        story.train(root)
        expect(story, root, wanted, where)
    assert seen == {old, new}


@pytest.fixture(scope="module")
def forgotten(story: Story, trained: Path) -> dict[tuple[int, ...], dict[str, bytes]]:
    """The states after uninterrupted erasures."""
    states = {(): held(trained)}
    for at in ((3,), (3, 8)):
        root = story.fresh(trained)
        story.forget(root, *at)
        states[at] = held(root)
    return states


@pytest.fixture(scope="module")
def dead(story: Story, trained: Path) -> list[tuple[Path, str]]:
    """What an erasure of record 3 leaves when it dies, at every place where it can: the workspaces,
    and where it was."""
    found = []
    for root, where in deaths(lambda: story.fresh(trained), story_forget, story, 3):
        found.append((story.base / f"dead-{len(found)}", where))
        shutil.move(root, found[-1][0])
    assert len(found) > 50
    assert {where.split()[2] for _, where in found} >= {
        *dying.COMMITS,
        "replace",
        "unlink",
        "mkdir",
        "rmdir",
        "fsync",
    }
    return found


@pytest.fixture(scope="module")
def distinct(dead) -> list[tuple[Path, str]]:
    """Of those that left the same but for temporary files and times, the first."""
    found = {repr(durable(root)): (root, where) for root, where in reversed(dead)}
    assert 15 < len(found) < len(dead)
    return list(found.values())[::-1]


def durable(root: Path) -> list[object]:
    """What the next command finds: the objects, the pointer, and of the database what is no moment,
    no random id and no hash."""
    names = sorted(name for name in held(root) if not name.startswith("objects/tmp"))
    with Session(root).database() as database, database.read() as conn:
        rows = [conn.execute(select(*columns).order_by(*columns)).all() for columns in COLUMNS]
    return [names, (root / "CURRENT").read_bytes(), rows]


@pytest.mark.long
def test_an_erasure_that_dies_anywhere_is_finished_by_the_same_command(
    story: Story, trained: Path, forgotten, dead
) -> None:
    """The record is erased once; a request that the dead one had made gets its own certificate."""
    seen, made = set(), Counter()
    for left, where in dead:
        root = story.fresh(left)
        seen.add(published(root))
        before = sum(states(root).values())
        made[before] += 1
        story.forget(root, 3)
        expect(story, root, forgotten[3,], where, CERTIFIED=before + 1)
        expect_gone(story, root, where, 3)
    assert seen == {fingerprint(Session(trained)), fingerprint(Session(root))}
    assert set(made) == {0, 1}


@pytest.mark.long
@pytest.mark.parametrize("how", ["queue run", "train", "another unlearn"])
def test_an_erasure_that_dies_after_it_was_noted_is_finished_by_any_command(
    story: Story, forgotten, distinct, how: str
) -> None:
    """From the tombstones on it will happen, whatever comes next; a request that was only received
    waits for the queue. Before, nothing was promised and nothing is lost."""
    noted = 0
    for left, where in distinct:
        root = story.fresh(left)
        promised, submitted = covered(root, story.world.ids[3]), bool(states(root))
        noted += promised
        if how == "train":
            story.train(root)
            assert held(root) == forgotten[(3,) if promised else ()], where
            assert verify(Session(root)).ok == (not erasing(root)), where
        if how == "another unlearn":
            story.forget(root, 8)
        else:
            work_off(root, story.keys)
        gone = (*((3,) if submitted else ()), *((8,) if how == "another unlearn" else ()))
        expect(
            story,
            root,
            forgotten.get(gone) or alone(story, forgotten, gone),
            where,
            **certified(len(gone)),
        )
        expect_gone(story, root, where, *gone)
    assert noted > 8


def certified(count: int) -> dict[str, int]:
    """So many requests, all of them certified."""
    return {"CERTIFIED": count} if count else {}


def alone(
    story: Story, forgotten: dict[tuple[int, ...], dict[str, bytes]], at: tuple[int, ...]
) -> dict[str, bytes]:
    """The state after one more uninterrupted erasure."""
    root = story.base / "alone"
    shutil.copytree(story.base / "trained", root)
    story.forget(root, *at)
    forgotten[at] = held(root)
    shutil.rmtree(root)
    return forgotten[at]


@pytest.mark.long
def test_an_interrupted_erasure_is_said(story: Story, forgotten, distinct) -> None:
    """Until it is finished, `verify` is not content; an id that nobody knows stops nothing and
    brings nothing back."""
    said = 0
    for left, where in distinct:
        root = story.fresh(left)
        submitted, begun = bool(states(root)), erasing(root)
        done = verify(Session(root))
        assert ("erasure was begun" in " ".join(done.differences)) == begun, where
        if not begun:
            continue
        said += 1
        assert not done.ok, where
        with pytest.raises(DataError, match="nobody"):
            unlearn(Session(root), ErasureTargets(("nobody",)), keys=story.keys)
        expect(story, root, forgotten[3,], where, CERTIFIED=int(submitted), REFUSED=1)
    assert said > 8


@pytest.mark.long
def test_who_was_killed_holds_nothing(story: Story, dead) -> None:
    """The lease of a queue that was killed is free at once, though its time has not passed; what it
    had locked is free too."""
    held_by_the_dead = 0
    for left, where in dead:
        session = Session(story.fresh(left))
        with session.database() as database:
            seen = Lease.look(database)
            held_by_the_dead += seen.holder is not None
            assert Lease.live(database, seen.heartbeat_at or datetime.now(UTC), 10.0) is None, where
        with session.folder.locked():
            pass
    assert held_by_the_dead > 20


@pytest.mark.long
def test_two_crashes_in_a_row(story: Story, trained: Path, forgotten) -> None:
    """The command that finishes an erasure dies too, at various places; the third gets through."""
    for first in (4, 12, 20, 28, 36, 44):
        for second in (3, 18, 33):
            root = story.fresh(trained)
            for fatal in (first, second):
                assert dying.run(story_forget, root, story, 3, fatal=fatal).point
            assert published(root)
            before = states(root)
            assert all(state.is_open or state is State.CERTIFIED for state in before)
            story.forget(root, 3)
            expect(
                story, root, forgotten[3,], f"{first}, {second}", CERTIFIED=sum(before.values()) + 1
            )
            expect_gone(story, root, f"{first}, {second}", 3)


def test_a_first_database_that_dies_anywhere(tmp_path: Path) -> None:
    """Whoever comes next finds this workspace's database, whole, or makes it; also after one who
    died while mending it."""
    points = []
    for once in itertools.count(1):
        for again in itertools.count(1):
            root = tmp_path / f"{once}-{again}"
            WorkspaceFolder(root).create()
            points.append(dying.run(open_database, root, fatal=once).point)
            twice = points[-1] == "committing" and dying.run(open_database, root, fatal=again).point
            with closing(Database.open(root, None)) as database:
                assert database.check() == [], (points[-1], twice)
            assert not (root / "requests.db-journal").exists(), (points[-1], twice)
            if not twice:
                break
        if points[-1] is None:
            break
    assert len(points) > 15


def open_database(root: Path) -> None:
    """Make the request database of a workspace."""
    Database.open(root, None).close()


def story_train(root: Path, story: Story) -> None:
    """Train, in the process that is to die."""
    story.train(root)


def story_forget(root: Path, story: Story, *at: int) -> None:
    """Erase, in the process that is to die."""
    story.forget(root, *at)
