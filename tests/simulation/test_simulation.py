"""The simulation finds what is broken, and finds nothing else."""

import random
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from lmeraser_ray.storage.local_disk import LocalDisk
from tests.simulation.bugs import BUGS
from tests.simulation.disk import Disk, SimulatedPath
from tests.simulation.machine import Fault, Killed, Machine
from tests.simulation.oracle import fingerprint_of, trained
from tests.simulation.population import population
from tests.simulation.run import first_broken, tell
from tests.simulation.scenario import scenario_of
from tests.simulation.simulation import simulate
from tests.simulation.world import World, installed

SEEDS, TOGETHER = 60, 20


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(first, marks=pytest.mark.thorough if first else ())
        for first in range(0, SEEDS, TOGETHER)
    ],
)
def test_every_invariant_holds(first: int) -> None:
    _, broken = first_broken((first, first + TOGETHER, None))
    assert broken is None, tell(broken, None)


@pytest.mark.parametrize("seed", [30, 309, 629, 1242, 1281, 1737, 2584])
def test_what_a_seed_has_found_stays_mended(seed: int) -> None:
    """An id that the name of a stored object, or a longer id, spells; a failed retrain of all
    constituents; tombstones that were deleted in the middle of an erasure; a person of an erasure
    that a training has overtaken."""
    assert simulate(scenario_of(seed)).broken is None


def test_a_seed_is_one_story() -> None:
    seed = next(seed for seed in range(100) if len(scenario_of(seed).faults) > 2)
    first, second = (simulate(scenario_of(seed)) for _ in range(2))
    assert first == second
    assert any("***" in line for line in first.story)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["pointer_before_artifacts", "record_forgotten"])
def test_a_planted_bug_is_found_and_told(name: str) -> None:
    _, seed = first_broken((0, 40, name))
    assert seed is not None
    told = tell(seed, name)
    assert f"--seeds {seed}:{seed + 1} --plant {name}" in told
    assert told.count("\n") < 60
    assert name in BUGS


def test_the_oracle_agrees_with_a_training() -> None:
    people = population(1)
    with installed(World(people, trained(1), 0, [])) as world:
        assert world.session().folder.require_published().fingerprint == fingerprint_of(
            people, people.all
        )


@pytest.fixture
def disk() -> Iterator[Disk]:
    """A disk that `LocalDisk` writes to."""
    world = World(population(0), trained(0), 0, [])
    with installed(world):
        yield world.disk


def test_power_takes_what_was_not_synced(disk: Disk) -> None:
    calls, root = LocalDisk(), SimulatedPath("/simulated/workspace")
    calls.write_new(root / "new", [b"some ", b"bytes"], 0o600)
    (root / "new").replace(root / "CURRENT")
    disk.lose_power(Mock(choice=lambda _: 0))  # which takes all of it
    assert (root / "CURRENT").read_bytes() != b"some bytes"
    calls.write_new(root / "new", [b"some bytes"], 0o600)
    calls.move(root / "new", root / "CURRENT")
    for seed in range(9):
        disk.lose_power(random.Random(seed))
    assert (root / "CURRENT").read_bytes() == b"some bytes"


def test_nothing_of_a_killed_process_reaches_the_world() -> None:
    machine, done = Machine([Fault("one", 2, "kill")]), list[str]()

    def act() -> None:
        try:
            for step in "abc":
                machine.point(step)
                done.append(step)
        finally:
            machine.point("finally")
            done.append("finally")

    machine.start("one", act)
    machine.start("two", lambda: done.append("two"))
    while machine.step():
        pass
    assert sorted(done) == ["a", "two"]
    assert machine.defects == []
    assert issubclass(Killed, BaseException) and not issubclass(Killed, Exception)
    assert Path("/simulated").exists() is False
