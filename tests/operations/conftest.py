"""What the tests of crashes share: a world, a trained workspace, and the processes that die."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.children import Nursery
from tests.support.crashes import Story
from tests.support.world import World


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Processes, none of which outlives the module's tests."""
    nursery = Nursery(tmp_path_factory.mktemp("children"))
    yield nursery
    nursery.close()


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
