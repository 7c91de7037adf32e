"""What is compared: systems, and values that one of their fields takes."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from lmeraser_ray.config import Config, layers, presets
from lmeraser_ray.config.from_python import pairs_of
from lmeraser_ray.config.options import COLLECTIONS, FIELDS, nearest, with_overrides
from lmeraser_ray.config.several import several
from lmeraser_ray.errors import ConfigError

Axis = tuple[str, list[str]]
"""A field and the values that it takes."""
SYSTEM = "system"
"""What is swept beside fields: names of systems, or YAML files."""
CUTS = {f"partition.{cut}": f"partition.{other}" for cut, other in layers.CUTS.items()}
"""What a partition is cut by, each with its alternative."""
SWEEPABLE = ("backbone", "partition", "learner", "aggregation")
"""Sections whose fields can be swept: of the others, the seed and the data decide the records, and
the rest changes nothing."""


@dataclass(frozen=True)
class Variant:
    """One system under one choice of values. name: unique, a file name; changes: field and value as
    they were written, `SYSTEM` among them where systems are swept."""

    name: str
    system: str
    changes: tuple[tuple[str, str], ...]
    tree: dict[str, Any]
    overrides: tuple[tuple[str, str], ...]

    def config(self, seed: int | None = None) -> Config:
        """Its configuration under a seed; None: under its own."""
        own = [pair for pair in self.changes if pair[0] != SYSTEM]
        changes = (*self.overrides, *own, *([] if seed is None else [("seed", str(seed))]))
        return with_overrides(
            deepcopy(self.tree),
            changes,
            source=self.name if self.system == "sweep" else f"the system {self.name}",
        )

    @property
    def said(self) -> dict[str, str]:
        """The changes as a report shows them: a system's file without its folder."""
        return {name: label_of(value) if name == SYSTEM else value for name, value in self.changes}

    def chosen(self, config: Config) -> dict[str, str]:
        """What a choice of this variant has chosen, by field, as text: the values that were swept,
        and with a system all that a system decides. config: what is trained with it."""
        found = {name: value for name, value in self.changes if name != SYSTEM}
        if len(found) == len(self.changes):
            return found
        decided, identity = presets.system_layer(dict(self.changes)[SYSTEM]).tree, config.identity()
        return dict(pairs_of({section: identity[section] for section in decided}))


def variants(
    base: dict[str, Any],
    names: Sequence[str],
    overrides: Sequence[tuple[str, str]],
    vary: Sequence[str],
) -> list[Variant]:
    """Every system under every combination of varied values. `vary`: `field=value,value,…`. Errors:
    `ConfigError`; `TypeError` for a bare text.

    Overrides of the system's sections, and what `base` has in them without choosing a kind, apply
    to all systems that have such a field; a system that has not keeps its own. A section of `base`
    that chooses a kind is a system's own and left out (`own_sections`).
    """
    base = without_own_system(base)
    wanted = several(names, "names", str)
    chosen = presets.names() if wanted == ("all",) else list(dict.fromkeys(wanted))
    axes = [parse_axis(text) for text in several(vary, "vary", str)]
    changed = several(overrides, "overrides", tuple)
    found = []
    for system in chosen:
        tree = presets.with_system(fitting(base, system, changed), system)
        fixed = tuple(pair for pair in changed if applies(tree, pair[0], changed))
        label = label_of(system)
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


def fitting(
    base: dict[str, Any], system: str, overrides: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """A configuration's tree without the fields that a system's kinds do not have."""
    chosen, fitted = presets.with_system({}, system), dict(base)
    for section in presets.SECTIONS:
        part = base.get(section)
        if isinstance(part, dict):
            fitted[section] = {
                field: value
                for field, value in part.items()
                if any(applies(chosen, name, overrides) for name in named_by(f"{section}.{field}"))
            }
    return fitted


def own_sections(base: dict[str, Any]) -> list[str]:
    """The sections in which a configuration's tree chooses a system of its own, by a kind."""
    return [
        name
        for name in presets.SECTIONS
        if isinstance(base.get(name), dict) and "kind" in base[name]
    ]


def without_own_system(base: dict[str, Any]) -> dict[str, Any]:
    """A configuration's tree without `own_sections`."""
    own = own_sections(base)
    return {name: value for name, value in base.items() if name not in own}


def on_another_system(base: dict[str, Any], system: str) -> dict[str, Any]:
    """A workspace's configuration as a tree, with a system in the place of its own."""
    return presets.with_system(without_own_system(base), system)


def named_by(name: str) -> list[str]:
    """The fields of a name, which may be a section's. Errors: `ConfigError` where it is none's."""
    found = [known for known in FIELDS if known == name or known.startswith(f"{name}.")]
    if not found:
        raise ConfigError(f"{name} is no field of the configuration{nearest(name)}")
    return found


def sweep_variants(
    base: dict[str, Any], overrides: Sequence[tuple[str, str]], axes: Sequence[Axis]
) -> list[Variant]:
    """One configuration, or each of several systems on it, under every combination of values.
    Errors: `ConfigError`; `TypeError` for a bare text.

    A sweep of `partition.threshold` or `partition.shards` sets the other one to null: a partition
    is cut by one of the two. A system takes those fields that it has, and `base` gives it what it
    gives to a system of `variants`.
    """
    axes = [(name, list(several(values, name, str))) for name, values in several(axes, "axes")]
    overrides = several(overrides, "overrides", tuple)
    refuse_axes([name for name, _ in axes])
    found = []
    for system in dict(axes).get(SYSTEM, [None]):
        tree, own, fixed = base, axes, overrides
        if system is not None:
            tree = presets.with_system(fitting(without_own_system(base), system, overrides), system)
            fixed = tuple(pair for pair in overrides if applies(tree, pair[0], overrides))
            own = [
                (name, [system] if name == SYSTEM else values)
                for name, values in axes
                if name == SYSTEM or applies(tree, name, overrides)
            ]
        fixed = cut_by([name for name, _ in own], tree, fixed)
        found += [
            Variant(swept_name(each), "sweep", each, tree, fixed) for each in combinations(own)
        ]
    idle = [name for name, _ in axes if all(name not in dict(each.changes) for each in found)]
    if idle:
        raise ConfigError(f"No system of this sweep has {idle[0]}: leave it out.")
    refuse_twins(found)
    return found


def swept_name(changes: Sequence[tuple[str, str]]) -> str:
    """The name of a swept variant: its values, behind its system where systems are swept; then
    without the sections of the fields."""
    systems = [label_of(value) for field, value in changes if field == SYSTEM]
    if not systems:
        return named([f"{field}={value}" for field, value in changes])
    values = [(field.rpartition(".")[2], value) for field, value in changes if field != SYSTEM]
    return named([" ".join([*systems, *(f"{field}={value}" for field, value in values)])])


def label_of(system: str) -> str:
    """What a system is called: its name, or its file's without the folder."""
    return system.rpartition("/")[2].removesuffix(".yaml")


def refuse_axes(fields: Sequence[str]) -> None:
    """Errors: `ConfigError` where a field cannot be swept, or is swept twice."""
    foreign = [name for name in fields if name != SYSTEM and name.split(".")[0] not in SWEEPABLE]
    if foreign:
        raise ConfigError(
            f"{foreign[0]} cannot be swept: a sweep compares systems, and fields of "
            f"{', '.join(SWEEPABLE)}, on the same records."
        )
    if len(set(fields)) < len(fields):
        raise ConfigError(
            "A field is swept twice: give all its values at once, with commas between them."
        )


def cut_by(
    fields: Sequence[str], tree: dict[str, Any], overrides: Sequence[tuple[str, str]]
) -> tuple[tuple[str, str], ...]:
    """Overrides with null for what a partition is not cut by, where the other one is swept."""
    cut = {
        CUTS[name]: "null"
        for name in fields
        if name in CUTS and CUTS[name] not in fields and applies(tree, CUTS[name], overrides)
    }
    return (*(pair for pair in overrides if pair[0] not in cut), *cut.items())


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


def parse_axis(text: str, option: str = "--vary", besides: Sequence[str] = ()) -> Axis:
    """`field=a,b` as the field and its values. besides: names that are no field's. Errors:
    `ConfigError`."""
    name, equals, values = text.partition("=")
    if not equals or not values or name not in (*FIELDS, *besides):
        raise ConfigError(
            f"{option} {text!r} was not understood{nearest(name)}: give field=value,value, as "
            "partition.shards=10,20."
        )
    listed = name in FIELDS and FIELDS[name].types & COLLECTIONS  # values with commas of their own
    return name, re.split(r",(?![^\[{]*[\]}])" if listed else ",", values)


def parse_swept(text: str) -> Axis:
    """`field=a,b`, or `system=a,b`, as what is swept and its values. Errors: `ConfigError`."""
    return parse_axis(text, "--sweep", (SYSTEM,))


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
        dict(overrides).get(kinds, tree.get(section, {}).get("kind", FIELDS[kinds].default))
        in option.kinds
    )
