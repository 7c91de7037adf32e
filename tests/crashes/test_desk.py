"""A workspace's files, its database, a backup and the signing keys after the power went.

Whatever was told is so; the pointer names whole objects; what is hashed can be read with the
secret; what was said to be gone is in no file; and the next command goes on.
"""

from pathlib import Path

import pytest

from lmeraser_ray.storage.database.database import VARIABLE
from tests.support.power_cuts import Recording, faults, recorded, told_of
from tests.support.power_expectations import EXPECTED

QUICK = 60
"""So many choices of what is lost take seconds."""
UNNEEDED = {
    "desk": {
        "workspace after mkdir workspace/objects": "the sync after the lock is made does it",
        "workspace/objects after mkdir workspace/objects/tmp": "so do those of its sisters",
        "workspace/objects/tmp/dead/TEMPORARY after write workspace/objects/tmp/dead/TEMPORARY": (
            "nobody reads what a dead writer left"
        ),
        "workspace/objects/tmp after mkdir workspace/objects/tmp/dead": "the same",
        "workspace after unlink workspace/objects/tmp/TEMPORARY": (
            "SQLite's next COMMIT does it; on a server it is needed, as `pinned` shows"
        ),
        "workspace after rename workspace/CURRENT": "the same",
    },
    "pinned": {
        "workspace after mkdir workspace/objects": "the sync after the lock is made does it",
        "workspace/objects after mkdir workspace/objects/tmp": "so do those of its sisters",
        "workspace/objects/tmp after mkdir workspace/objects/tmp/RUN": "nobody died before",
    },
    "archived": {},
    "keys": {},
}
"""For each act: the syncs without which nothing that was told is lost, and why."""


ENOUGH = 400
"""States in which each sync that is missing is found."""


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, postgresql: str) -> dict[str, Recording]:
    """What each act did."""
    environment = {"SERVER": postgresql, VARIABLE: ""}
    return recorded(
        tmp_path_factory.mktemp("acts"), dict.fromkeys(EXPECTED), environment=environment
    )


@pytest.fixture(params=list(EXPECTED))
def act(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an act."""
    monkeypatch.delenv(VARIABLE, raising=False)
    return str(request.param)


@pytest.fixture
def recording(act: str, recordings: dict[str, Recording]) -> Recording:
    return recordings[act]


def expect_all(act: str, recording: Recording, folder: Path, *, most: int | None = None) -> int:
    """Every state is as it should be. Returns how many there were."""
    disk = recording.disk()
    states = disk.states(most=most)
    for state, error in faults(states, EXPECTED[act], folder):
        pytest.fail(f"{type(error).__name__}: {error}\n{told_of(disk, state)}")
    return len(states)


def test_what_is_left_after_the_power_went(act: str, recording: Recording, memory: Path) -> None:
    assert expect_all(act, recording, memory, most=QUICK) > 10


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_what_is_left_after_every_loss(act: str, recording: Recording, memory: Path) -> None:
    """As above, with each effect lost alone, each there alone, and each beginning of what is
    uncertain, at each moment."""
    assert expect_all(act, recording, memory) > {"desk": 2000, "pinned": 300}.get(act, 15)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_every_sync_is_needed(act: str, recording: Recording, memory: Path) -> None:
    """A planted fault: a kind of sync that is never made is found, or it is said why not."""
    disk = recording.disk()
    missed = {
        kind
        for kind, syncs in recording.syncs().items()
        if not any(faults(disk.states_without(syncs)[:ENOUGH], EXPECTED[act], memory))
    }
    assert missed == set(UNNEEDED[act])
