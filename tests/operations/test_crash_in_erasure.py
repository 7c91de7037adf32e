"""A crash at every change of the disk during an erasure, and what the next command makes of it.

What must hold besides what `test_crash.py` says: what was noted to be erased will be, by any
command, with one certificate a request, and a ledger that an audit finds in order.
"""

import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from lmeraser_ray.erasure.certificate.dsse import sign
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.queue.lease import Lease
from lmeraser_ray.erasure.queue.loop import queue_of
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import DataError
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.tables import (
    erased,
    lease,
    ledger,
    publications,
    requests,
    targets,
    tombstones,
)
from lmeraser_ray.storage.database.tombstones import Tombstones
from tests.support.children import Nursery
from tests.support.crashes import (
    Story,
    deaths,
    erasing,
    expect,
    killed_at,
    listed,
    published,
    states,
    story_forget,
)
from tests.support.law import held

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]
COLUMNS = (
    (requests.c.state, requests.c.attempts, requests.c.publication),
    (targets.c.hash, targets.c.name, targets.c.outcome),
    (erased.c.hash, erased.c.name, erased.c.publication),
    (tombstones.c.hash,),
    (publications.c.before, publications.c.after, publications.c.done),
    (lease.c.epoch, lease.c.holder.is_(None)),
    (ledger.c.kind,),
)


def statements(root: Path) -> dict[str, bytes]:
    """The statements that are frozen, by request. Only who is CERTIFIED has an envelope too."""
    found = listed(root)
    assert all((one.state is State.CERTIFIED) == bool(one.envelope) for one in found)
    return {one.id: bytes(one.statement) for one in found if one.statement}


def envelopes(root: Path) -> dict[str, bytes]:
    """The signed certificates, by request."""
    return {one.id: bytes(one.envelope) for one in listed(root) if one.envelope}


def covered(root: Path, name: str) -> bool:
    """Whether a record has a tombstone."""
    session = Session(root)
    with session.database() as database:
        return Tombstones(session.names(), database).covers("record", name)


def work_off(root: Path, keys: KeyFolder) -> None:
    """What `lmeraser queue run` does."""
    with queue_of(Session(root), keys=keys) as queue:
        queue.round(patient=False, stop=lambda: False)


def expect_gone(story: Story, root: Path, where: str, *at: int) -> None:
    """No file holds the id or the picture of these records."""
    for path in root.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        for i in at:
            assert story.world.ids[i].encode() not in data, (where, path.name)
            assert story.world.images[i] not in data, (where, path.name)


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
def dead(children: Nursery, story: Story, trained: Path) -> list[tuple[Path, str]]:
    """What an erasure of record 3 leaves when it dies, at every place where it can: the workspaces,
    and where it was."""
    found = []
    for root, where in deaths(children, lambda: story.fresh(trained), story_forget, story, 3):
        found.append((story.base / f"dead-{len(found)}", where))
        shutil.move(root, found[-1][0])
    assert len(found) >= 50
    assert {where.split()[2] for _, where in found} >= {
        "committing",
        "committed",
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
    waiting = root / "requests.waiting"
    return [
        names,
        (root / "CURRENT").read_bytes(),
        rows,
        waiting.exists() and waiting.stat().st_size > 0,
    ]


def test_an_erasure_that_dies_anywhere_is_finished_by_the_same_command(
    story: Story, trained: Path, forgotten, dead
) -> None:
    """The record is erased once; a request that the dead one had made gets its own certificate, of
    the bytes that were frozen before."""
    seen, made, seen_frozen = set(), Counter(), 0
    for left, where in dead:
        root = story.fresh(left)
        seen.add(published(root))
        before = sum(states(root).values())
        made[before] += 1
        frozen = statements(root)
        story.forget(root, 3)
        expect(story, root, forgotten[3,], where, CERTIFIED=before + 1)
        seen_frozen += len(frozen)
        signed = envelopes(root)
        for name, statement in frozen.items():
            assert signed[name] == sign(statement, story.keys.current()), where
        expect_gone(story, root, where, 3)
    assert seen == {fingerprint(Session(trained)), fingerprint(Session(root))}
    assert set(made) == {0, 1}
    assert seen_frozen > 3


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


def test_two_crashes_in_a_row(children: Nursery, story: Story, trained: Path, forgotten) -> None:
    """The command that finishes an erasure dies too, at various places; the third gets through."""
    for first in (4, 12, 20, 28, 36, 44):
        for second in (3, 18, 33):
            root = story.fresh(trained)
            for fatal in (first, second):
                assert killed_at(children, fatal, story_forget, root, story, 3).died
            assert published(root)
            before = states(root)
            assert all(state.is_open or state is State.CERTIFIED for state in before)
            story.forget(root, 3)
            expect(
                story, root, forgotten[3,], f"{first}, {second}", CERTIFIED=sum(before.values()) + 1
            )
            expect_gone(story, root, f"{first}, {second}", 3)
