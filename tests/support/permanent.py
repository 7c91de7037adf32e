"""Permanent records of the tiny world."""

from collections.abc import Sequence

from tests.support.world import World

STAFF = tuple(f"person-{n}" for n in range(0, 20, 3))


def listed(world: World, subjects: Sequence[str]) -> str:
    """A file of subjects."""
    path = world.folder / f"permanent-{len(list(world.folder.glob('permanent-*')))}.txt"
    path.write_text("".join(f"{name}\n" for name in subjects))
    return str(path)


def those(world: World, subjects: Sequence[str]) -> list[str]:
    """The records of subjects."""
    pairs = zip(world.ids, world.subjects, strict=True)
    return [name for name, subject in pairs if subject in subjects]
