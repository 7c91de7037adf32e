"""What people type: reasons. They are kept as they were typed, but for the names of the erased.

    typed ─► without names that have tombstones ─► kept ─► without each name that is wiped later

>>> without_names("Bob's pictures: a legal hold until 12 May", {"bob", "12"})
"[name]'s pictures: a legal hold until [name] May"

Invariant: a name is found whatever its case and form, as a word by itself, however short; one that
holds more than letters and digits is found anywhere.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator

from sqlalchemy import Connection, select, update

from lmeraser_ray.errors import ConfigError
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer, TargetKind
from lmeraser_ray.storage.database.tables import REASONS, requests, tombstones

HIDDEN = "[name]"
PART = re.compile(r"\w+|\S+")
LONGEST = 6
"""Words in a row that may be one name, where a typed reason is checked."""
LONGEST_TYPED = 1000
"""Characters of a typed reason: each row of words is hashed while all other writers wait."""
UNWRITTEN, SPACES = ("Cc", "Cs"), "\t\n\r"
"""Categories of characters that no text has, and what is text all the same."""
AT_ONCE = 5000
"""Hashes in one statement: a database takes some ten thousand parameters."""
KINDS: tuple[TargetKind, ...] = ("record", "subject")
STONE = tombstones.c.hash


def folded(text: str) -> str:
    """Return a text as it is compared: composed, without case."""
    return unicodedata.normalize("NFC", text).casefold()


def without_names(text: str, names: Collection[str]) -> str:
    """Return a text with each of these names replaced by `[name]`."""
    plain = folded(text)
    there = sorted((name for name in map(folded, names) if name in plain), key=len, reverse=True)
    if not there:
        return text
    pattern = "|".join(map(bounded, there))
    changed = re.sub(pattern, HIDDEN, text, flags=re.IGNORECASE)
    if not re.search(pattern, folded(changed.replace(HIDDEN, " "))):
        return changed
    return re.sub(pattern, HIDDEN, plain)  # a form or a case that `IGNORECASE` does not equate


def bounded(name: str) -> str:
    """Return the pattern of a name that stands by itself."""
    before = r"(?<!\w)" if name[0].isalnum() else ""
    return before + re.escape(name) + (r"(?!\w)" if name[-1].isalnum() else "")


def take_out_of_reasons(connection: Connection, names: Collection[str]) -> int:
    """Take names out of all typed reasons, within a transaction. Returns how many were changed."""
    changed = 0
    for _, column in REASONS if names else ():
        typed = select(requests.c.id, requests.c[column]).where(requests.c[column].is_not(None))
        for request, text in connection.execute(typed).all():
            left = without_names(text, names)
            if left != text:
                mine = update(requests).where(requests.c.id == request)
                connection.execute(mine.values({column: left}))
                changed += 1
    return changed


def kept_reason(
    connection: Connection, pseudonymizer: Pseudonymizer, reason: str, *, option: str = "--reason"
) -> str:
    """Return a typed reason as it is kept: without spaces around it, and without the names of the
    erased. option: where it was typed. Errors: `ConfigError` where it is empty, has more than
    `LONGEST_TYPED` characters, or one that is none of a text."""
    if not reason.strip():
        raise ConfigError(
            f"{option} is empty: say why, in a sentence without ids; it stays with the request."
        )
    if len(reason) > LONGEST_TYPED:
        raise ConfigError(
            f"{option} has {len(reason):,} characters, at most {LONGEST_TYPED:,} are kept: say it "
            "in a sentence, and keep the papers elsewhere."
        )
    wrong = next(
        (c for c in reason if unicodedata.category(c) in UNWRITTEN and c not in SPACES), ""
    )
    if wrong:
        raise ConfigError(
            f"{option} holds the character U+{ord(wrong):04X}, which nobody writes and not every "
            "database keeps: type it anew."
        )
    forms = {form for part in parts_of(reason) for form in forms_of(part)}
    hashes = {
        form: [found for what in KINDS for found in pseudonymizer.hashes(what, form)]
        for form in forms
    }
    every = [found for some in hashes.values() for found in some]
    stones = {
        stone
        for at in range(0, len(every), AT_ONCE)
        for stone in connection.scalars(select(STONE).where(STONE.in_(every[at : at + AT_ONCE])))
    }
    erased = {form for form, some in hashes.items() if not stones.isdisjoint(some)}
    return without_names(reason.strip(), erased)


def forms_of(part: str) -> set[str]:
    """Return a part of a reason as somebody may be called who was erased: their case is not known
    any more."""
    text = unicodedata.normalize("NFC", part)
    return {part, text, text.lower(), text.upper(), text.title(), text.capitalize()}


def parts_of(reason: str) -> Iterator[str]:
    """Yield what may be a name in a reason: up to `LONGEST` words in a row, with and without the
    marks around them."""
    words = reason.split()
    for at in range(len(words)):
        for end in range(at + 1, min(len(words), at + LONGEST) + 1):
            text = " ".join(words[at:end])
            yield from {text, text.strip(".,;:!?()[]{}\"'“”„‘’«»")}
    yield from PART.findall(reason)
