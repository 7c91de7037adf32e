"""A command line in this process: what a command printed and its exit code, a trained workspace
to give it, and what a workspace holds before and after a command."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.tombstones import Tombstones
from tests.support.law import index_of
from tests.support.world import World

DATABASE = "requests.db"
"""Not empty once a command has had to do with requests."""


@dataclass(frozen=True)
class Said:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        """The object on the last line of stdout."""
        return json.loads(self.out.splitlines()[-1])


Lm = Callable[..., Said]


@dataclass(frozen=True)
class Place:
    """A world, its configuration file and a trained workspace of one's own."""

    world: World
    config: Path
    root: Path

    def id(self, *, test: bool = False) -> str:
        """A record of the training side, or of the test side."""
        index, _ = index_of(self.root)
        return index.names("record_id")[
            int(index.test.argmax() if test else (~index.test).argmax())
        ]


def everything(root: Path, *but: str) -> dict[str, bytes]:
    """Every file below a folder with its bytes, but for the lock, which says who was there last,
    and for files of these names."""
    return {
        str(path): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name not in ("lock", *but)
    }


def asked(root: Path) -> tuple[dict[str, int], int]:
    """How many erasure requests are in each state, and how many tombstones there are. Ids of closed
    requests are nowhere."""
    session = Session(root)
    with session.database() as database:
        found = RequestRepository(database, session.names()).list()
        assert all(
            target.name is None
            for request in found
            if request.state.is_closed
            for target in request.targets
        )
        return dict(Counter(str(request.state) for request in found)), len(
            Tombstones(session.names(), database)
        )


def expect_refused(said: Said, code: int, *words: str) -> None:
    """The exit code, one line on stderr that says these words, nothing on stdout, no traceback."""
    assert said.code == code, said
    assert said.out == ""
    assert said.err.startswith("lmeraser: error: "), said.err
    assert said.err.count("\n") == 1, said.err
    for word in words:
        assert word in said.err
