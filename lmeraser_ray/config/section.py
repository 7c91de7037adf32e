"""The base of every section of the configuration: frozen, typed, divided into identity and
execution.

Invariant: `identity()` of a section is the JSON value of exactly the fields that may change bytes.
"""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

EXECUTION = "execution"
"""Marks a field that must not change a byte of what is built."""

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(gt=0, lt=2**53)]


class Section(BaseModel):
    """A frozen part of the configuration that refuses unknown fields."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    def identity(self) -> dict[str, Any]:
        """The JSON value of all fields that are not marked `EXECUTION`, sections within
        included."""
        chosen: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            if EXECUTION in field.metadata:
                continue
            value = getattr(self, name)
            chosen[name] = value.identity() if isinstance(value, Section) else value
        return chosen


def kind_or(default: str) -> Callable[[Any], str]:
    """The discriminator of a union of sections: the value's `kind`, or `default` where the value
    gives none."""

    def kind(value: Any) -> str:
        found = (
            value.get("kind", default)
            if isinstance(value, dict)
            else getattr(value, "kind", default)
        )
        return str(found)

    return kind
