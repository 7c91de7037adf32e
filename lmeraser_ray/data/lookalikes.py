"""Names that only look equal: characters that nobody sees, and forms that Unicode normalisation
makes one.

    >>> unseen("cat\\u200b")
    'U+200B ZERO WIDTH SPACE'
    >>> lookalikes(["cat", "c\\uff41t", "dog"])
    [('cat', 'cａt')]

Place in the flow: below `ids`, which refuses characters that nobody sees; what else looks alike is
said after the records are read, and where somebody asks for a name that nobody has.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

IGNORABLE = re.compile(
    "[\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f\\u202a-\\u202e"
    "\\u2060-\\u206f\\u2800\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffb"
    "\\U00013430-\\U0001343f\\U0001bca0-\\U0001bca3\\U0001d173-\\U0001d17a\\U000e0000-\\U000e0fff]"
)
"""What Unicode calls default ignorable (marks of direction, joiners, fillers, selectors, tags), the
marks of annotations and of hieroglyphs, and the blank Braille pattern."""


def unseen(name: str) -> str:
    """Return the first character of a name that nobody sees, by number and name; nothing where
    there is none."""
    found = None if name.isascii() else IGNORABLE.search(name)
    return named(found.group()) if found else ""


def named(character: str) -> str:
    """Return a character's number and name."""
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()


def look(name: str) -> str:
    """Return a name as it looks: in Unicode NFKC, without the characters that nobody sees."""
    return name if name.isascii() else unicodedata.normalize("NFKC", IGNORABLE.sub("", name))


def lookalikes(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the names that look alike and are not equal, in order, each group by itself."""
    groups: dict[str, set[str]] = defaultdict(set)
    known = set(names)
    looks = {look(name) for name in known if not name.isascii()}
    for name in known if looks else ():
        if (looked := look(name)) in looks:
            groups[looked].add(name)
    return sorted(tuple(sorted(group)) for group in groups.values() if len(group) > 1)


def difference(one: str, other: str) -> str:
    """Return which characters one of two names has and the other has not, by number and name."""
    apart = sorted({*one} ^ {*other})
    return ", ".join(named(character) for character in apart[:4])
