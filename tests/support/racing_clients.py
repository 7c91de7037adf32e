"""Clients and queues that race for the same few requests, in threads or processes, and note each
call with its times."""

import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from sqlalchemy import Connection

from lmeraser_ray.erasure.queue.lease import Lease
from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.repository import RequestRepository, require
from lmeraser_ray.erasure.requests.request import ErasureRequest, State
from lmeraser_ray.erasure.requests.transitions import ErasedRecord, Moved
from lmeraser_ray.errors import ConfigError, DataError, StaleEpochError
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.database import Database
from tests.support.children import wait_until
from tests.support.desk import Desk
from tests.support.linearizability import REFUSED, STALE, Call

QUOTA = 4
"""Unanswered requests that each submitter may have."""
AT_ONCE = 3
"""Open requests of one who waits for answers."""
VERBS = (*["submit", "look"] * 3, *["cancel", "extend", "retry"] * 2, "refuse")
STEPS: dict[State, Sequence[str]] = {
    State.RECEIVED: ("plan", "plan", "plan", "fail"),
    State.PLANNED: ("begin", "begin", "publish"),
    State.TRAINING: ("publish", "publish", "replan", "fail"),
    State.PUBLISHED: ("purge",),
    State.PURGED: ("certify",),
    State.FAILED: (),
}


@dataclass
class Notebook:
    """What one client asked and was answered. file: where each call is noted before and after it,
    for a client that may be killed."""

    client: str
    file: Path | None = None
    calls: list[Call] = field(default_factory=list)

    def ask(self, verb: str, key: str, do: Callable[[], object]) -> object:
        """Do something, and note it."""
        begun = Call(self.client, verb, key, time.monotonic_ns())
        self._write(begun)
        try:
            answer = do()
        except (ConfigError, DataError):
            answer = REFUSED
        except StaleEpochError:
            answer = STALE
        self.calls.append(replace(begun, returned=time.monotonic_ns(), answer=answer))
        self._write(self.calls[-1])
        return answer

    def _write(self, call: Call) -> None:
        if self.file:
            with self.file.open("a") as file:
                file.write(f"{json.dumps(asdict(call))}\n")

    @staticmethod
    def read(file: Path) -> list[Call]:
        """What was noted, each call as it was noted last."""
        found = [Call(**json.loads(line)) for line in file.read_text().splitlines()]
        return list({call.invoked: call for call in found}.values())


def seen(request: ErasureRequest) -> str:
    """A request as the model shows it."""
    return f"{request.state}{' extended' if request.extended_at else ''}"


def submitter_of(key: str) -> str:
    """Two people submit all requests."""
    return f"submitter-{int(key.rpartition('-')[2]) % 2}"


def client(
    desk: Desk, notebook: Notebook, seed: int, keys: Sequence[str], times: int
) -> list[Call]:
    """Ask at random about requests of these keys."""
    rng, requests = random.Random(seed), desk.requests()
    known: dict[str, str] = {}
    for _ in range(times):
        key, verb = rng.choice(keys), rng.choice(VERBS)
        if key not in known or verb == "submit":
            answer = notebook.ask("submit", key, lambda key=key: submit(requests, key))  # type: ignore[misc]
            if answer != REFUSED:
                known[key] = str(answer)
        else:
            do = DONE[verb]
            notebook.ask(verb, key, lambda do=do, key=key: seen(do(requests, known[key])))  # type: ignore[misc]
    return notebook.calls


def submit(requests: RequestRepository, key: str) -> str:
    """One record a request."""
    return requests.submit(
        [f"record of {key}"], [], key=key, submitter=submitter_of(key), quota=QUOTA
    ).id


DONE: dict[str, Callable[[RequestRepository, str], ErasureRequest]] = {
    "look": lambda requests, name: requests.get(name),
    "cancel": lambda requests, name: requests.cancel(name, "withdrawn"),
    "refuse": lambda requests, name: requests.refuse(name, "a legal hold"),
    "extend": lambda requests, name: requests.extend(name, 1, "many at once"),
    "retry": lambda requests, name: requests.retry(name),
}


def queue(desk: Desk, notebook: Notebook, seed: int, keys: Sequence[str], times: int) -> list[Call]:
    """Be a queue, without training: bring requests one step on, at random, and take the lease from
    the other queue now and then."""
    rng, database = random.Random(seed), desk.open()
    requests = RequestRepository(database, desk.names)
    key_of = {desk.names.hash("key", key): key for key in keys}
    lease = claim(database, notebook.client)
    wait_until(requests.list)  # else it may be through before the first is there
    for _ in range(times):
        if rng.random() < 0.1:
            lease = claim(database, notebook.client)
        found = [request for request in requests.list() if STEPS.get(request.state)]
        if not found:
            continue
        one = rng.choice(found)
        verb = rng.choice(STEPS[one.state])
        record = one.targets[0]
        erased = ErasedRecord(record.hash, record.name, b"needle")
        answer = notebook.ask(
            verb,
            key_of[one.idempotency or ""],
            lambda verb=verb, one=one, lease=lease, erased=erased: step(lease, verb, one, erased),  # type: ignore[misc]
        )
        if answer == STALE:
            lease = claim(database, notebook.client)
    return notebook.calls


def claim(database: Database, name: str) -> Lease:
    """Be the queue, whoever was."""
    return Lease.claim(database, name, timeout_s=60.0, force=True)


def step(lease: Lease, verb: str, request: ErasureRequest, erased: ErasedRecord) -> str:
    """One transition, in one transaction of the lease. Errors: `ConfigError` where the request was
    in another state."""
    with lease.write() as connection:
        moved = TAKEN[verb](connection, request.id, erased)
        if not moved.done:
            raise ConfigError("meanwhile")
        return seen(require(connection, request.id))


def purge(connection: Connection, name: str, _: ErasedRecord) -> Moved:
    """PUBLISHED → PURGED, with a statement."""
    moved = transitions.set_purged(connection, name, b"statement")
    transitions.wipe_names(connection, moved.done)
    return moved


def certify(connection: Connection, name: str, _: ErasedRecord) -> Moved:
    """PURGED → CERTIFIED, as the signer does it."""
    values = {"envelope": b"signed"}
    return transitions.move(connection, [name], [State.PURGED], State.CERTIFIED, values, {})


TAKEN: dict[str, Callable[[Connection, str, ErasedRecord], Moved]] = {
    "plan": lambda conn, name, erased: transitions.plan(conn, name, [erased], {}),
    "begin": lambda conn, name, _: transitions.begin_training(conn, [name]),
    "replan": lambda conn, name, _: transitions.replan(conn, [name]),
    "publish": lambda conn, name, _: transitions.set_published(conn, 1, [name]),
    "fail": lambda conn, name, _: transitions.fail(conn, name, "it failed"),
    "purge": purge,
    "certify": certify,
}


def play(
    act: Callable[..., list[Call]],
    desk: Desk,
    file: Path,
    seed: int,
    keys: Sequence[str],
    times: int,
) -> None:
    """Be a client or a queue in a process of its own."""
    act(desk, Notebook(file.name, file), seed, keys, times)


def ask(root: Path, file: Path, seed: int, ids: Sequence[str], times: int) -> None:
    """Ask for one or two of these records at a time, at random, a few requests open at once: each
    while another request is being proven, or nothing is going on. What was acknowledged is noted:
    the request, and what it names."""
    rng, session = random.Random(seed), Session(root)
    with session.database() as database, file.open("w") as notes:
        requests, mine = RequestRepository(database, session.names()), list[str]()
        for number in range(times):
            wait_until(lambda: is_moment(requests, mine), 600)
            mine[:] = [name for name in mine if is_open(requests, name)]
            names = rng.sample(list(ids), rng.choice((1, 1, 2)))
            made = requests.submit(names, [], key=f"{seed}-{number}", submitter="somebody")
            notes.write(f"{made.id} {' '.join(names)}\n")
            mine.append(made.id)


def is_moment(requests: RequestRepository, mine: Sequence[str]) -> bool:
    """Whether to ask for more."""
    if sum(is_open(requests, name) for name in mine) >= AT_ONCE:
        return False
    counts = requests.counts()
    return bool(counts[State.PUBLISHED]) or not any(counts[s] for s in State if s.is_open)


def is_open(requests: RequestRepository, name: str) -> bool:
    """Whether a request has no answer yet."""
    return requests.get(name).state.is_open
