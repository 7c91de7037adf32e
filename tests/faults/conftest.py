"""What the fault matrix shares: one trained workspace to copy, children, a real PostgreSQL, real
small disks."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.database import VARIABLE
from tests.support.children import Nursery
from tests.support.disks import run_quietly
from tests.support.story import Case, Truth

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session", autouse=True)
def _importable() -> Iterator[None]:
    """Children import this package, wherever pytest was started."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), before]))
    yield
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


@pytest.fixture(scope="session")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return Truth(tmp_path_factory.mktemp("truth") / "world")


@pytest.fixture(scope="session")
def traces(truth: Truth) -> dict[str, dict[str, bytes]]:
    return truth.traces()


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    folder = tmp_path / "children"
    folder.mkdir()
    made = Nursery(folder)
    yield made
    made.close()


@pytest.fixture
def make(
    truth: Truth,
    traces: dict[str, dict[str, bytes]],
    nursery: Nursery,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str | None], Case]:
    """Makes a trained workspace with signing keys, on SQLite or on the PostgreSQL of a URL, and
    what it takes to work on it."""

    numbers = count()

    def made(url: str | None) -> Case:
        monkeypatch.setenv(VARIABLE, url or "")
        folder = tmp_path / f"case-{next(numbers)}"
        folder.mkdir()
        keys, root = KeyFolder(folder / "keys"), folder / "workspace"
        keys.init()
        if url:  # a schema is one workspace's, so it cannot be a copy
            train(Session(root), truth.config())
        else:
            shutil.copytree(truth.without(frozenset()), root)
        return Case(truth, root, keys.path, nursery, traces)

    return made


@pytest.fixture
def case(make: Callable[[str | None], Case]) -> Case:
    """A trained workspace on SQLite."""
    return make(None)


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, make: Callable[[str | None], Case]) -> Case:
    """One on each kind of database."""
    return make(request.getfixturevalue("postgresql") if request.param == "postgresql" else None)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Mounts a small disk (a tmpfs of so many KiB) over a folder, or one folder over another; skips
    where that is not allowed."""
    with ExitStack() as stack:

        def mounted(on: Path, *, kib: int | None = None, bind: Path | None = None) -> None:
            words = (
                ("mount", "--bind", str(bind), str(on))
                if bind
                else ("mount", "-t", "tmpfs", "-o", f"size={kib}k,mode=700", "none", str(on))
            )
            done = run_quietly(*words)
            if done.returncode:
                pytest.skip(f"needs root that may mount: {done.stderr.strip()}")
            stack.callback(run_quietly, "umount", "-l", str(on))

        yield mounted
