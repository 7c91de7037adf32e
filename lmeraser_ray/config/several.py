"""Arguments that take several values, and no bare text: Python takes a text for its letters.

    >>> several(["157"], "records", str)
    ('157',)
    >>> several("157", "records", str)
    Traceback (most recent call last):
    TypeError: records is a bare str, expected several values: give a list, even of one.

Place in the flow: where Python code names records, subjects, pictures, overrides or systems, before
anything is done. Invariant: what goes on is a tuple, so that a generator is read once.
"""

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def several(values: Iterable[T], name: str, *kinds: type[T]) -> tuple[T, ...]:
    """Return the values of an argument. name: the argument's; kinds: what each value may be,
    anything if none is given. Errors: `TypeError` for a bare text or bytes, for what is no
    collection, and for a value of another kind."""
    if isinstance(values, str | bytes | bytearray | memoryview) or not isinstance(values, Iterable):
        raise TypeError(
            f"{name} is a bare {type(values).__name__}, expected several values: give a list, even "
            "of one."
        )
    found = tuple(values)
    for value in found:
        if kinds and not isinstance(value, kinds):
            expected = " or ".join(kind.__name__ for kind in kinds)
            raise TypeError(
                f"{name} holds a {type(value).__name__}, expected each to be a {expected}: convert "
                "it."
            )
    return found
