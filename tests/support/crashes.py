"""A command that dies at every change of the disk, and what must hold after the next one."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.queue.lease import Lease
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import ErasureRequest, State
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.operations.audit import audit
from lmeraser_ray.operations.evaluate import evaluate
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database.tables import erased, publications, targets
from tests.support.children import Ended, Nursery
from tests.support.law import held
from tests.support.world import World

KILLED = -9
SMALL = {
    "data": {"buckets": 2},
    "partition": {"sample_size": 6, "shards": 3},
    "learner": {"epochs": 1},
}


@dataclass
class Story:
    """A world, and the states that its workspaces can be in."""

    world: World
    base: Path

    def fresh(self, source: Path | None = None) -> Path:
        """A new workspace: a copy of another, or none yet. The signer keeps nothing of what was in
        its place: to a signer, an older copy is one from which entries were cut off."""
        root = self.base / "now"
        shutil.rmtree(root, ignore_errors=True)
        shutil.rmtree(self.keys.path / "heads", ignore_errors=True)
        if source:
            shutil.copytree(source, root)
        return root

    def train(self, root: Path) -> None:
        train(Session(root), self.world.config(**SMALL))

    def forget(self, root: Path, *at: int) -> None:
        unlearn(Session(root), ErasureTargets(tuple(self.world.ids[i] for i in at)), keys=self.keys)

    @property
    def keys(self) -> KeyFolder:
        """The signing keys. How the first one is made: test_keystore.py."""
        return KeyFolder(self.base / "keys")


def killed_at(nursery: Nursery, change: int, command: Callable[..., None], *args: object) -> Ended:
    """Run a command in a process that dies at this change of the disk, if it comes to so many."""
    ended = nursery.start(command, *args, die=("change", change)).end()
    assert ended.code == (KILLED if ended.died else 0), ended
    return ended


def deaths(
    nursery: Nursery, prepare: Callable[[], Path], command: Callable[..., None], *args: object
) -> Iterator[tuple[Path, str]]:
    """Run a command again and again, each time dying one change later; ends when it gets
    through."""
    for at in itertools.count(1):
        root = prepare()
        ended = killed_at(nursery, at, command, root, *args)
        if ended.died is None:
            assert ended.changes == at - 1
            return
        yield root, f"change {at}, {ended.died}"


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


def listed(root: Path) -> list[ErasureRequest]:
    """Every request, whole."""
    session = Session(root)
    with session.database() as database:
        repository = RequestRepository(database, session.names())
        return [repository.get(request.id) for request in repository.list()]


def erasing(root: Path) -> bool:
    """Whether an erasure was noted that is not certified yet."""
    return any(state.is_begun for state in states(root))


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
        assert session.folder.require_state().quarantined == frozenset(), where
        with database.read() as conn:
            for open_rows in (
                targets.c.name.is_not(None),
                erased.c.name.is_not(None),
                erased.c.needles.is_not(None),
            ):
                assert conn.scalar(select(func.count()).where(open_rows)) == 0, where
            assert conn.scalar(select(func.count()).where(publications.c.done.is_(False))) == 0, (
                where
            )
    found = audit(session, keys.public_keys())
    assert found.ok, (where, found.differences)


def story_train(root: Path, story: Story) -> None:
    """Train, in the process that is to die."""
    story.train(root)


def story_forget(root: Path, story: Story, *at: int) -> None:
    """Erase, in the process that is to die."""
    story.forget(root, *at)
