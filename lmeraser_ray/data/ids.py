"""Record ids, subject ids and labels: the one form in which they are accepted, and files of ids.

    >>> clean_name(7, what="label", where="records.parquet, row 0")
    '7'
    >>> clean_name("../cat", what="record id", where="records.parquet, row 1")
    Traceback (most recent call last):
    lmeraser_ray.errors.DataError: records.parquet, row 1: the record id '../cat' has a path ...

Place in the flow: in every source, and wherever a person names ids. Invariant: every id is text in
Unicode NFC of 1 to 1,024 characters, so that one id has one sequence of bytes.
"""

import unicodedata
from pathlib import Path

from lmeraser_ray.data.lookalikes import unseen
from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.storage.foreign_json import read_bounded

MAX_ID_CHARACTERS = 1024
WRITTEN_CHARACTERS = 8 * MAX_ID_CHARACTERS
"""What is longer is too long in NFC too, and is not brought into it: that takes the square of the
length (100,000 combining marks took 24 s)."""
LIST_BYTES = 1 << 30
"""What a file of ids has at most."""


def clean_name(name: object, *, what: str, where: str, kept: bool = False) -> str:
    """A record id, subject id or label as text in Unicode NFC. Text and whole numbers are accepted.
    what: the kind of name ("record id"); where: the file or row, for the error; kept: a workspace
    of an earlier release may hold the name, with characters that nobody sees.

    Errors: `DataError` for an empty name, more than 1,024 characters, control characters, line
    breaks, characters that nobody sees, surrounding white space, and a path component `..`.
    """
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise DataError(
            f"{where}: the {what} is {type(name).__name__}, expected text or a whole number."
        )
    text = composed(str(name))
    if not text or text != text.strip():
        raise DataError(
            f"{where}: the {what} {text[:40]!r} is empty or begins or ends with white space: give "
            "it a name of its own."
        )
    if len(text) > MAX_ID_CHARACTERS:
        raise DataError(
            f"{where}: the {what} has {len(text):,} characters, at most {MAX_ID_CHARACTERS:,} are "
            "accepted: shorten it."
        )
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text):
        raise DataError(
            f"{where}: the {what} {text[:40]!r} holds a control character or a line break: rename "
            "it."
        )
    if not kept and (found := unseen(text)):
        raise DataError(
            f"{where}: the {what} {text[:40]!a} holds {found}, which nobody sees, so that two "
            "names would look equal: rename it, or remove it where it was erased by this name."
        )
    if ".." in text.replace("\\", "/").split("/"):
        raise DataError(f"{where}: the {what} {text[:40]!r} has a path component '..': rename it.")
    return text


def read_ids(path: Path | None, option: str) -> frozenset[str]:
    """The ids in a UTF-8 file, one a line; blank lines are skipped. Errors: `ConfigError` that
    names the option and the file."""
    if path is None:
        return frozenset()
    try:
        lines = read_bounded(path, LIST_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{option} {path} cannot be read as a UTF-8 file of ids, one a line ({error})."
        ) from error
    if any(len(line) > WRITTEN_CHARACTERS for line in lines):
        raise ConfigError(
            f"{option} {path} has a line of more than {WRITTEN_CHARACTERS:,} characters, and an "
            f"id has at most {MAX_ID_CHARACTERS:,}: give one id a line."
        )
    return frozenset(typed_name(line) for line in lines if line.strip())


def typed_name(text: str) -> str:
    """An id as a person typed it: NFC, without surrounding white space."""
    return composed(text.strip())


def composed(text: str) -> str:
    """A text in NFC; one that is too long for an id stays as it is, since it takes seconds."""
    return unicodedata.normalize("NFC", text) if len(text) <= WRITTEN_CHARACTERS else text
