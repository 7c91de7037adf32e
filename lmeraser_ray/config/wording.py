"""What a field expects, in words of our own: Pydantic's speak of its classes."""

from collections.abc import Mapping
from typing import Any

EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text",
    "path": "a path",
    "literal": "{expected}",
    "enum": "{expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "model": "fields below it",
    "dataclass": "fields below it",
    "dict": "names with values below it",
    "mapping": "names with values below it",
    "union_tag_not": "fields below it",
    "missing": "one value more",
    "tuple": "a list of values",
    "list": "a list of values",
    "invalid": "the name of a field",
    "extra": "no such field",
}
"""By how the type of a validation error begins; the longest beginning counts."""
GREATEST = {2**53: "2^53", -(2**53): "-2^53"}


def expected(kind: str, context: Mapping[str, Any]) -> str | None:
    """Return what was expected where Pydantic found an error of a type, None for one that it never
    finds here. context: the error's `ctx`."""
    begins = [start for start in EXPECTED if kind.startswith(start)]
    if not begins:
        return None
    bounds = {
        name: GREATEST.get(value, value) for name, value in context.items() if name != "error"
    }
    return EXPECTED[max(begins, key=len)].format(**bounds)
