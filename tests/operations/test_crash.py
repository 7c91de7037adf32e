"""A crash at every change of the disk during training, and what the next command makes of it.

The process dies by kill -9 (`tests/support/failpoints.py`): from the chosen point on, nothing more
reaches the disk, and the file that was being synced is half there. What must hold: the published
state is the old one or the new one, whole; the next command ends where the uninterrupted one did.
"""

import itertools
import os
from contextlib import closing
from pathlib import Path

import pytest

from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database.database import Database
from tests.support.children import Nursery
from tests.support.crashes import SMALL, Story, deaths, expect, killed_at, published, story_train
from tests.support.law import held

pytestmark = pytest.mark.timeout(1200)
LOCKS = {"lock", "requests.lock"}
"""Files without content."""
DATABASE = {"requests.db"}
"""Written by SQLite."""


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
def test_training_that_dies_anywhere_resumes(
    children: Nursery, story: Story, trained: Path
) -> None:
    """A first training: nothing is published or all of it, and the same command ends as if nothing
    had happened."""
    wanted, whole = held(trained), fingerprint(Session(trained))
    seen = set()
    count = 0
    for root, where in deaths(children, story.fresh, story_train, story):
        count += 1
        seen.add(published(root))
        story.train(root)
        expect(story, root, wanted, where)
    assert seen == {None, whole}
    assert count > 50


@pytest.mark.long
def test_a_second_training_that_dies_anywhere_keeps_the_published_state(
    children: Nursery, story: Story, trained: Path
) -> None:
    """Two records more than the workspace had: the old state answers until the new one does."""
    fewer = story.base / "fewer"
    train(Session(fewer), story.world.without([story.world.ids[2], story.world.ids[7]], **SMALL))
    old, new, wanted = fingerprint(Session(fewer)), fingerprint(Session(trained)), held(trained)
    assert old != new
    seen = set()
    for root, where in deaths(children, lambda: story.fresh(fewer), story_train, story):
        seen.add(published(root))
        assert seen <= {old, new}, where
        story.train(root)
        expect(story, root, wanted, where)
    assert seen == {old, new}


def test_a_first_database_that_dies_anywhere(children: Nursery, tmp_path: Path) -> None:
    """Whoever comes next finds this workspace's database, whole, or makes it; also after one who
    died while mending it."""
    points = []
    for once in itertools.count(1):
        for again in itertools.count(1):
            root = tmp_path / f"{once}-{again}"
            WorkspaceFolder(root).create()
            points.append(killed_at(children, once, open_database, root).died)
            twice = (
                points[-1] == "committing" and killed_at(children, again, open_database, root).died
            )
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
