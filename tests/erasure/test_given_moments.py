"""Moments and durations that a person gives: of any year, in any zone, also those that clocks skip.
What cannot be used is refused in a sentence, and never a traceback."""

import math
from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lmeraser_ray.cli.requests import duration, moment
from lmeraser_ray.config.queue import QueueConfig
from lmeraser_ray.erasure.requests.submission import deadline_of
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.operations.requests import wait
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.times import from_text, in_utc, typed_moment

NOW = datetime(2028, 2, 10, 9, tzinfo=UTC)
OFFSETS = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda m: timezone(timedelta(minutes=m)))
ENDS = [
    "9999-12-31T23:59:59-12:00",
    "9999-12-31T23:59:59.999999-23:59",
    "9999-12-31T23:59:59",
    "9999-12-31",
    "0001-01-01T00:00:00+12:00",
    "0001-01-01",
]


@given(st.datetimes(), OFFSETS | st.none())
def test_any_moment_is_in_utc_or_refused(naive: datetime, zone: timezone | None) -> None:
    for given_ in (naive, naive.replace(tzinfo=zone)):
        try:
            found = typed_moment(given_)
        except ValueError as error:
            assert str(given_.year) in str(error) or "does not exist" in str(error)
        else:
            assert found.utcoffset() == timedelta(0)
        with pytest.raises(ConfigError, match=r"--due .*: give a moment up to 2028-03-10"):
            deadline_of(NOW, given_.replace(year=max(2029, given_.year), day=1))


@pytest.mark.parametrize("text", ENDS)
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC"])
def test_the_ends_of_time(text: str, zone: str) -> None:
    """On the command line, wherever it is typed."""
    with time_machine.travel(NOW.astimezone(ZoneInfo(zone))):
        try:
            found = moment(text)
        except ArgumentTypeError as error:
            assert "outside of the years 1 to 9999" in str(error)
        else:
            with pytest.raises(ConfigError, match=r"--due .* is (past|later)"):
                deadline_of(NOW, found)


@pytest.mark.parametrize(
    "text", ["2026-12-24T12:00:60Z", "2026-02-29", "2026-13-01", "tomorrow", "", "2026-12-24T25:00"]
)
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(Exception, match="is no date such as"):
        moment(text)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2028-02-29", "2028-02-29T00:00:00+00:00"),
        ("2028-02-29T23:30:00-01:00", "2028-03-01T00:30:00+00:00"),
        ("2028-02-29T12:00:00+14:00", "2028-02-28T22:00:00+00:00"),
        ("20280229T120000Z", "2028-02-29T12:00:00+00:00"),
    ],
)
def test_leap_days_and_zones(text: str, utc: str) -> None:
    with time_machine.travel(NOW.astimezone(ZoneInfo("UTC"))):
        assert moment(text) == datetime.fromisoformat(utc)
        assert deadline_of(NOW, moment(text)) == datetime.fromisoformat(utc)


def test_hours_that_clocks_skip_or_repeat() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    with pytest.raises(ValueError, match="does not exist in its time zone"):
        typed_moment(datetime(2028, 3, 26, 2, 30, tzinfo=berlin))
    twice = datetime(2027, 10, 31, 2, 30, tzinfo=berlin)
    assert typed_moment(twice) == datetime(2027, 10, 31, 0, 30, tzinfo=UTC)
    assert typed_moment(twice.replace(fold=1)) == datetime(2027, 10, 31, 1, 30, tzinfo=UTC)


def test_a_deadline_is_the_given_moment_in_utc() -> None:
    east = timezone(timedelta(hours=9))
    found = deadline_of(NOW, datetime(2028, 2, 20, 3, tzinfo=east))
    assert (found, found.tzinfo) == (datetime(2028, 2, 19, 18, tzinfo=UTC), UTC)
    assert deadline_of(NOW, None) == datetime(2028, 3, 10, 9, tzinfo=UTC)


def test_moments_of_foreign_files() -> None:
    for text in ENDS[:2]:
        with pytest.raises(ValueError, match="outside of the years"):
            from_text(text)
    assert in_utc(NOW) == NOW


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "-inf", "1e999", "soon", ""])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(Exception, match="no number of seconds"):
        duration(text)
    assert duration("2.5") == 2.5


@pytest.mark.parametrize("seconds", [math.nan, -1.0])
def test_a_wait_that_never_ends(tmp_path, seconds: float) -> None:
    with pytest.raises(ConfigError, match="timeout_s"):
        wait(Session(tmp_path), "er-1", timeout_s=seconds)


@pytest.mark.parametrize("field", ["window", "lease", "poll"])
def test_seconds_that_no_clock_takes(field: str) -> None:
    """`timedelta`, `poll(2)` and locks have limits; those of the fields are below."""
    with pytest.raises(ValidationError):
        QueueConfig.model_validate({field: 1e15})
