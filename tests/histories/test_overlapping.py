"""Many processes that ask for the same people while a queue works: each request ends CERTIFIED,
once, and the law holds for all of them together."""

from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.queue import proof
from lmeraser_ray.erasure.queue.loop import queue_of
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.operations.audit import audit
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.database import VARIABLE, Database
from tests.support.desk import ended, start
from tests.support.racing_clients import ask
from tests.support.world import World

CHEAP: dict[str, dict[str, object]] = {
    "partition": {"kind": "random", "shards": 4},
    "aggregation": {"kind": "all"},
    "learner": {"kind": "ridge"},
    "queue": {"poll": 0.001, "lease": 600},
}
"""A configuration in which the queue is as fast as its database."""


def expect_certified(
    folder: Path, *, requests: int, processes: int, records: int, named: int
) -> None:
    """So many requests by so many processes, each for one or two of the first `named` records."""
    world, keys = World(folder / "world", n=records), KeyFolder(folder / "keys")
    keys.init()
    session = Session(world.space())
    train(session, world.config(**CHEAP))
    files = [folder / f"client-{number}" for number in range(processes)]
    shares = [requests // processes + (at < requests % processes) for at in range(processes)]
    clients = [
        start(ask, session.root, file, number, world.ids[:named], share)
        for number, (file, share) in enumerate(zip(files, shares, strict=True))
    ]
    with queue_of(session, keys=keys) as queue:
        while any(client.is_alive() for client in clients) or opened(session):
            queue.round(patient=True, stop=lambda: False)
    assert ended(clients) == [0] * processes
    lines = [line.split() for file in files for line in file.read_text().splitlines()]
    acknowledged = {name: names for name, *names in lines}
    assert len(acknowledged) == requests
    with closing(Database.open(session.root, None)) as database:
        found = RequestRepository(database, session.names()).list()
        with database.read() as connection:
            entries = list(ledger.entries(connection))
    assert Counter(str(each.state) for each in found) == {"CERTIFIED": requests}
    assert {each.id for each in found} == set(acknowledged)
    told = Counter(entry.request for entry in entries if entry.kind == State.CERTIFIED)
    assert told == dict.fromkeys(acknowledged, 1)
    gone = sorted({name for names in acknowledged.values() for name in names})
    never = Session(world.space())
    train(never, world.without(gone, **CHEAP))
    assert fingerprint(session) == fingerprint(never)
    assert audit(session, keys.public_keys()).differences == ()


def opened(session: Session) -> bool:
    """Whether a request is open."""
    with closing(Database.open(session.root, None)) as database:
        counts = RequestRepository(database, session.names()).counts()
    return any(count for state, count in counts.items() if state.is_open)


@pytest.fixture(autouse=True)
def _sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def test_who_is_asked_for_again_while_they_are_proven(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time a queue begins a proof, another client asks for the same person; six requests in
    all."""
    keys = KeyFolder(tmp_path / "keys")
    keys.init()
    session, name, real = Session(world.space()), world.ids[3], proof.purge
    train(session, world.config(**CHEAP))
    asked = [again(session, name)]

    def purge(*args: object) -> int:
        if len(asked) < 6:
            asked.append(again(session, name))
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(proof, "purge", purge)
    with queue_of(session, keys=keys) as queue:
        while opened(session):
            queue.round(patient=True, stop=lambda: False)
    with closing(Database.open(session.root, None)) as database:
        found = RequestRepository(database, session.names()).list()
    assert {request.id: str(request.state) for request in found} == dict.fromkeys(
        asked, "CERTIFIED"
    )
    assert len(asked) == 6


def again(session: Session, name: str) -> str:
    """One more request for a record, by a client of its own."""
    with closing(Database.open(session.root, None)) as database:
        return RequestRepository(database, session.names()).submit([name], []).id


@pytest.mark.thorough
def test_30_requests_for_6_people(tmp_path: Path) -> None:
    expect_certified(tmp_path, requests=30, processes=4, records=16, named=6)


@pytest.mark.long
def test_150_requests_for_40_people(tmp_path: Path) -> None:
    expect_certified(tmp_path, requests=150, processes=8, records=60, named=40)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_2000_requests_for_1000_people(tmp_path: Path) -> None:
    expect_certified(tmp_path, requests=2000, processes=16, records=1040, named=1000)
