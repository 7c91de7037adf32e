"""Submitting, by many and by some that die: rows 1, 2 and 17 of the fault matrix, and kill -9 at
random moments.

What a client was told is committed stays committed; one key is one request; nobody's ids are left
in the files when the names are wiped.
"""

import json
import random
import signal
import sys
import tarfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from benchmarks import submit
from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database import ledger, tables
from tests.support import desk_acts
from tests.support.children import wait_until
from tests.support.desk import Desk, ended, start

CLIENTS = 32
FIXTURES = Path(__file__).parents[1] / "fixtures"


def whole(desk: Desk) -> None:
    """The chain has no fork and no hole, each request is told of once, and SQLite is content."""
    opened = desk.open()
    assert opened.check() == []
    with opened.read() as connection:
        assert ledger.check(connection) == []
        told = Counter(
            entry.request for entry in ledger.entries(connection) if entry.kind == "RECEIVED"
        )
        assert told == Counter(connection.scalars(select(tables.requests.c.id)))


def test_row_1_before_the_commit(desk: Desk) -> None:
    desk.open()
    assert ended([start(desk_acts.submit_and_die, desk, "committing")]) == [9]
    assert desk.count("requests") == desk.count("targets") == desk.count("ledger") == 0
    first = desk.requests().submit(["a"], ["s"], key="k")
    assert desk.requests().submit(["a"], ["s"], key="k") == first
    assert desk.count("requests") == 1
    whole(desk)


def test_row_2_after_the_commit(desk: Desk) -> None:
    desk.open()
    assert ended([start(desk_acts.submit_and_die, desk, "committed")]) == [9]
    [known] = desk.requests().list()
    assert desk.requests().submit(["a"], ["s"], key="k") == known
    assert desk.count("requests") == 1
    whole(desk)


# row 17


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.lists(st.integers(0, 9), min_size=1, max_size=4)),
        min_size=1,
        max_size=24,
    ),
    st.randoms(),
)
def test_any_sending_by_32_threads_is_one_row_a_key(
    tmp_path_factory: pytest.TempPathFactory,
    sent: list[tuple[int, list[int]]],
    shuffled: random.Random,
) -> None:
    """Keys that come twice, with the same ids and with others; ids that overlap. Who is first is
    right, and the union is asked for."""
    desk = Desk(tmp_path_factory.mktemp("desk") / "desk")
    requests = desk.requests()
    todo = sent * 2
    shuffled.shuffle(todo)

    def send(one: tuple[int, list[int]]) -> tuple[int, frozenset[str], str | None]:
        names = frozenset(f"id-{i}" for i in one[1])
        try:
            return one[0], names, requests.submit(sorted(names), [], key=f"{one[0]}").id
        except ConfigError:
            return one[0], names, None

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(send, todo))
    stored = {
        request.id: frozenset(target.name for target in request.targets)
        for request in requests.list()
    }
    assert len(stored) == len({key for key, _ in todo})
    for key in {key for key, _, _ in answers}:
        ids = {found for other, _, found in answers if other == key and found}
        assert len(ids) == 1
        [name] = ids
        assert all(
            (found is None) == (names != stored[name])
            for other, names, found in answers
            if other == key
        )
    assert frozenset[str]().union(*stored.values()) == frozenset[str]().union(
        *(names for _, names, found in answers if found)
    )
    whole(desk)


@pytest.mark.long
def test_row_17_32_processes(desk: Desk) -> None:
    desk.open()
    times = 4
    assert (
        ended([start(desk_acts.send_all, desk, number, times) for number in range(CLIENTS)], 200)
        == [0] * CLIENTS
    )
    assert desk.count("requests") == times + 2 * CLIENTS * times
    shared = [desk.names.hash("key", f"shared-{i}") for i in range(times)]
    with desk.open().read() as connection:
        keys = Counter(connection.scalars(select(tables.requests.c.idempotency)))
    assert [keys[key] for key in shared] == [1] * times
    whole(desk)


# kill -9


@pytest.mark.long
def test_kill_9_of_writers_at_random_moments(desk: Desk, tmp_path: Path) -> None:
    """20 times; each killed one has a successor. Nothing that was acknowledged is lost, and wiped
    names are in no byte."""
    before = desk.clients()
    log, rng, numbers = tmp_path / "log", random.Random(7), iter(range(10**9))
    writers = [start(desk_acts.send_for_ever, desk, log, next(numbers)) for _ in range(CLIENTS)]
    for _ in range(20):
        size = log.stat().st_size if log.exists() else 0
        while not log.exists() or log.stat().st_size < size + 100:  # something happens between two
            time.sleep(0.001)
        time.sleep(rng.random() * 0.02)
        victim = rng.randrange(CLIENTS)
        writers[victim].kill()
        writers[victim] = start(desk_acts.send_for_ever, desk, log, next(numbers))
    for writer in writers:
        writer.kill()
    assert set(ended(writers)) == {-signal.SIGKILL}
    wait_until(
        lambda: desk.clients() <= before
    )  # PostgreSQL finishes what the killed had asked for, and then hears of their death
    acknowledged = dict(line.split() for line in log.read_text().splitlines())
    opened = desk.open()
    with opened.read() as connection:
        stored = {row.id: row.idempotency for row in connection.execute(select(tables.requests))}
    assert len(acknowledged) >= 20
    assert {
        name: desk.names.hash("key", key) for name, key in acknowledged.items()
    }.items() <= stored.items()
    assert len(set(stored.values())) == len(stored)
    whole(desk)
    assert b"canary" in desk.bytes()
    with opened.write() as connection:
        transitions.wipe_names(connection, sorted(stored))
    opened.vacuum_names()
    assert b"canary" not in desk.bytes()


# admission


def test_a_request_is_one_transaction(lite: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its targets and its ledger entry; a repeated key writes nothing."""
    requests, commits = lite.requests(), list[int]()
    monkeypatch.setattr(
        "lmeraser_ray.storage.database.database.committed", lambda: commits.append(1)
    )
    first = requests.submit(["a", "b"], ["s"], key="k")
    assert (len(commits), lite.count("targets"), lite.count("ledger")) == (1, 3, 1)
    assert requests.submit(["a", "b"], ["s"], key="k") == first
    assert (lite.count("requests"), lite.count("targets"), lite.count("ledger")) == (1, 3, 1)


@pytest.mark.parametrize("refused", [{"key": "used"}, {"submitter": "me", "quota": 1}], ids=str)
def test_a_refused_submission_leaves_nothing(desk: Desk, refused: dict[str, object]) -> None:
    desk.requests().submit(["x"], [], key="used", submitter="me")
    with pytest.raises(ConfigError, match=r"names other ids|the quota is 1"):
        desk.requests().submit(["y"], [], **refused)  # type: ignore[arg-type]
    assert (desk.count("requests"), desk.count("targets"), desk.count("ledger")) == (1, 1, 1)
    whole(desk)


# a workspace of version 0.4.0


def test_submissions_that_waited_in_a_file_are_removed(tmp_path: Path) -> None:
    """They hold ids and were acknowledged to nobody. What was committed is all there."""
    with tarfile.open(FIXTURES / "workspace-0.4.0.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    root, facts = tmp_path / "workspace", json.loads((tmp_path / "facts.json").read_text())
    waiting = root / "requests.waiting"
    assert waiting.exists()
    waiting.write_bytes(b'[{"id":"er-20260131-0123456789abcdef"},[["record","canary","00"]]]')
    WorkspaceFolder(root).create()  # the file is no reason to refuse the workspace
    session = Session(root)
    with session.database() as database:
        found = RequestRepository(database, session.names()).list()
    assert {request.id for request in found} == {facts["certified"], facts["waiting"]}
    assert not waiting.exists()
    assert not any(b"canary" in path.read_bytes() for path in root.rglob("*") if path.is_file())


def test_the_benchmark(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It counts what it says. Its milliseconds are not looked at: this machine is shared."""
    monkeypatch.setattr(sys, "argv", ["submit", "--requests", "30", "--clients", "3"])
    submit.main()
    [line] = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert (found["acknowledged"], found["stored"], found["lost"], found["ledger_wrong"]) == (
        30,
        30,
        0,
        [],
    )
    assert found["ms"]["p50"] <= found["ms"]["p99"] <= found["ms"]["max"]
    assert found["met"] == (found["ms"]["p99"] < 1000 and found["per_second"] >= 100)
