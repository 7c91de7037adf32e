r"""Names of classes as a page may show them: a name that an id is part of is withheld.

In a data set of faces a class may be called as a person is. Place in the flow: `page_facts` asks
before anything is drawn. Invariant: a shown name is neither the id of a record or subject, live or
erased, nor has one of the live ones in it (ids of fewer than `FEWEST` letters are compared with the
whole name: a 7 is part of too much).

>>> shown_name("class\u202e 7")
'class\\u202e 7'
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

FEWEST, LONGEST = 4, 200
"""Letters of an id that is looked for within names, and of a name that is looked through."""


@dataclass(frozen=True)
class ShownNames:
    """The names of c classes, in their order; withheld: how many of them are replaced."""

    names: tuple[str, ...]
    withheld: int


def shown_names(
    classes: Sequence[str], ids: Collection[str], erased: Callable[[str], bool]
) -> ShownNames:
    """Return the names of classes as a page shows them: `class 3` for a name that is withheld. ids:
    of all live records and subjects, a set; erased: whether a name is that of an erased one."""
    withheld = [erased(name) or names_somebody(name, ids) for name in classes]
    shown = (
        f"class {place + 1}" if hidden else shown_name(name)
        for place, (name, hidden) in enumerate(zip(classes, withheld, strict=True))
    )
    return ShownNames(tuple(shown), sum(withheld))


def names_somebody(name: str, ids: Collection[str]) -> bool:
    """Whether a name is, or has in it, one of these ids. A name that is too long to look through
    counts as one that has."""
    if name in ids or len(name) > LONGEST:
        return True
    ends = range(FEWEST, len(name) + 1)
    return any(name[begin:end] in ids for end in ends for begin in range(end - FEWEST + 1))


def shown_name(name: str) -> str:
    """Return a name on one line, with letters that would not be seen, or would turn the line
    around, as escapes."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in name
    )
