"""The base of every section of the configuration: frozen, typed, divided into identity and
execution.

Invariant: `identity()` of a section is the JSON value of exactly the fields that may change bytes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

EXECUTION = "execution"
"""Marks a field that must not change a byte of what is built."""

LATER = "later"
"""Marks a field of identity that came after workspaces existed: at its default it is left out of
`identity()`, so that theirs stays what it was."""


@dataclass(frozen=True)
class OperatorOnly:
    """Marks a field whose value makes a process connect to a machine, or load a file: only who runs
    the process may name these, by an option, a configuration file or the environment.

    Whoever can write to a workspace or a backup could otherwise choose what the next command talks
    to. harmless: the values that name no machine and no file; instead: the harmless value that a
    workspace keeps in the place of any other one.
    """

    harmless: tuple[str | None, ...] = (None,)
    instead: str | None = None


Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(gt=0, lt=2**53)]


class Section(BaseModel):
    """A frozen part of the configuration that refuses unknown fields."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    @field_validator("*")
    @classmethod
    def _held_by_canonical_json(cls, value: Any, info: ValidationInfo) -> Any:
        """Errors: `ValueError` on a number that canonical JSON writes as an integer and does not
        read again."""
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float) and abs(number) >= 2**53:
                raise ValueError(
                    f"{info.field_name} is {number}: numbers lie between -(2**53) and 2**53"
                )
        return value

    def identity(self) -> dict[str, Any]:
        """The JSON value of all fields that are not marked `EXECUTION`, sections within included,
        and without those marked `LATER` that have their default."""
        chosen: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            if EXECUTION in field.metadata:
                continue
            value = getattr(self, name)
            if LATER in field.metadata and value == field.default:
                continue
            chosen[name] = json_value(value)
        return chosen

    def operator_values(self, prefix: str = "") -> Iterator[tuple[str, str]]:
        """The fields marked `OperatorOnly` whose values are not harmless, by dotted name."""
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, Section):
                yield from value.operator_values(f"{prefix}{name}.")
            for mark in field.metadata:
                if isinstance(mark, OperatorOnly) and value not in mark.harmless:
                    yield f"{prefix}{name}", str(value)

    def without_operator_values(self) -> Self:
        """As a workspace may keep the section: no field names a machine or a file to load."""
        changed: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, Section):
                changed[name] = value.without_operator_values()
            for mark in field.metadata:
                if isinstance(mark, OperatorOnly) and value not in mark.harmless:
                    changed[name] = mark.instead
        return self.model_copy(update=changed)


def json_value(value: Any) -> Any:
    """A field's value as JSON gives it back, of a section its identity."""
    if isinstance(value, tuple):
        return [json_value(item) for item in value]
    return value.identity() if isinstance(value, Section) else value


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
