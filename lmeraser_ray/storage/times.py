"""Times as the request database and certificates store them: UTC in ISO 8601 with microseconds and
Z, so that sorting the text sorts the times."""

from datetime import UTC, datetime


def utcnow() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)


def to_text(moment: datetime) -> str:
    """A moment as text, such as `2026-01-31T12:00:00.000000Z`. One without a time zone is taken as
    local time. Errors: as `in_utc`."""
    return in_utc(moment).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def from_text(text: str) -> datetime:
    """What `to_text` wrote, as an aware datetime in UTC. Errors: `ValueError`."""
    return in_utc(datetime.fromisoformat(text))


def in_utc(moment: datetime) -> datetime:
    """The moment in UTC; one without a time zone is taken as local time. Errors: `ValueError` where
    UTC has no such year, 1 to 9999."""
    try:
        return moment.astimezone(UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise ValueError(
            f"{moment.isoformat()} is outside of the years 1 to 9999 in UTC"
        ) from error


def typed_moment(moment: datetime) -> datetime:
    """A moment that a person gave, in UTC. Errors: `ValueError` as `in_utc`, and where clocks skip
    it: an hour of spring that does not exist. Of an hour that comes twice, the first is meant."""
    found = in_utc(moment)
    zone = None if moment.utcoffset() is None else moment.tzinfo
    try:
        same = found.astimezone(zone).replace(tzinfo=None) == moment.replace(tzinfo=None)
    except (OverflowError, ValueError, OSError):  # at the end of time clocks skip nothing
        return found
    if not same:
        raise ValueError(
            f"{moment.isoformat()} does not exist in its time zone, where clocks go forward then: "
            "give a moment with its offset, such as +01:00"
        )
    return found
