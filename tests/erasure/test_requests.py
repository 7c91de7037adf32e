"""Requests: what `submit` stores and refuses, idempotency keys and quotas, lists and counts, and
the facts of each state."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.storage.database import ledger
from tests.support.desk import Desk
from tests.support.request_steps import act, kinds

S = State


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
        desk.names.hash("submitter", "me"),
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
    hashed = lite.names.hash("submitter", "someone")
    assert lite.requests().submit(["a"], []).submitter == hashed

    def nobody() -> str:
        raise OSError("no name")

    monkeypatch.setattr("getpass.getuser", nobody)
    made = lite.requests().submit(["a"], [])
    assert made.submitter == lite.names.hash("submitter", f"uid {os.getuid()}")


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
