"""Clients that submit, cancel, refuse, extend, retry and look, beside two queues, all at once.

What they were answered has an order; the ledger has the same one; a key is one request; the quota
holds; what was cancelled or refused is never certified. That the checks can fail is shown by
planted faults.
"""

import itertools
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import Connection

from lmeraser_ray.erasure.requests import repository, transitions
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.database import Database
from tests.support.children import wait_until
from tests.support.desk import Desk, ended, start
from tests.support.linearizability import MOVES, REFUSED, STALE, Call, impossible
from tests.support.racing_clients import QUOTA, Notebook, client, play, queue, submitter_of

KEYS = [f"key-{number}" for number in range(12)]


def raced(desk: Desk, *, clients: int = 4, times: int = 25, seed: int = 0) -> list[Call]:
    """Threads: clients beside two queues."""
    desk.open()
    with ThreadPoolExecutor(clients + 2) as pool:
        jobs = [
            pool.submit(act, desk, Notebook(name), seed + at, KEYS, times)
            for at, (name, act) in enumerate(cast_of(clients))
        ]
        return [call for job in jobs for call in job.result()]


def cast_of(clients: int) -> list[tuple[str, Callable[..., list[Call]]]]:
    """Who takes part, by name."""
    return [
        *((f"client-{at}", client) for at in range(clients)),
        *((f"queue-{at}", queue) for at in range(2)),
    ]


def told(desk: Desk) -> list[ledger.LedgerEntry]:
    """The ledger's entries about requests, its chain checked."""
    with desk.open().read() as connection:
        assert ledger.check(connection) == []
        return [entry for entry in ledger.entries(connection) if entry.request]


def keys_of(desk: Desk) -> dict[str, str]:
    """The key of each request."""
    known = {desk.names.hash("key", key): key for key in KEYS}
    return {request.id: known[request.idempotency or ""] for request in desk.requests().list()}


def faults(desk: Desk, calls: Sequence[Call]) -> list[str]:
    """What is wrong with a history, and with what it left."""
    entries, keys = told(desk), keys_of(desk)
    return [
        *impossible(calls),
        *twice(calls, keys),
        *out_of_order(entries, keys, calls),
        *over_quota(entries, keys),
        *risen(entries),
    ]


def twice(calls: Sequence[Call], keys: dict[str, str]) -> list[str]:
    """Keys of which several requests were told, or are there."""
    told = {(call.key, call.answer) for call in calls if call.verb == "submit"}
    named = {(key, name) for key, name in told if name not in (REFUSED, None)}
    named |= {(key, name) for name, key in keys.items()}
    count = Counter(key for key, _ in named)
    return [f"{key} stands for {count[key]} requests" for key in count if count[key] > 1]


def out_of_order(
    entries: Sequence[ledger.LedgerEntry], keys: dict[str, str], calls: Sequence[Call]
) -> list[str]:
    """Entries of the ledger whose call had returned before that of an earlier entry began. Of those
    that are told of once, so that it is known whose they are."""
    about: defaultdict[tuple[str, str], list[Call]] = defaultdict(list)
    for call in calls:
        if call.answer not in (REFUSED, STALE) and call.verb != "look":
            about[call.key, kind_of(call.verb)].append(call)
    count = Counter((entry.request, kind_in(entry)) for entry in entries)
    found, latest = list[str](), 0
    for entry in entries:
        key, kind = keys[str(entry.request)], kind_in(entry)
        whose = about[key, kind]
        known = all(call.returned for call in whose) and count[entry.request, kind] == 1
        if not known or (len(whose) > 1 and kind != "RECEIVED"):
            continue
        if min(call.returned or 0 for call in whose) < latest:
            found.append(f"{kind} of {key} is told of after what came later")
        latest = max(latest, min(call.invoked for call in whose))
    return found


def kind_in(entry: ledger.LedgerEntry) -> str:
    """What an entry tells of; a retry is told of as RECEIVED."""
    return "RETRIED" if entry.facts.get("retry") else entry.kind


def kind_of(verb: str) -> str:
    """The ledger's word for what a verb did."""
    others = {"submit": "RECEIVED", "extend": "EXTENDED", "retry": "RETRIED"}
    return others.get(verb) or str(MOVES[verb][1])


def over_quota(entries: Sequence[ledger.LedgerEntry], keys: dict[str, str]) -> list[str]:
    """Who had more unanswered requests than allowed, and when."""
    count, found = Counter[str](), list[str]()
    for entry in entries:
        who = submitter_of(keys[str(entry.request)])
        if kind_in(entry) == State.RECEIVED:
            count[who] += 1
        if entry.kind in State.__members__ and State(entry.kind).is_answered:
            count[who] -= 1
        if count[who] > QUOTA:
            found.append(f"{who} has {count[who]} unanswered requests at entry {entry.seq}")
    return found


def risen(entries: Sequence[ledger.LedgerEntry]) -> list[str]:
    """Requests that went on after their answer."""
    answered: dict[str | None, str] = {}
    found = []
    for entry in entries:
        if entry.request in answered:
            found.append(f"{entry.kind} after {answered[entry.request]}")
        if entry.kind in State.__members__ and State(entry.kind).is_answered:
            answered[entry.request] = entry.kind
    return found


def test_threads(desk: Desk) -> None:
    calls = raced(desk)
    assert faults(desk, calls) == []
    done = {call.verb for call in calls if call.answer not in (REFUSED, STALE)}
    assert done >= {"submit", "look", "plan"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_more_threads(desk: Desk, seed: int) -> None:
    assert faults(desk, raced(desk, clients=8, times=60, seed=seed * 1000)) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_processes(desk: Desk, tmp_path: Path, seed: int) -> None:
    """The same between processes. One is killed: what it was about to do has happened or not."""
    desk.open()
    files = {name: tmp_path / name for name, _ in cast_of(4)}
    started = [
        start(play, act, desk, files[name], seed * 1000 + at, KEYS, 40)
        for at, (name, act) in enumerate(cast_of(4))
    ]
    first = files["client-0"]
    wait_until(lambda: first.exists() and first.read_text().count("\n") > 20)
    started[0].kill()
    assert ended(started) == [-signal.SIGKILL, *[0] * 5]
    calls = [call for file in files.values() for call in Notebook.read(file)]
    assert faults(desk, calls) == []
    assert len(calls) > 100


# planted faults


def found_within(folder: Path, words: str, seeds: int = 5) -> bool:
    """Whether a planted fault is found, in so many races, by a sentence with these words."""
    desks = (Desk(folder / f"desk-{seed}") for seed in range(seeds))
    return any(
        words in each
        for seed, desk in enumerate(desks)
        for each in faults(desk, raced(desk, seed=seed * 1000))
    )


def test_a_quota_that_is_not_kept_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "require_quota", lambda *_: None)
    assert found_within(tmp_path, "unanswered requests at entry")


def test_an_update_that_does_not_name_its_states_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = transitions.move

    def unguarded(
        connection: Connection, ids: object, sources: object, *rest: object
    ) -> transitions.Moved:
        return real(connection, ids, list(State), *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(transitions, "move", unguarded)
    monkeypatch.setattr(repository, "move", unguarded)
    assert found_within(tmp_path, " submit → ")
    assert found_within(tmp_path / "again", " after CANCELLED")


def test_who_is_answered_before_the_commit_is_found(
    lite: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every third commit fails after the answer was given."""
    write, count = Database.write, itertools.count(1)

    @contextmanager
    def early(of: Database) -> Iterator[Connection]:
        with suppress(ZeroDivisionError), write(of) as connection:
            yield connection
            if next(count) % 3 == 0:
                raise ZeroDivisionError

    lite.open()
    monkeypatch.setattr(Database, "write", early)
    assert impossible(raced(lite))
