"""JSON that somebody else may have written: read into a declared shape, or refused.

    >>> class Card(ForeignJson):
    ...     name: str
    >>> Card.read(b'{"name": "ann"}').name
    'ann'
    >>> Card.read(b'{"name": NaN}')
    Traceback (most recent call last):
    ValueError: not the JSON that was expected, at name

Place in the flow: certificates, heads, ledger entries, backups, manifests, lists of erasures and
records of sweeps are read here and nowhere else. Invariants: whatever the bytes, a reader gets the
shape or a `ValueError`: no type but the declared one, no unknown field, no lone surrogate, no
nesting beyond 200, no number of thousands of digits; the error does not repeat what was given,
which may be an id.
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

BEYOND, WITH_EXPONENT = 2**53, 1e21
"""From the first number on, canonical JSON (RFC 8785) holds a whole number no more; it writes other
numbers in digits alone up to the second."""


def held_by_canonical_json(value: JsonValue) -> JsonValue:
    """Return `value`. Errors: `ValueError` where a number in it, at any depth, is one that
    canonical JSON cannot write, or writes as a whole number that it does not read again.

    >>> held_by_canonical_json({"deep": [1, 2**53]})
    Traceback (most recent call last):
    ValueError: a number is not between -(2**53) and 2**53
    """
    match value:
        case dict():
            for each in value.values():
                held_by_canonical_json(each)
        case list() | tuple():
            for each in value:
                held_by_canonical_json(each)
        case int() if abs(value) >= BEYOND:
            raise ValueError("a number is not between -(2**53) and 2**53")
        case float() if BEYOND <= abs(value) < WITH_EXPONENT:
            raise ValueError("a number would be read again as a whole one beyond 2**53")
    return value


JsonObject = Annotated[dict[str, JsonValue], AfterValidator(held_by_canonical_json)]
"""Any JSON object. Whoever takes a value out of it asks for its type first."""
Digest = Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]
"""64 hexadecimal digits."""
Natural = Annotated[int, Field(ge=0, lt=BEYOND)]
"""A whole number that canonical JSON can hold."""
FILE_BYTES = 64 << 20
"""What a file of evidence, a configuration or a list has at most: a million ids are 40 MB."""


class ForeignJson(BaseModel):
    """A JSON object with exactly the declared fields."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )

    @classmethod
    def read(cls, data: object) -> Self:
        """Read the object in bytes or text. Errors: `ValueError` where it is none of this shape."""
        if not isinstance(data, bytes | str):
            raise ValueError("neither bytes nor text")  # noqa: TRY004 - a cell of a database
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            where = next(iter(error.errors(include_input=False)[0]["loc"]), None)
            of = f", at {where}" if where in cls.model_fields else ""
            raise ValueError(f"not the JSON that was expected{of}") from error


class FormatJson(ForeignJson):
    """What every file with a format says of itself, whatever else there is in it."""

    model_config = ConfigDict(extra="ignore")
    format: int | Annotated[str, Field(max_length=40)] | None


def read_bounded(path: Path, limit: int = FILE_BYTES) -> bytes:
    """The bytes of a file, which may be a device without an end. Errors: `OSError`; `ValueError`
    where it has more than `limit` bytes."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"it has more than {limit:,} bytes")
    return data
