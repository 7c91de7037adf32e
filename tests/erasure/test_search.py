"""A list of requests by filters, and the history of one."""

from datetime import UTC, datetime, timedelta

import pytest

from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.erasure.requests.search import RequestSearch
from lmeraser_ray.errors import DataError
from tests.support.desk import Desk
from tests.support.request_steps import act

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def made(desk: Desk) -> list[str]:
    """Five requests, one a day; the last one is cancelled."""
    ids = [
        desk.requests(lambda at=at: START + at * DAY)
        .submit([f"{at}"], [], key=f"ticket {at}", submitter="ann" if at % 2 else "bob")
        .id
        for at in range(5)
    ]
    desk.requests().cancel(ids[4], "withdrawn")
    return ids


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (RequestSearch(), [4, 3, 2, 1, 0]),
        (RequestSearch(states=(State.RECEIVED,)), [3, 2, 1, 0]),
        (RequestSearch(states=(State.CANCELLED, State.FAILED)), [4]),
        (RequestSearch(key="ticket 2"), [2]),
        (RequestSearch(key="ticket"), []),
        (RequestSearch(submitter="ann"), [3, 1]),
        (RequestSearch(since=START + DAY, until=START + 3 * DAY), [2, 1]),
        (RequestSearch(due=START + 32 * DAY), [1, 0]),
        (RequestSearch(submitter="bob", states=(State.CANCELLED,)), [4]),
        (RequestSearch(id="20260104"), [3]),
        (RequestSearch(id="%"), []),
    ],
)
def test_filters(desk: Desk, made: list[str], asked: RequestSearch, found: list[int]) -> None:
    assert [each.id for each in desk.requests().search(asked)] == [made[at] for at in found]


def test_an_extended_request_is_due_later(desk: Desk) -> None:
    now = START + 9 * DAY
    mine = desk.requests(lambda: now).submit(["a"], [])
    desk.requests(lambda: now).extend(mine.id, 2, "many at once")
    assert desk.requests().search(RequestSearch(due=mine.due_at)) == []


def test_the_newest_come_first(desk: Desk, made: list[str]) -> None:
    assert [each.id for each in desk.requests().search(RequestSearch(), 2)] == [made[4], made[3]]


def test_a_history_has_each_state_as_often_as_it_was_entered(desk: Desk) -> None:
    made = desk.requests().submit(["a"], [])
    desk.requests().submit(["other"], [])
    act(desk, lambda conn: transitions.plan(conn, made.id, [], {}))
    act(desk, lambda conn: transitions.fail(conn, made.id, "Its retrain failed."))
    desk.requests().extend(made.id, 1, "many at once")
    desk.requests().retry(made.id)
    told = desk.requests().history(made.id)
    assert [event.what for event in told] == [
        "received",
        "planned",
        "failed",
        "extended",
        "received",
    ]
    assert {event.request for event in told} == {made.id}
    assert sorted(event.at for event in told) == [event.at for event in told]
    with pytest.raises(DataError, match="no erasure request"):
        desk.requests().history("er-0")
