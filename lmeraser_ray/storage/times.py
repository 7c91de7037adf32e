"""Times as the request database and certificates store them: UTC in ISO 8601 with microseconds and
Z, so that sorting the text sorts the times."""

from datetime import UTC, datetime


def utcnow() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)


def to_text(moment: datetime) -> str:
    """A moment as text, such as `2026-01-31T12:00:00.000000Z`. One without a time zone is taken as
    local time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def from_text(text: str) -> datetime:
    """What `to_text` wrote, as an aware datetime in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)
