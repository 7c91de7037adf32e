"""Names of records, subjects and classes: as they must be, and as files of them are read. All are
Unicode NFC."""

import unicodedata
from pathlib import Path

from lmeraser_ray.errors import ConfigError, DataError

MAX_ID_CHARACTERS = 1024


def clean_name(name: object, *, what: str, where: str) -> str:
    """A record id, subject id or label as text in Unicode NFC, or a `DataError` that says what is
    wrong with it and where.

    Text and whole numbers are accepted. Refused: nothing, more than 1,024 characters, control
    characters and line breaks, surrounding white space, and a path component `..`. `what` names the
    kind ("record id"), `where` the file or row.
    """
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise DataError(
            f"{where}: the {what} is {type(name).__name__}, expected text or a whole number."
        )
    text = unicodedata.normalize("NFC", str(name))
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
    if ".." in text.replace("\\", "/").split("/"):
        raise DataError(f"{where}: the {what} {text[:40]!r} has a path component '..': rename it.")
    return text


def read_ids(path: Path | None, option: str) -> frozenset[str]:
    """The ids in a UTF-8 file, one a line; blank lines are skipped. Errors: `ConfigError` that
    names the option and the file."""
    if path is None:
        return frozenset()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{option} {path} cannot be read as a UTF-8 file of ids, one a line ({error})."
        ) from error
    return frozenset(typed_name(line) for line in lines if line.strip())


def typed_name(text: str) -> str:
    """An id as a person typed it: NFC, without surrounding white space."""
    return unicodedata.normalize("NFC", text.strip())
