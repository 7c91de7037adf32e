"""Deadlines as the GDPR counts them (art. 12(3)): calendar months, stored when they are set,
whatever the clock does later."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.request import ErasureRequest, State, extended, month_after
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.storage.times import from_text, to_text, utcnow
from tests.support.desk import Desk

MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("received", "month", "two_more"),
    [
        ("2026-01-15T10:00:00+00:00", "2026-02-15T10:00:00+00:00", "2026-04-15T10:00:00+00:00"),
        ("2026-01-31T23:59:59+00:00", "2026-02-28T23:59:59+00:00", "2026-04-28T23:59:59+00:00"),
        ("2028-01-31T00:00:00+00:00", "2028-02-29T00:00:00+00:00", "2028-04-29T00:00:00+00:00"),
        ("2026-12-31T12:00:00+00:00", "2027-01-31T12:00:00+00:00", "2027-03-31T12:00:00+00:00"),
        ("2026-08-30T12:00:00+00:00", "2026-09-30T12:00:00+00:00", "2026-11-30T12:00:00+00:00"),
    ],
)
def test_calendar_months(received: str, month: str, two_more: str) -> None:
    assert month_after(at(received)) == at(month)
    assert extended(at(received), 2) == at(two_more)


@given(MOMENTS)
def test_a_month_is_28_to_31_days(received: datetime) -> None:
    assert timedelta(28) <= month_after(received) - received <= timedelta(31)
    assert (
        timedelta(28 + 28)
        <= extended(received, 1) - received
        <= extended(received, 2) - received
        <= timedelta(31 * 3)
    )


@given(MOMENTS, MOMENTS)
def test_text_sorts_as_time_does(one: datetime, other: datetime) -> None:
    assert from_text(to_text(one)) == one
    assert (to_text(one) < to_text(other)) == (one < other)
    assert len(to_text(one)) == 27


def test_text_is_utc() -> None:
    east = timezone(timedelta(hours=9))
    assert to_text(datetime(2026, 1, 1, 8, 30, 0, 7, tzinfo=east)) == "2025-12-31T23:30:00.000007Z"


def submitted(desk: Desk, moment: datetime, due: datetime | None = None) -> ErasureRequest:
    return desk.requests(lambda: moment).submit(["a"], [], due=due)


def test_alerts_at_50_80_95_and_100_percent(lite: Desk) -> None:
    request = submitted(lite, at("2026-04-01T00:00:00+00:00"))  # 30 days
    days = {
        0: None,
        14.9: None,
        15: 50,
        23.9: 50,
        24: 80,
        28.4: 80,
        28.5: 95,
        29.9: 95,
        30: 100,
        400: 100,
    }
    assert {day: request.alert(request.received_at + timedelta(day)) for day in days} == days
    assert request.as_json(request.received_at + timedelta(25))["deadline"] == {
        "received": "2026-04-01T00:00:00.000000Z",
        "due": "2026-05-01T00:00:00.000000Z",
        "extended": None,
        "reason": None,
        "alert": 80,
    }


def test_an_answered_request_alerts_nobody(lite: Desk) -> None:
    request = submitted(lite, at("2026-04-01T00:00:00+00:00"))
    late = request.received_at + timedelta(99)
    with lite.open().write() as connection:
        transitions.fail(connection, request.id, "the disk")
    assert lite.requests().get(request.id).alert(late) == 100, "a failed one is not answered"
    assert lite.requests().refuse(request.id, "a court's order").alert(late) is None


def test_an_earlier_deadline_may_be_asked_for_and_no_later_one(desk: Desk) -> None:
    now = at("2026-01-31T12:00:00+00:00")
    assert submitted(desk, now, at("2026-02-03T00:00:00+01:00")).due_at == at(
        "2026-02-02T23:00:00+00:00"
    )
    assert submitted(desk, now, at("2026-02-28T12:00:00+00:00")).deadline == month_after(now)
    with pytest.raises(ConfigError, match="later than a month from now"):
        submitted(desk, now, at("2026-02-28T12:00:01+00:00"))
    for past in (now, now - timedelta(days=1)):
        with pytest.raises(ConfigError, match="is past"):
            submitted(desk, now, past)
    assert desk.count("requests") == 2


def test_an_extension_is_for_one_or_two_months_once_with_a_reason_within_the_first(
    desk: Desk,
) -> None:
    now = at("2026-01-31T12:00:00+00:00")
    request = submitted(desk, now)
    for months in (0, 3, -1):
        with pytest.raises(ConfigError, match=f"--months is {months}"):
            desk.requests().extend(request.id, months, "many requests")
    with pytest.raises(ConfigError, match="--reason is empty"):
        desk.requests(lambda: now).extend(request.id, 1, " ")
    with pytest.raises(ConfigError, match="only within the first month"):
        desk.requests(lambda: month_after(now) + timedelta(seconds=1)).extend(
            request.id, 1, "many requests"
        )
    found = desk.requests(lambda: month_after(now)).extend(request.id, 2, " many requests ")
    assert (found.due_at, found.extended_at) == (month_after(now), at("2026-04-28T12:00:00+00:00"))
    assert found.deadline == found.extended_at
    assert found.as_json(now)["deadline"] == {
        "received": "2026-01-31T12:00:00.000000Z",
        "due": "2026-02-28T12:00:00.000000Z",
        "extended": "2026-04-28T12:00:00.000000Z",
        "reason": "many requests",
        "alert": None,
    }
    with pytest.raises(ConfigError, match="was extended before"):
        desk.requests(lambda: now).extend(request.id, 1, "again")
    with pytest.raises(ConfigError, match="is CANCELLED"):
        other = submitted(desk, now)
        desk.requests().cancel(other.id, "withdrawn")
        desk.requests(lambda: now).extend(other.id, 1, "many requests")


@pytest.mark.parametrize("days", [40, -40])
def test_the_clock_moves_and_the_deadline_stands(desk: Desk, days: int) -> None:
    """Row 18: what was stored is not computed again."""
    with time_machine.travel(datetime(2026, 3, 10, 9, tzinfo=UTC), tick=False) as clock:
        request = desk.requests().submit(["a"], [], key="k")
        clock.shift(timedelta(days))
        found = desk.requests().get(request.id)
        assert found == request
        assert (found.received_at, found.deadline) == (
            datetime(2026, 3, 10, 9, tzinfo=UTC),
            datetime(2026, 4, 10, 9, tzinfo=UTC),
        )
        assert desk.requests().submit(["a"], [], key="k").deadline == request.deadline
        assert found.alert(utcnow()) == (100 if days > 0 else None)
        assert found.state is State.RECEIVED
        with desk.open().write() as connection:
            transitions.plan(connection, request.id, [], {})
        assert desk.requests().get(request.id).deadline == request.deadline
