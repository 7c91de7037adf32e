"""The retention period of tombstones: announced, then removed; never of an open request, never at
one look, whatever the clock does."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.erasure.requests.retention import expire, expired_until, retention
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.tombstones import cover_hashes
from lmeraser_ray.storage.times import to_text
from tests.support.desk import Desk
from tests.support.request_steps import act, planned
from tests.support.tombstones import held

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 30
DAY = timedelta(days=1)


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=False) as found:
        yield found


def cover(desk: Desk, *hashes: str) -> None:
    with desk.open().write() as connection:
        cover_hashes(connection, hashes, secret=1, at=to_text(datetime.now(UTC)))


def look(desk: Desk, days: int | None = DAYS) -> int:
    database = desk.open()
    return expire(database, days, database.write)


def kinds(desk: Desk) -> list[tuple[str, object]]:
    with desk.open().read() as connection:
        return [(one.kind, one.facts.get("tombstones")) for one in ledger.entries(connection)]


def test_what_is_too_old_is_announced_and_a_day_later_gone(
    desk: Desk, clock: time_machine.Traveller
) -> None:
    cover(desk, "a", "b")
    clock.shift(10 * DAY)
    cover(desk, "c")
    assert look(desk) == 0
    assert kinds(desk) == []
    clock.shift(21 * DAY)  # a and b are 31 days old, c is 21
    assert look(desk) == 0
    assert held(desk) == {"a", "b", "c"}
    assert kinds(desk) == [("EXPIRING", 2)]
    clock.shift(DAY - timedelta(seconds=1))
    assert look(desk) == 0
    clock.shift(timedelta(seconds=1))
    assert look(desk) == 2
    assert held(desk) == {"c"}
    assert kinds(desk) == [("EXPIRING", 2), ("EXPIRED", 2)]
    assert look(desk) == 0
    with desk.open().read() as connection:
        assert expired_until(connection) == to_text(START + DAY)


def test_without_a_period_nothing_ever_goes(desk: Desk, clock: time_machine.Traveller) -> None:
    cover(desk, "a")
    for _ in range(3):
        clock.shift(40_000 * DAY / 10)
        assert look(desk, None) == 0
    assert held(desk) == {"a"}
    assert kinds(desk) == []


def test_a_clock_that_jumps_forward_removes_nothing(
    desk: Desk, clock: time_machine.Traveller
) -> None:
    """Years ahead for a moment: it announces, which an operator sees, and nothing more. Right
    again, nothing is too old; and what is announced from a wrong future is void."""
    cover(desk, "a")
    clock.shift(4000 * DAY)
    assert look(desk) == 0
    assert look(desk) == 0
    clock.move_to(START + 2 * DAY)
    assert look(desk) == 0
    assert held(desk) == {"a"}
    clock.move_to(START + 31 * DAY)
    assert look(desk) == 0
    assert kinds(desk) == [("EXPIRING", 1), ("EXPIRING", 1)]
    clock.shift(DAY)
    assert look(desk) == 1


def test_a_longer_period_voids_an_announcement(desk: Desk, clock: time_machine.Traveller) -> None:
    cover(desk, "a")
    clock.shift(20 * DAY)
    cover(desk, "b")
    clock.shift(35 * DAY)  # a is 55 days old, b is 35
    assert look(desk, 30) == 0
    clock.shift(2 * DAY)
    assert look(desk, 50) == 0  # announced again: up to an earlier moment
    assert held(desk) == {"a", "b"}
    clock.shift(DAY)
    assert look(desk, 50) == 1
    assert held(desk) == {"b"}


@pytest.mark.parametrize("state", [s for s in State if s.is_begun or s is State.FAILED])
def test_tombstones_of_an_unanswered_request_stay(
    desk: Desk, clock: time_machine.Traveller, state: State
) -> None:
    request = planned(desk, ["a"], ["s"], erases=["a", "s/1"])
    bring_to(desk, request.id, state)
    before = held(desk)
    assert before
    for _ in range(3):
        clock.shift(100 * DAY)
        assert look(desk) == 0
    assert held(desk) == before
    assert [kind for kind, _ in kinds(desk) if kind.startswith("EXPIR")] == []


def bring_to(desk: Desk, request: str, state: State) -> None:
    if state is State.FAILED:
        act(desk, lambda c: transitions.fail(c, request, "x"))
    if state in (State.TRAINING, State.PUBLISHED, State.PURGED):
        act(desk, lambda c: transitions.begin_training(c, [request]))
    if state in (State.PUBLISHED, State.PURGED):
        act(desk, lambda c: transitions.set_published(c, 1, [request]))
    if state is State.PURGED:
        act(desk, lambda c: transitions.set_purged(c, request, b"{}"))


def test_erased_again_is_kept_from_then_on(desk: Desk, clock: time_machine.Traveller) -> None:
    cover(desk, "a")
    clock.shift(25 * DAY)
    cover(desk, "a")
    clock.shift(10 * DAY)
    assert look(desk) == 0
    assert kinds(desk) == []


def test_nothing_is_removed_where_the_transaction_fails(
    desk: Desk, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    cover(desk, "a")
    clock.shift(31 * DAY)
    look(desk)
    clock.shift(DAY)
    from lmeraser_ray.erasure.requests import retention as module

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(module.ledger, "append", fail)
    with pytest.raises(ZeroDivisionError):
        look(desk)
    monkeypatch.undo()
    assert held(desk) == {"a"}
    assert look(desk) == 1


def test_what_goes_when_is_said(desk: Desk, clock: time_machine.Traveller) -> None:
    cover(desk, "a")
    clock.shift(10 * DAY)
    cover(desk, "b")
    clock.shift(21 * DAY)
    look(desk)
    with desk.open().read() as connection:
        seen, never = retention(connection, DAYS), retention(connection, None)
    assert (seen.tombstones, seen.due, seen.days) == (2, 1, DAYS)
    assert seen.next == START + 40 * DAY
    assert seen.announced == START + DAY
    assert seen.line() == (
        "2 tombstones, kept 30 days; the next is due on 2026-02-10; 1 past that: they go a day "
        "after the announcement"
    )
    assert never.line() == "2 tombstones, kept as long as the workspace"
    assert never.as_json()["next"] is None


def test_the_bytes_of_what_was_removed_are_gone(desk: Desk, clock: time_machine.Traveller) -> None:
    stone = "5e" * 32
    cover(desk, stone)
    assert stone.encode() in desk.bytes()
    clock.shift(31 * DAY)
    look(desk)
    clock.shift(DAY)
    assert look(desk) == 1
    assert stone.encode() not in desk.bytes()
