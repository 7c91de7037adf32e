"""Submitting, by many and by some that die: rows 1, 2 and 17 of the fault matrix, and kill -9 at
random moments.

What a client was told is committed stays committed; one key is one request; nobody's ids are left
in the files when the names are wiped.
"""

import json
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from benchmarks import submit
from lmeraser_ray.erasure.requests import group_commit as together
from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.group_commit import (
    LOOK,
    Mailbox,
    Standing,
    Submission,
    post,
    take,
    tell,
)
from lmeraser_ray.erasure.requests.request import Target
from lmeraser_ray.errors import ConfigError, ExecutionError
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.file_lock import try_locked
from tests.support import desk_acts
from tests.support.children import wait_until
from tests.support.desk import Desk, ended, start

CLIENTS = 32


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


# together


def submission(
    desk: Desk, number: int, *, key: str | None = None, quota: int = 0, submitter: str = "me"
) -> Submission:
    return desk.requests()._submission([f"id-{number}"], [], key, submitter, False, None, quota)


def chosen(desk: Desk, own: Submission, *others: Submission) -> list[str]:
    with desk.open().write() as connection:
        standing = Standing.read(connection, [own, *others])
        found = [each for each in (own, *others) if standing.take(each)]
        together.insert_all(connection, found)
    whole(desk)
    return [each.id for each in found]


def test_a_submission_survives_its_line(lite: Desk) -> None:
    made = submission(lite, 1, key="k", quota=3)
    assert Submission.from_line(made.to_line()) == made
    for damaged in (
        b"",
        b"[]",
        made.to_line()[:-9],
        made.to_line() * 2,
        made.to_line().replace(b'"due_at"', b'"dueat"'),
        b"\xff\n",
    ):
        assert Submission.from_line(damaged) is None
    twice = Submission(made.row, made.targets * 2, made.facts, 0)
    assert Submission.from_line(twice.to_line()) is None


def test_what_waits_is_taken_along(lite: Desk) -> None:
    own, others = submission(lite, 0), [submission(lite, i) for i in range(1, 4)]
    assert chosen(lite, own, own, *others, others[1]) == [each.id for each in (own, *others)]
    assert chosen(lite, submission(lite, 9), *others)[1:] == [], "they are there"
    assert [target.name for request in lite.requests().list() for target in request.targets].count(
        "id-2"
    ) == 1


def test_what_a_key_may_refuse_is_left_to_its_owner(lite: Desk) -> None:
    lite.requests().submit(["x"], [], key="used")
    own = submission(lite, 0, key="mine")
    others = [
        submission(lite, i, key=key)
        for i, key in enumerate(["used", "mine", "new", "new", None], 1)
    ]
    assert chosen(lite, own, *others) == [own.id, others[2].id, others[4].id]


def test_what_a_quota_may_refuse_is_left_to_its_owner(lite: Desk) -> None:
    lite.requests().submit(["x"], [], submitter="other")
    own = submission(lite, 0, quota=9, submitter="me")
    others = [
        submission(lite, i, quota=quota, submitter=who)
        for i, (quota, who) in enumerate([(2, "me"), (2, "me"), (2, "other"), (2, "other")], 1)
    ]
    assert chosen(lite, own, *others) == [own.id, others[0].id, others[2].id]


def send_one(desk: Desk, answers: list[str], name: str, **options: object) -> None:
    try:
        answers.append(desk.requests().submit([name], [], **options).id)  # type: ignore[arg-type]
    except (ConfigError, ExecutionError) as error:
        answers.append(str(error))


def behind(desk: Desk, names: Sequence[str], **options: object) -> list[str]:
    """What those are answered who submit while another is at the front, and gives it up without
    having looked at them."""
    path, answers = desk.root / "requests.waiting", list[str]()
    desk.open()
    threads = [
        threading.Thread(target=send_one, args=(desk, answers, name), kwargs=options)
        for name in names
    ]
    with try_locked(path) as (_, first):
        assert first
        for thread in threads:
            thread.start()
        while len(take(path, empty=False)) < len(threads):
            time.sleep(0.001)
    for thread in threads:
        thread.join(60)
    return answers


def test_those_who_wait_are_committed_in_one_transaction(
    lite: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = list[int]()
    real = together.insert_all
    monkeypatch.setattr(
        "lmeraser_ray.erasure.requests.repository.insert_all",
        lambda c, many: (commits.append(len(many)), real(c, many)),
    )
    answers = behind(lite, [f"{i}" for i in range(8)])
    assert sorted(answers) == sorted(request.id for request in lite.requests().list())
    assert len(commits) < 8
    assert sum(commits) == 8
    assert (lite.root / "requests.waiting").stat().st_mode & 0o777 == 0o600
    whole(lite)


def test_a_refusal_reaches_its_owner(lite: Desk) -> None:
    lite.requests().submit(["x"], [], key="used")
    assert all("names other ids" in answer for answer in behind(lite, ["a", "b"], key="used"))
    assert (
        sum(
            "the quota is 2" in answer
            for answer in behind(lite, ["a", "b", "c"], submitter="me", quota=2)
        )
        == 1
    )


def test_a_refusal_does_not_hold_the_others_up(lite: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is refused at the front has taken the others' submissions out of the file: they are
    told, and need not wait to find out."""
    monkeypatch.setattr(together, "PAUSE", 3600.0)
    lite.requests().submit(["x"], [], key="used")
    path, answers = lite.root / "requests.waiting", list[str]()
    thread = threading.Thread(target=send_one, args=(lite, answers, "a"))
    with try_locked(path):
        thread.start()
        while not take(path, empty=False):
            time.sleep(0.001)
    with pytest.raises(ConfigError, match="names other ids"):
        lite.requests().submit(["y"], [], key="used")
    thread.join(60)
    assert answers == [request.id for request in lite.requests().list()][1:]


def test_one_who_waits_in_vain_is_told(lite: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one at the front is stopped: an error after a while, and no request that nobody knows of
    when it goes on."""
    monkeypatch.setattr(together, "LONGEST", 0.2)
    lite.open()
    with (
        try_locked(lite.root / "requests.waiting"),
        pytest.raises(ExecutionError, match="it may be stopped"),
    ):
        lite.requests().submit(["a"], [], key="k")
    assert lite.count("requests") == 0
    assert lite.requests().submit(["a"], [], key="k").id
    assert lite.count("requests") == 1


def test_a_lost_line_is_written_again(lite: Desk) -> None:
    """What comes between reading the file and emptying it is lost there."""
    path, answers = lite.root / "requests.waiting", list[str]()
    lite.open()
    thread = threading.Thread(target=send_one, args=(lite, answers, "a"))
    with try_locked(path):
        thread.start()
        for _ in range(2):
            while not take(path):
                time.sleep(0.001)
    thread.join(60)
    assert answers == [lite.requests().list()[0].id]


def test_a_line_of_one_who_died_in_it_harms_nobody(lite: Desk) -> None:
    line = submission(lite, 1).to_line()
    (lite.root / "requests.waiting").write_bytes(line[: len(line) // 2])
    answers = behind(lite, ["b"])
    assert [request.id for request in lite.requests().list()] == answers


def test_a_large_submission_is_left_to_its_owner(lite: Desk) -> None:
    made = submission(lite, 1)
    many = tuple(Target("record", f"{i}" * 100, f"{i:064}", "open") for i in range(1000))
    with Mailbox() as box:
        post(lite.root / "requests.waiting", Submission(made.row, many, made.facts, 0), box)
        assert take(lite.root / "requests.waiting") == []
        post(lite.root / "requests.waiting", made, box)
        assert [each.mailbox for each in take(lite.root / "requests.waiting")] == [box.address]


def test_mailboxes(lite: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "PAUSE", 5.0)
    with Mailbox() as one, Mailbox() as other:
        assert one.address != other.address
        tell(
            [
                (one.address, "er-1"),
                ("", "x"),
                ("00ff", "nobody"),
                ("no hexadecimal", "x"),
                (other.address, LOOK),
            ]
        )
        assert (one.wait(), other.wait()) == ("er-1", LOOK)
    monkeypatch.setattr(together, "PAUSE", 0.01)
    with Mailbox() as one:
        assert one.wait() is None


def test_where_there_are_no_mailboxes_time_passes(
    lite: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere than on Linux, or between two containers."""
    monkeypatch.setattr(together, "tell", lambda _: None)
    answers = behind(lite, [f"{i}" for i in range(4)])
    assert sorted(answers) == sorted(request.id for request in lite.requests().list())


def test_names_that_wait_are_gone_after_a_vacuum(lite: Desk) -> None:
    lite.open()
    with Mailbox() as box:
        post(lite.root / "requests.waiting", submission(lite, 1), box)
    assert b"id-1" in lite.bytes()
    lite.open().vacuum_names()
    assert b"id-1" not in lite.bytes()
    assert take(lite.root / "requests.waiting") == []


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
    assert found["met"] == (found["ms"]["p99"] < 50)
