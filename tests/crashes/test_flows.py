"""A training and an erasure after the power went: the next command ends where the one that was
interrupted would have, byte for byte, and whoever was told has their certificate."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from lmeraser_ray.erasure.certificate.dsse import sha256_of
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.queue.loop import queue_of
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.operations.audit import audit
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.database import VARIABLE
from tests.support.crash_flows import GONE
from tests.support.crashes import SMALL, listed
from tests.support.law import held
from tests.support.power_cuts import Recording, faults, recorded, told_of
from tests.support.power_expectations import facts_of
from tests.support.world import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
STATES = 60
"""So many choices of what is lost, drawn by a seed, are looked at."""


@dataclass
class Flows:
    """What was recorded, and the folders as they are at the end."""

    world: World
    ends: Path
    recordings: dict[str, Recording]


@pytest.fixture(scope="module")
def flows(tmp_path_factory: pytest.TempPathFactory) -> Flows:
    base = tmp_path_factory.mktemp("flows")
    world, before, ends = World(base / "world"), base / "before", base / "ends"
    ends.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, "")
        train(Session(before / "workspace"), world.config(**SMALL))
        KeyFolder(before / "keys").init()
        found = recorded(
            ends,
            {"training": None, "erasure": before},
            module="tests.support.crash_flows",
            environment={"STORY": str(world.folder)},
        )
    return Flows(world, ends, found)


def expect_training(flows: Flows, folder: Path, told: Sequence[str]) -> None:
    """What was told to be published is, at once; the same command ends in the same bytes."""
    root = folder / "workspace"
    for published in facts_of(told).get("published", ()):
        assert fingerprint(Session(root)) == published
    train(Session(root), flows.world.config(**SMALL))
    assert held(root) == held(flows.ends / "training" / "workspace")
    assert verify(Session(root)).differences == ()


def expect_erasure(flows: Flows, folder: Path, told: Sequence[str]) -> None:
    """The request is there if it was told, and a queue certifies it; a certificate that was told is
    that one still; nobody finds the record."""
    root, facts = folder / "workspace", facts_of(told)
    if "certified" in facts:
        expect_gone(flows, root)
    with queue_of(Session(root), keys=KeyFolder(folder / "keys")) as queue:
        queue.round(patient=False, stop=lambda: False)
    requests = listed(root)
    assert len(requests) == 1 or (not requests and "submitted" not in facts), "a request is lost"
    assert [request.id for request in requests] == facts.get("submitted", [r.id for r in requests])
    end = "erasure" if requests else "training"
    assert held(root) == held(flows.ends / end / "workspace")
    assert verify(Session(root)).differences == ()
    for request in requests:
        assert request.state is State.CERTIFIED
        wanted = facts.get("certified", [sha256_of(request.envelope or b"")])
        assert [sha256_of(request.envelope or b"")] == wanted
        expect_gone(flows, root)
    keys = KeyFolder(folder / "keys").public_keys()
    assert audit(Session(root), keys).differences == ()


def expect_gone(flows: Flows, root: Path) -> None:
    """No file holds the record's id or picture."""
    for path in root.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert flows.world.ids[GONE].encode() not in data, path.name
        assert flows.world.images[GONE] not in data, path.name


@pytest.mark.parametrize("act", ["training", "erasure"])
def test_the_next_command_ends_it(
    flows: Flows, act: str, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "")
    expect = {"training": expect_training, "erasure": expect_erasure}[act]
    disk = flows.recordings[act].disk()
    states = disk.states(most=STATES, seed=1)
    for state, error in faults(states, lambda root, told: expect(flows, root, told), memory):
        pytest.fail(f"{type(error).__name__}: {error}\n{told_of(disk, state)}")
    assert len(states) > STATES // 2
