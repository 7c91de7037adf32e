"""What is compared: systems, and values that one of their fields takes."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from lmeraser_ray.config import Config, presets
from lmeraser_ray.config.options import FIELDS, nearest, with_overrides
from lmeraser_ray.errors import ConfigError

Axis = tuple[str, list[str]]
"""A field and the values that it takes."""
SWEEPABLE = ("backbone", "partition", "learner", "aggregation")
"""Sections whose fields can be swept: of the others, the seed and the data decide the records, and
the rest changes nothing."""


@dataclass(frozen=True)
class Variant:
    """One system under one choice of values. name: unique, a file name; changes: field and value as
    they were written."""

    name: str
    system: str
    changes: tuple[tuple[str, str], ...]
    tree: dict[str, Any]
    overrides: tuple[tuple[str, str], ...]

    def config(self, seed: int | None = None) -> Config:
        """Its configuration under a seed; None: under its own."""
        changes = (*self.overrides, *self.changes, *([] if seed is None else [("seed", str(seed))]))
        return with_overrides(
            deepcopy(self.tree),
            changes,
            source=self.name if self.system == "sweep" else f"the system {self.name}",
        )


def variants(
    base: dict[str, Any],
    names: Sequence[str],
    overrides: Sequence[tuple[str, str]],
    vary: Sequence[str],
) -> list[Variant]:
    """Every system under every combination of varied values. `vary`: `field=value,value,…`. Errors:
    `ConfigError`.

    Overrides of the system's sections apply to all systems that have such a field; a system that
    has not keeps its own.
    """
    chosen = presets.names() if list(names) == ["all"] else list(dict.fromkeys(names))
    axes = [parse_axis(text) for text in vary]
    found = []
    for system in chosen:
        tree = presets.with_system(base, system)
        fixed = tuple(pair for pair in overrides if applies(tree, pair[0], overrides))
        label = system.rpartition("/")[2].removesuffix(".yaml")
        for values in combinations(axes):
            found.append(
                Variant(
                    named([label, *(f"{field}={value}" for field, value in values)]),
                    label,
                    values,
                    tree,
                    fixed,
                )
            )
    refuse_twins(found)
    return found


def sweep_variants(
    base: dict[str, Any], overrides: Sequence[tuple[str, str]], axes: Sequence[Axis]
) -> list[Variant]:
    """One configuration under every combination of values. Errors: `ConfigError`.

    A sweep of `partition.threshold` or `partition.shards` sets the other one to null: a partition
    is cut by one of the two.
    """
    fields = [name for name, _ in axes]
    foreign = [name for name in fields if name.split(".")[0] not in SWEEPABLE]
    if foreign:
        raise ConfigError(
            f"{foreign[0]} cannot be swept: a sweep compares {', '.join(SWEEPABLE)} on the same "
            "records."
        )
    if len(set(fields)) < len(fields):
        raise ConfigError(
            "A field is swept twice: give all its values at once, with commas between them."
        )
    other = {"partition.threshold": "partition.shards", "partition.shards": "partition.threshold"}
    cut = tuple(
        (other[name], "null") for name in fields if name in other and other[name] not in fields
    )
    fixed = (*(pair for pair in overrides if pair[0] not in dict(cut)), *cut)
    values = combinations(axes)
    found = [
        Variant(named([f"{field}={value}" for field, value in each]), "sweep", each, base, fixed)
        for each in values
    ]
    refuse_twins(found)
    return found


def combinations(axes: Sequence[Axis]) -> Iterator[tuple[tuple[str, str], ...]]:
    """Every choice of a value for each field, in order."""
    return itertools.product(*([(name, value) for value in options] for name, options in axes))


def named(parts: Sequence[str]) -> str:
    """A variant's name, which is a file name too."""
    return quote("_".join(parts), safe="=,. ")


def refuse_twins(found: Sequence[Variant]) -> None:
    """Errors: `ConfigError` where two have one name."""
    twins = [
        name for name, count in Counter(variant.name for variant in found).items() if count > 1
    ]
    if twins:
        raise ConfigError(
            f"Two systems would be called {twins[0]}: rename one of the files, or give each value "
            "once."
        )


def parse_axis(text: str, option: str = "--vary") -> Axis:
    """`field=a,b` as the field and its values. Errors: `ConfigError`."""
    name, equals, values = text.partition("=")
    if not equals or not values or name not in FIELDS:
        raise ConfigError(
            f"{option} {text!r} was not understood{nearest(name)}: give field=value,value, as "
            "partition.shards=10,20."
        )
    return name, values.split(",")


def parse_range(text: str) -> list[str]:
    """`5:40:8` as 8 values from 5 to 40, evenly spaced. Errors: `ConfigError`."""
    try:
        low, high, count = text.split(":")
        first, last, number = float(low), float(high), int(count)
    except ValueError:
        first, last, number = 0.0, 0.0, 0
    if not 0 < first < last < math.inf or number < 2:
        raise ConfigError(
            f"--thresholds {text!r} was not understood: give first:last:count, as 5:40:8 for 5, "
            "10, … 40."
        )
    return [f"{first + (last - first) * i / (number - 1):.6g}" for i in range(number)]


def applies(tree: dict[str, Any], name: str, overrides: Sequence[tuple[str, str]]) -> bool:
    """Whether a system, under all overrides, has this field: one of its own kinds, or one outside
    of what makes a system."""
    section, _, rest = name.partition(".")
    option = FIELDS[name]
    if section not in presets.SECTIONS or rest == "kind" or not option.kinds:
        return True
    kinds = f"{section}.kind"
    return (
        dict(overrides).get(kinds, tree[section].get("kind", FIELDS[kinds].default)) in option.kinds
    )
