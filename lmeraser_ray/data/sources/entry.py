"""What a source says of a picture, or of one record, before anybody has looked at the picture."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it is found, of no class and of nobody. `name` is clean; `where` is for errors;
    `read` fetches the encoded picture."""

    name: str
    where: str
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """A record as a source finds it. `name` and `label` are clean; `read` fetches the encoded
    picture and is called at most once."""

    name: str
    label: str
    subject: str | None
    where: str
    read: Callable[[], bytes]


def place(path: Path | str) -> str:
    """A path as an error message shows it: on one line, whatever the name holds."""
    text = str(path)
    return text if text.isprintable() else ascii(text)
