"""A workspace at three moments, with a backup of each: what tests of backups and restores share."""

import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from lmeraser_ray.erasure.backup.database_dump import dump, rows_in
from lmeraser_ray.operations.restore import Restoration, restore
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.database import Database
from tests.support.world import World

FIRST, SECOND, THIRD = "person-3", "person-7", "person-11"


@dataclass(frozen=True)
class History:
    """A workspace at three moments: trained; FIRST erased; SECOND erased and a request for THIRD
    received. A tree and a backup of each."""

    world: World
    trees: tuple[Path, Path, Path]
    tars: tuple[Path, Path, Path]
    erasures: tuple[Path, Path, Path]
    fingerprints: tuple[str, str, str]
    waiting: str

    def tree(self, moment: int, to: Path) -> Path:
        """A copy of the workspace as it was."""
        shutil.copytree(self.trees[moment], to)
        return to


def left_of(root: Path, world: World, *subjects: str) -> set[str]:
    """What a plain search finds of people: their names, and their pictures' bytes."""
    found = set()
    for path in root.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        for i, subject in enumerate(world.subjects):
            if subject in subjects and (f"{subject}/".encode() in data or world.images[i] in data):
                found.add(subject)
    return found


def entries_of(root: Path) -> list[str]:
    with Session(root).database() as database, database.read() as conn:
        assert ledger.check(conn) == []
        return [entry.kind for entry in ledger.entries(conn)]


def rows_of(root: Path) -> list[tuple[str, dict[str, object]]]:
    with closing(Database.open(root, None)) as database, database.read() as conn:
        return list(rows_in(dump(conn)))


def restored(root: Path, history: History, moment: int, **options: object) -> Restoration:
    return restore(Session(root), history.tars[moment], **options)  # type: ignore[arg-type]
