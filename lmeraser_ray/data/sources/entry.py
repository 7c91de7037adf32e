"""What a source yields: a picture, or a record to be, whose bytes are not read yet.

Invariants: names and labels are clean (`data/ids`); `where` is fit for an error message; reading is
left to the caller, so that a skipped record's picture is never opened.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture without a class or a person. where: the file or row, for errors; read: fetches the
    encoded picture."""

    name: str
    where: str
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """A record as a source finds it. subject: the person, None where another rule decides; where:
    the file or row, for errors; read: fetches the encoded picture, called at most once; permanent:
    what a column says, None where there is none."""

    name: str
    label: str
    subject: str | None
    where: str
    read: Callable[[], bytes]
    permanent: bool | None = None


def place(path: Path | str) -> str:
    """A path as an error message shows it: on one line, whatever the name holds."""
    text = str(path)
    return text if text.isprintable() else ascii(text)
