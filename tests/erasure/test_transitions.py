"""The way of a request to its certificate: each transition is guarded by the state that it starts
from and is in the ledger, and the table in `request.py` is true."""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, select

from lmeraser_ray.erasure.certificate import signer
from lmeraser_ray.erasure.certificate.dsse import SigningKey
from lmeraser_ray.erasure.requests import request as request_page
from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.erasure.requests.transitions import Moved
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.storage.database import tables
from lmeraser_ray.storage.database.tombstones import Tombstones
from lmeraser_ray.storage.times import utcnow
from tests.support.desk import Desk
from tests.support.request_steps import act, kinds, planned, record

S = State


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
