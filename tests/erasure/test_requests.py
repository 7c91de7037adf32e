"""Requests: what people and the queue do with them, each guarded by the state that it starts from,
each in the ledger."""

import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, select

from lmeraser_ray.erasure.certificate import signer
from lmeraser_ray.erasure.certificate.dsse import SigningKey
from lmeraser_ray.erasure.requests import request as request_page
from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.request import ErasureRequest, State
from lmeraser_ray.erasure.requests.transitions import ErasedRecord, Moved
from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.tombstones import Tombstones, cover_hashes
from lmeraser_ray.storage.times import utcnow
from tests.support.desk import Desk

S = State


def act(desk: Desk, do: Callable[[Connection], object]) -> object:
    with desk.open().write() as connection:
        return do(connection)


def kinds(desk: Desk, request: str) -> list[str]:
    with desk.open().read() as connection:
        assert ledger.check(connection) == []
        return [entry.kind for entry in ledger.entries(connection) if entry.request == request]


def record(desk: Desk, name: str) -> ErasedRecord:
    return ErasedRecord(desk.names.hash("record", name), name, b"needle of " + name.encode())


def planned(
    desk: Desk,
    records: Sequence[str],
    subjects: Sequence[str] = (),
    erases: Sequence[str] | None = None,
) -> ErasureRequest:
    """A request that the queue has planned."""
    request = desk.requests().submit(records, subjects)
    rows = [record(desk, name) for name in (records if erases is None else erases)]
    assert act(desk, lambda c: transitions.plan(c, request.id, rows, {})) == Moved(
        (request.id,), ()
    )
    return desk.requests().get(request.id)


def certify(desk: Desk, request: str) -> None:
    """To the end, as the queue and the signer bring it there."""

    def end(connection: Connection) -> None:
        transitions.begin_training(connection, [request])
        transitions.set_published(connection, 1, [request])
        transitions.wipe_names(connection, [request])
        transitions.set_purged(connection, request, b"statement")
        transitions.move(
            connection, [request], [S.PURGED], S.CERTIFIED, {"envelope": b"signed"}, {}
        )

    act(desk, end)


# submitting


def test_what_submit_returns_is_what_is_stored(desk: Desk) -> None:
    now = datetime(2026, 5, 4, 3, 2, 1, 7, tzinfo=UTC)
    made = desk.requests(lambda: now).submit(
        ["b", "a", "b"], ["s"], submitter="me", quarantine=True
    )
    assert made == desk.requests().get(made.id)
    assert made.id.startswith("er-20260504-") and len(made.id) == len("er-20260504-") + 16
    assert (made.state, made.submitter, made.quarantine, made.received_at) == (
        S.RECEIVED,
        "me",
        True,
        now,
    )
    assert [(target.what, target.outcome) for target in made.targets] == [
        ("record", "open")
    ] * 2 + [("subject", "open")]
    assert {target.name: target.hash for target in made.targets} == {
        "a": desk.names.hash("record", "a"),
        "b": desk.names.hash("record", "b"),
        "s": desk.names.hash("subject", "s"),
    }
    assert kinds(desk, made.id) == ["RECEIVED"]


def test_nobody_is_named_in_the_ledger_and_in_json(desk: Desk) -> None:
    made = desk.requests().submit(["person-7"], ["person-8"], key="ticket-person-9")
    desk.requests().extend(made.id, 1, "person-7 is abroad")
    desk.requests().cancel(made.id, "person-8 asked")
    with desk.open().read() as connection:
        told = "".join(entry.text for entry in ledger.entries(connection))
    assert "person" not in told
    assert desk.names.hash("reason", "person-8 asked") in told
    assert "person" not in json.dumps(
        {**desk.requests().get(made.id).as_json(), "reason": "", "deadline": ""}
    )
    assert b"ticket-person-9" not in desk.bytes()


def test_the_submitter_is_the_user_unless_another_is_named(
    lite: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "someone")
    assert lite.requests().submit(["a"], []).submitter == "someone"

    def nobody() -> str:
        raise OSError("no name")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert lite.requests().submit(["a"], []).submitter.startswith("uid ")


@pytest.mark.parametrize("name", ["", " a", "a\n", "x" * 1025, "../a", "a\x00", "\udc80"])
def test_what_cannot_be_an_id_is_refused_at_once(desk: Desk, name: str) -> None:
    for records, subjects in (([name], []), ([], [name])):
        with pytest.raises(DataError, match=r"The request: the (record id|subject)"):
            desk.requests().submit(records, subjects)
    assert desk.count("requests") == 0


def test_nothing_named_is_refused(desk: Desk) -> None:
    with pytest.raises(ConfigError, match="Nothing to erase was named"):
        desk.requests().submit([], [])


def test_ids_are_compared_in_one_normal_form(desk: Desk) -> None:
    first = desk.requests().submit(["e\u0301"], [], key="k")
    assert desk.requests().submit(["\u00e9"], [], key="k").id == first.id
    assert first.targets[0].name == "\u00e9"


def test_one_key_is_one_request(desk: Desk) -> None:
    first = desk.requests().submit(["a", "b"], ["s"], key="k")
    act(desk, lambda c: transitions.plan(c, first.id, [], {}))
    again = desk.requests().submit(["b", "a"], ["s"], key="k", submitter="another", quota=1)
    assert (again.id, again.state) == (first.id, S.PLANNED)
    for records, subjects in ((["a"], ["s"]), (["a", "b", "s"], []), (["a", "b"], ["s", "t"])):
        with pytest.raises(
            ConfigError, match=f"--key was used for the request {first.id}, which names other ids"
        ):
            desk.requests().submit(records, subjects, key="k")
    assert desk.requests().submit(["a", "b"], ["s"]).id != first.id
    assert desk.count("requests") == 2


def test_a_quota_is_of_unanswered_requests_of_one_submitter(desk: Desk) -> None:
    requests = desk.requests()
    mine = [requests.submit([f"{i}"], [], submitter="me", quota=3, key=f"{i}") for i in range(3)]
    with pytest.raises(
        ConfigError, match=r"has 3 unanswered requests, the quota is 3 \(queue.quota\)"
    ):
        requests.submit(["x"], [], submitter="me", quota=3)
    assert requests.submit(["1"], [], submitter="me", quota=3, key="1").id == mine[1].id, (
        "a repetition is none more"
    )
    requests.submit(["x"], [], submitter="other", quota=3)
    requests.submit(["x"], [], submitter="me", quota=0)
    requests.cancel(mine[0].id, "withdrawn")
    requests.cancel(mine[1].id, "withdrawn")
    act(desk, lambda c: transitions.fail(c, mine[2].id, "x"))
    requests.submit(["y"], [], submitter="me", quota=3)
    with pytest.raises(ConfigError, match="has 3 unanswered"):
        requests.submit(["z"], [], submitter="me", quota=3)


# looking


def test_lists_and_counts(desk: Desk) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    made = [
        desk.requests(lambda i=i: start + timedelta(days=9 - i)).submit([f"{i}", "common"], [])
        for i in range(5)
    ]
    desk.requests().cancel(made[4].id, "withdrawn")
    requests = desk.requests()
    assert [found.id for found in requests.list()] == [request.id for request in reversed(made)]
    assert requests.list([S.RECEIVED], limit=2) == [
        requests.get(made[3].id),
        requests.get(made[2].id),
    ]
    assert requests.list([]) == []
    assert requests.counts() == {**dict.fromkeys(State, 0), S.RECEIVED: 4, S.CANCELLED: 1}
    assert requests.oldest_open() == made[3].received_at
    with pytest.raises(DataError, match="There is no erasure request 'er-0'"):
        requests.get("er-0")


def test_nothing_is_open_at_first(desk: Desk) -> None:
    assert desk.requests().oldest_open() is None
    assert desk.requests().list() == []


# states and their facts

FACTS_OF_STATES = {
    #                RECEIVED PLANNED TRAINING PUBLISHED PURGED CERTIFIED REFUSED CANCELLED FAILED
    "is_open":        "yes     yes     yes      yes       yes    -         -       -         -",
    "is_closed":      "-       -       -        -         -      yes       yes     yes       yes",
    "is_answered":    "-       -       -        -         -      yes       yes     yes       -",
    "is_begun":       "-       yes     yes      yes       yes    -         -       -         -",
    "is_in_work":     "-       yes     yes      -         -      -         -       -         -",
    "is_unpublished": "yes     yes     yes      -         -      -         -       -         -",
    "is_given_up":    "-       -       -        -         -      -         yes     yes       -",
    "keeps_names":    "yes     yes     yes      yes       -      -         -       -         yes",
}  # fmt: skip


@pytest.mark.parametrize("fact", FACTS_OF_STATES)
def test_each_state_knows_its_facts(fact: str) -> None:
    expected = dict(zip(State, FACTS_OF_STATES[fact].split(), strict=True))
    assert {state: "yes" if getattr(state, fact) else "-" for state in State} == expected
    assert State.where(lambda state: getattr(state, fact)) == tuple(
        state for state in State if expected[state] == "yes"
    )


def test_every_fact_of_a_state_is_in_the_table() -> None:
    assert {name for name in vars(State) if isinstance(vars(State)[name], property)} == set(
        FACTS_OF_STATES
    )


# the way of a request


def test_the_way_to_a_certificate(desk: Desk) -> None:
    request = planned(desk, ["a", "b"], ["s"], erases=["a", "s/1"])
    assert request.state is S.PLANNED and request.planned_at
    assert len(Tombstones(desk.names, desk.open())) == 4
    assert act(desk, lambda c: transitions.begin_training(c, [request.id, "er-x"])) == Moved(
        (request.id,), ("er-x",)
    )
    assert act(desk, lambda c: transitions.count_attempt(c, [request.id, "er-x", request.id])) == {
        request.id: 1
    }
    assert act(desk, lambda c: transitions.replan(c, [request.id])) == Moved((request.id,), ())
    act(desk, lambda c: transitions.begin_training(c, [request.id]))
    assert act(desk, lambda c: transitions.set_published(c, 7, [request.id])) == Moved(
        (request.id,), ()
    )
    assert act(desk, lambda c: transitions.wipe_names(c, [request.id])) == 5
    assert act(desk, lambda c: transitions.wipe_names(c, [request.id])) == 0
    assert act(desk, lambda c: transitions.set_purged(c, request.id, b"{}")) == Moved(
        (request.id,), ()
    )
    found = desk.requests().get(request.id)
    assert (found.state, found.publication, found.statement, found.attempts) == (
        S.PURGED,
        7,
        b"{}",
        1,
    )
    assert (
        found.received_at
        <= (found.planned_at or utcnow())
        <= (found.training_at or utcnow())
        <= (found.published_at or utcnow())
    )
    assert [(target.name, target.outcome) for target in found.targets] == [(None, "removed")] * 3
    with desk.open().read() as connection:
        assert [
            (row.name, row.needles, row.publication)
            for row in connection.execute(select(tables.erased))
        ] == [(None, None, 7)] * 2
    assert kinds(desk, request.id) == [
        "RECEIVED",
        "PLANNED",
        "TRAINING",
        "PLANNED",
        "TRAINING",
        "PUBLISHED",
        "PURGED",
    ]


def test_outcomes_of_the_plan_are_kept(desk: Desk) -> None:
    request = desk.requests().submit(["old", "new"], [])
    old = ("record", desk.names.hash("record", "old"))
    act(desk, lambda c: transitions.plan(c, request.id, [record(desk, "new")], {old: "already"}))
    act(desk, lambda c: transitions.set_published(c, 1, [request.id]))
    outcomes = {target.name: target.outcome for target in desk.requests().get(request.id).targets}
    assert outcomes == {"old": "already", "new": "removed"}
    assert desk.requests().get(request.id).as_json()["targets"] == {"already": 1, "removed": 1}
    assert len(Tombstones(desk.names, desk.open())) == 1


def test_unknown_ids_are_refused_by_the_queue(desk: Desk) -> None:
    request = desk.requests().submit(["nobody", "a"], [])
    unknown = ("record", desk.names.hash("record", "nobody"))
    assert act(
        desk,
        lambda c: transitions.refuse_unknown(c, request.id, "1 unknown id", {unknown: "unknown"}),
    ) == Moved((request.id,), ())
    found = desk.requests().get(request.id)
    assert (found.state, found.reason, found.closed_at is not None) == (
        S.REFUSED,
        "1 unknown id",
        True,
    )
    assert sorted((target.name, target.outcome) for target in found.targets) == [
        (None, "open"),
        (None, "unknown"),
    ]
    assert len(Tombstones(desk.names, desk.open())) == 0
    assert kinds(desk, request.id) == ["RECEIVED", "REFUSED"]


def test_a_failed_request_keeps_its_names_and_may_be_tried_again(desk: Desk) -> None:
    request = planned(desk, ["a"])
    act(desk, lambda c: transitions.count_attempt(c, [request.id]))
    assert act(
        desk, lambda c: transitions.fail(c, request.id, "the shard cannot be trained")
    ) == Moved((request.id,), ())
    failed = desk.requests().get(request.id)
    assert (failed.state, failed.reason, failed.targets[0].name) == (
        S.FAILED,
        "the shard cannot be trained",
        "a",
    )
    assert failed.closed_at
    again = desk.requests().retry(request.id)
    assert (again.state, again.attempts, again.reason, again.closed_at) == (
        S.RECEIVED,
        0,
        None,
        None,
    )
    assert act(
        desk, lambda c: transitions.plan(c, request.id, [record(desk, "a"), record(desk, "b")], {})
    ) == Moved((request.id,), ())
    assert desk.count("erased") == 2
    with pytest.raises(ConfigError, match="is PLANNED: only from FAILED it can become RECEIVED"):
        desk.requests().retry(request.id)


@pytest.mark.parametrize("needles", [b"needle of a", b"another"])
def test_a_record_that_came_back_meanwhile_leaves_again(desk: Desk, needles: bytes) -> None:
    """It had left, was let in again with its picture or another one, and the request is tried
    again: it leaves, both are looked for."""
    request = planned(desk, ["a", "b"])
    act(desk, lambda c: c.execute(tables.erased.update().values(publication=7)))
    act(desk, lambda c: transitions.fail(c, request.id, "x"))
    desk.requests().retry(request.id)
    back = replace(record(desk, "a"), traces=needles)
    act(desk, lambda c: transitions.plan(c, request.id, [back], {}))
    with desk.open().read() as connection:
        found = {
            row.name: (row.publication, bytes(row.needles))
            for row in connection.execute(select(tables.erased))
        }
    both = b"needle of a" if needles == b"needle of a" else b"needle of a" + needles
    assert found == {"a": (None, both), "b": (7, b"needle of b")}


GUARDED: dict[str, tuple[set[State], Callable[[Connection, str], Moved]]] = {
    "plan": ({S.RECEIVED}, lambda c, name: transitions.plan(c, name, [], {})),
    "refuse_unknown": ({S.RECEIVED}, lambda c, name: transitions.refuse_unknown(c, name, "x", {})),
    "begin_training": ({S.PLANNED}, lambda c, name: transitions.begin_training(c, [name])),
    "replan": ({S.TRAINING}, lambda c, name: transitions.replan(c, [name])),
    "set_published": (
        {S.PLANNED, S.TRAINING},
        lambda c, name: transitions.set_published(c, 1, [name]),
    ),
    "set_purged": ({S.PUBLISHED}, lambda c, name: transitions.set_purged(c, name, b"")),
    "fail": ({S.RECEIVED, S.PLANNED, S.TRAINING}, lambda c, name: transitions.fail(c, name, "x")),
    "fail_purged": ({S.PURGED}, lambda c, name: transitions.fail_purged(c, [name], "x")),
}


@pytest.mark.parametrize("name", GUARDED)
def test_each_transition_guards_the_state_that_it_starts_from(lite: Desk, name: str) -> None:
    """What another has moved is not touched, and nothing is told of it."""
    sources, do = GUARDED[name]
    for state in State:
        request = lite.requests().submit([str(state)], [])
        act(
            lite, lambda c, i=request.id, s=state: transitions.move(c, [i], [S.RECEIVED], s, {}, {})
        )  # type: ignore[misc]
        before, count = lite.requests().get(request.id), lite.count("ledger")
        moved = act(lite, lambda c, i=request.id: do(c, i))  # type: ignore[misc]
        if state in sources:
            assert moved == Moved((request.id,), ())
            assert lite.count("ledger") == count + 1
        else:
            assert moved == Moved((), (request.id,))
            assert (lite.requests().get(request.id), lite.count("ledger")) == (before, count)
    assert lite.count("erased") == 0


def table_of_transitions() -> dict[str, tuple[set[str], str]]:
    """The table in the docstring of `request.py`: function → from which states, to which."""
    rows = re.findall(
        r"^ {4}(\(new\)|[A-Z, ]+?) {2,}([A-Z]+) +(?:submitter|queue|signer|operator) +(\S+)$",
        request_page.__doc__ or "",
        re.MULTILINE,
    )
    return {function: (set(sources.split(", ")), goal) for sources, goal, function in rows}


def test_the_table_of_transitions_is_true(lite: Desk) -> None:
    """Each row is what its function does, and no function is left out."""
    table = table_of_transitions()
    people: dict[str, Callable[[str], object]] = {
        "RequestRepository.cancel": lambda name: lite.requests().cancel(name, "x"),
        "RequestRepository.refuse": lambda name: lite.requests().refuse(name, "x"),
        "RequestRepository.retry": lambda name: lite.requests().retry(name),
        "signer.certify": lambda name: signer.certify(
            lite.open(), name, b"", SigningKey(Ed25519PrivateKey.generate())
        ),
    }
    queue = {f"transitions.{name}": do for name, (_, do) in GUARDED.items()}
    assert set(table) == {*people, *queue, "RequestRepository.submit"}
    for function, (sources, goal) in table.items():
        for state in State if function != "RequestRepository.submit" else ():
            name = lite.requests().submit([function], []).id
            act(
                lite,
                lambda c, i=name, s=state: transitions.move(c, [i], [S.RECEIVED], s, {}, {}),  # type: ignore[misc]
            )
            with suppress(ConfigError):
                if function in people:
                    people[function](name)
                else:
                    act(lite, lambda c, do=queue[function], i=name: do(c, i))  # type: ignore[misc]
            expected = goal if state in sources else state
            assert lite.requests().get(name).state == expected, (function, state)


def test_attempts_are_counted_of_what_is_worked_on(lite: Desk) -> None:
    made = {}
    for state in State:
        made[state] = lite.requests().submit([str(state)], []).id
        act(lite, lambda c, s=state: transitions.move(c, [made[s]], [S.RECEIVED], s, {}, {}))  # type: ignore[misc]
    counted = act(lite, lambda c: transitions.count_attempt(c, list(made.values())))
    assert counted == {made[S.PLANNED]: 1, made[S.TRAINING]: 1}


def test_many_at_once_are_more_than_one_statement(lite: Desk) -> None:
    count = transitions.CHUNK * 2 + 1
    requests = lite.requests()
    ids = [requests.submit([f"{i}"], []).id for i in range(3)] + [f"er-{i}" for i in range(count)]
    moved = act(lite, lambda c: transitions.set_published(c, 1, ids))
    assert moved == Moved((), tuple(ids))
    act(lite, lambda c: [transitions.plan(c, name, [], {}) for name in ids[:3]])
    moved = act(lite, lambda c: transitions.set_published(c, 1, [*ids[3:], *ids[:3]]))
    assert moved == Moved(tuple(ids[:3]), tuple(ids[3:]))


# people


def test_cancelling_is_for_what_nobody_has_looked_at(desk: Desk) -> None:
    request = desk.requests().submit(["a"], ["s"])
    found = desk.requests().cancel(request.id, " withdrawn ")
    assert (found.state, found.reason) == (S.CANCELLED, "withdrawn")
    assert {target.name for target in found.targets} == {None}
    other = planned(desk, ["a"])
    with pytest.raises(ConfigError, match="is PLANNED: only from RECEIVED it can become CANCELLED"):
        desk.requests().cancel(other.id, "withdrawn")
    assert desk.requests().get(other.id) == other
    with pytest.raises(ConfigError, match="--reason is empty"):
        desk.requests().cancel(request.id, "  ")
    with pytest.raises(DataError, match="no erasure request"):
        desk.requests().cancel("er-0", "x")


@pytest.mark.parametrize("state", [S.RECEIVED, S.PLANNED, S.FAILED])
def test_refusing_takes_names_and_tombstones_back(desk: Desk, state: State) -> None:
    long_ago = Tombstones(desk.names, desk.open()).hashed(["long ago"], ["s"])
    with desk.open().write() as connection:
        cover_hashes(connection, long_ago)
    request = (
        desk.requests().submit(["a"], ["s"])
        if state is S.RECEIVED
        else planned(desk, ["a"], ["t"], erases=["a", "t/1"])
    )
    if state is S.FAILED:
        act(desk, lambda c: transitions.fail(c, request.id, "x"))
    found = desk.requests().refuse(request.id, "a court's order")
    assert (found.state, found.reason, {target.name for target in found.targets}) == (
        S.REFUSED,
        "a court's order",
        {None},
    )
    stones = Tombstones(desk.names, desk.open())
    assert (
        len(stones) == 2 and stones.covers("record", "long ago") and stones.covers("subject", "s")
    )
    with desk.open().read() as connection:
        assert {(row.name, row.needles) for row in connection.execute(select(tables.erased))} <= {
            (None, None)
        }
    for closed in (request.id, request.id):
        with pytest.raises(
            ConfigError, match="is REFUSED: only from RECEIVED or PLANNED or FAILED"
        ):
            desk.requests().refuse(closed, "again")


@pytest.mark.parametrize("state", [S.TRAINING, S.PUBLISHED, S.PURGED, S.CERTIFIED, S.CANCELLED])
def test_what_goes_on_is_not_refused(lite: Desk, state: State) -> None:
    request = lite.requests().submit(["a"], [])
    act(lite, lambda c: transitions.move(c, [request.id], [S.RECEIVED], state, {}, {}))
    with pytest.raises(ConfigError, match=f"is {state}: only from"):
        lite.requests().refuse(request.id, "a court's order")


@pytest.mark.parametrize(
    "other", ["planned", "certified", "failed", "refused", "received", "tried again"]
)
def test_a_tombstone_that_another_request_needs_stays(desk: Desk, other: str) -> None:
    """Both name a, by its own id or as one of its subject's."""
    second = (
        desk.requests().submit([], ["s"])
        if other == "received"
        else planned(desk, [], ["s"], erases=["a", "c"])
    )
    if other == "certified":
        certify(desk, second.id)
    if other in ("failed", "tried again"):
        act(desk, lambda c: transitions.fail(c, second.id, "x"))
    if other == "tried again":
        desk.requests().retry(second.id)
    if other == "refused":
        desk.requests().refuse(second.id, "x")
    first = planned(desk, ["a", "b"])
    desk.requests().refuse(first.id, "a court's order")
    stones = Tombstones(desk.names, desk.open())
    needed = other in ("planned", "certified", "failed", "tried again")
    assert not stones.covers("record", "b")
    assert (
        stones.covers("record", "a")
        == stones.covers("record", "c")
        == stones.covers("subject", "s")
        == needed
    )


def test_two_that_want_the_same_request_at_once(desk: Desk) -> None:
    """The queue plans while a person refuses: one of them wins, and the other is told."""
    request = desk.requests().submit(["a"], [])
    desk.requests().refuse(request.id, "a court's order")
    assert act(desk, lambda c: transitions.plan(c, request.id, [record(desk, "a")], {})) == Moved(
        (), (request.id,)
    )
    assert (desk.count("erased"), desk.count("tombstones")) == (0, 0)


def test_a_reason_that_fails_leaves_all_as_it_was(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """State, tombstones, names and ledger are of one transaction."""
    request = planned(desk, ["a"])
    before = desk.count("ledger")

    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("lmeraser_ray.storage.database.database.committing", fail)
    with pytest.raises(ZeroDivisionError):
        desk.requests().refuse(request.id, "a court's order")
    monkeypatch.undo()
    assert desk.requests().get(request.id) == request
    assert (desk.count("ledger"), desk.count("tombstones")) == (before, 1)


def test_wiped_names_are_in_no_byte(desk: Desk) -> None:
    """Of many requests of very different lengths, wiped in another order than they came in: the
    names, and the needles."""
    requests, ids = desk.requests(), []
    for i in range(60):
        names = [f"canary-{i}-{j}-{'é' * (i * 7 % 40)}" for j in range(1 + i % 4)]
        ids.append(requests.submit(names, [f"canary-subject-{i}"]).id)
        rows = [
            ErasedRecord(desk.names.hash("record", name), name, b"canary" * 9) for name in names
        ]
        act(desk, lambda c, i=i, rows=rows: transitions.plan(c, ids[i], rows, {}))  # type: ignore[misc]
    assert b"canary" in desk.bytes()
    for part in (ids[::3], ids[1::3], ids[2::3]):
        act(desk, lambda c, part=part: transitions.wipe_names(c, part))  # type: ignore[misc]
    desk.open().vacuum_names()
    assert b"canary" not in desk.bytes()


def analyze(connection: Connection) -> None:
    """What the server does by itself now and then: it keeps common values of each column."""
    for table in (tables.targets, tables.erased):
        connection.exec_driver_sql(f"ANALYZE {table.name}")


def kept_values(connection: Connection) -> set[tuple[str, str]]:
    found = connection.exec_driver_sql(
        "SELECT tablename, attname FROM pg_stats WHERE schemaname = current_schema() "
        "AND attname IN ('name', 'needles')"
    )
    return {(row[0], row[1]) for row in found}


@pytest.mark.parametrize("made_by", ["this version", "0.4.0"])
def test_the_servers_statistics_keep_no_names(
    tmp_path: Path, postgresql: str, made_by: str
) -> None:
    """A database of 0.4.0 may have them already; they go when names are wiped."""
    desk = Desk(tmp_path / "desk", postgresql)
    opened = desk.open()
    if made_by == "0.4.0":
        with opened.write() as connection:
            for table, column in (("targets", "name"), ("erased", "name"), ("erased", "needles")):
                connection.exec_driver_sql(
                    f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS -1"
                )
    request = planned(desk, [f"statistic-{i}" for i in range(60)])
    act(desk, analyze)
    with opened.read() as connection:
        assert len(kept_values(connection)) == (3 if made_by == "0.4.0" else 0)
    act(desk, lambda c: transitions.wipe_names(c, [request.id]))
    opened.vacuum_names()
    act(desk, analyze)
    with opened.read() as connection:
        assert kept_values(connection) == set()
    if made_by == "this version":
        assert b"statistic-" not in desk.bytes()
