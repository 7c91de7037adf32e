"""How many examples hypothesis tries, and what `make quick` leaves out.

pytest --hypothesis-profile quick     a tenth of the examples, the first case of each test, nothing
                                      thorough, no process; of each law but the main one only that
                                      unlearning is never having seen
pytest                                the examples that each test asks for
pytest --hypothesis-profile long      four times as many
"""

import multiprocessing.process
import os
import subprocess
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet
from hypothesis import settings

TESTS = Path(__file__).parents[1]
SHARES = {"quick": 0.1, "default": 1.0, "long": 4.0}
FEWEST = 3
SETTINGS = "_hypothesis_internal_use_settings"
"""Where hypothesis keeps what a test asks for itself, which a profile does not change."""
THOROUGH = (
    *("benchmarks/", "crashes/", "distributed/", "faults/", "k8s/"),
    *("histories/test_racing.py", "histories/test_overlapping.py"),
    *("cli/test_queue.py", "cli/test_readme.py", "erasure/test_lease_processes.py"),
    *("erasure/test_restore.py::test_a_crash", "erasure/test_restore.py::test_a_restored"),
    *("models/test_checkpoints.py::TestThePapersFiles", "storage/object_storage/"),
    *("operations/test_crash", "study/test_workspace_figures.py", "cli/test_studies.py"),
    *("erasure/test_queue.py", "erasure/test_serving.py", "erasure/test_submitting.py"),
    *("erasure/test_quarantine_crashes.py", "study/test_attack_figure.py::test_a_study_shows_all"),
    *("operations/test_workspace.py::test_studies_are_of", "models/test_shard_count.py"),
    *("laws/test_law.py::test_a_learner_that_leaks", "erasure/test_transitions.py"),
    *("erasure/test_backup.py::test_every_damage", "erasure/test_wiped_names.py"),
    "models/test_backbone.py::test_a_feature_does_not_depend",
)
"""Tests that are thorough wherever they stand: by folder, file or name."""
MAIN_LAW, IN_SHORT = "laws/test_law.py", "equals_never_having_seen"
"""The law that is tried whole, and what the name of a test says that stands for its law."""
SERVERS = {"s3", "postgresql"}
"""Fixtures that start a server."""

for profile in SHARES:
    settings.register_profile(profile, deadline=None)
settings.load_profile("default")


def cases(cases: Iterable[tuple[object, ...]], *, quick: Container[object]) -> list[ParameterSet]:
    """Return cases for `parametrize`, all of them thorough but those that `quick` holds."""
    return [
        pytest.param(
            *case, id="-".join(map(str, case)), marks=() if case in quick else pytest.mark.thorough
        )
        for case in cases
    ]


def chosen(config: pytest.Config) -> str:
    """Return the name of the profile."""
    return str(config.getoption("--hypothesis-profile") or "default")


def scale(item: pytest.Item, share: float, done: set[int]) -> None:
    """Have a test of hypothesis try this share of its examples. done: those that have had it."""
    of_machine = getattr(item, "cls", None) if item.name == "runTest" else None
    test = of_machine or getattr(item.obj, "__func__", item.obj)
    name = "settings" if of_machine else SETTINGS
    if id(test) in done:
        return
    done.add(id(test))
    asked: settings = getattr(test, name)
    setattr(test, name, settings(asked, max_examples=max(FEWEST, int(share * asked.max_examples))))


def is_thorough(item: pytest.Item) -> bool:
    """Whether `make quick` leaves a test out."""
    parameters = getattr(getattr(item, "callspec", None), "params", {}).values()
    servers = {*getattr(item, "fixturenames", ()), *map(str, parameters)} & SERVERS
    place = item.nodeid.removeprefix("tests/")
    of_a_law = (
        place.startswith("laws/") and not place.startswith(MAIN_LAW) and IN_SHORT not in place
    )
    marked = item.get_closest_marker("thorough")
    return bool(marked or servers or of_a_law or place.startswith(THOROUGH))


def left_out(items: Iterable[pytest.Item]) -> Iterator[pytest.Item]:
    """Yield what `make quick` leaves out: what is thorough, and the cases of a test behind its
    first."""
    begun = set[str]()
    for item in items:
        name = item.nodeid.partition("[")[0]
        if is_thorough(item) or name in begun:
            yield item
        else:
            begun.add(name)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import what is thorough as a whole, Ray for one."""
    place = os.path.relpath(collection_path, TESTS) + ("/" if collection_path.is_dir() else "")
    return True if chosen(config) == "quick" and place.startswith(THOROUGH) else None


@pytest.hookimpl(trylast=True)  # hypothesis marks its tests first
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    share, done = SHARES[chosen(config)], set[int]()
    for item in items:  # a long one asks for as many as it can try
        if item.get_closest_marker("hypothesis") and not item.get_closest_marker("long"):
            scale(item, share, done)
    if chosen(config) == "quick":
        config.hook.pytest_deselected(items=(without := list(left_out(items))))
        gone = set(without)
        items[:] = [item for item in items if item not in gone]


@pytest.fixture(scope="session", autouse=True)
def _no_processes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Skip what comes to starting a process, in `make quick`."""

    def skip(*_: object, **__: object) -> None:
        pytest.skip("starts a process")

    with pytest.MonkeyPatch.context() as patch:
        if chosen(request.config) == "quick":
            patch.setattr(subprocess.Popen, "__init__", skip)
            patch.setattr(multiprocessing.process.BaseProcess, "start", skip)
        yield
