"""What is compared: systems, and values that one of their fields takes."""

import itertools
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from lmeraser_ray import systems
from lmeraser_ray.config import Config
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.options import FIELDS, nearest, with_overrides


@dataclass(frozen=True)
class Variant:
    """One system under one choice of values. name: unique, a file name; changes: field and value as they were written."""

    name: str
    system: str
    changes: tuple[tuple[str, str], ...]
    tree: dict[str, Any]
    overrides: tuple[tuple[str, str], ...]

    def config(self, seed: int) -> Config:
        """Its configuration under a seed."""
        changes = (*self.overrides, *self.changes, ("seed", str(seed)))
        return with_overrides(deepcopy(self.tree), changes, source=f"the system {self.name}")


def variants(base: dict[str, Any], names: Sequence[str], overrides: Sequence[tuple[str, str]], vary: Sequence[str]) -> list[Variant]:
    """Every system under every combination of varied values. `vary`: `field=value,value,…`. Errors: `ConfigError`.

    Overrides of the system's sections apply to all systems that have such a field; a system that has not keeps its own.
    """
    chosen = systems.names() if list(names) == ["all"] else list(dict.fromkeys(names))
    axes = [parse_axis(text) for text in vary]
    found = []
    for system in chosen:
        tree = systems.with_system(base, system)
        fixed = tuple(pair for pair in overrides if applies(tree, pair[0], overrides))
        for values in itertools.product(*([(name, value) for value in options] for name, options in axes)):
            label = system.rpartition("/")[2].removesuffix(".yaml")
            name = quote("_".join([label, *(f"{field}={value}" for field, value in values)]), safe="=,. ")
            found.append(Variant(name, label, tuple(values), tree, fixed))
    twins = [name for name, count in Counter(variant.name for variant in found).items() if count > 1]
    if twins:
        raise ConfigError(f"Two systems would be called {twins[0]}: rename one of the files, or give each value once.")
    return found


def parse_axis(text: str) -> tuple[str, list[str]]:
    """`field=a,b` as the field and its values. Errors: `ConfigError`."""
    name, equals, values = text.partition("=")
    if not equals or not values or name not in FIELDS:
        raise ConfigError(f"--vary {text!r} was not understood{nearest(name)}: give field=value,value, as partition.shards=10,20.")
    return name, values.split(",")


def applies(tree: dict[str, Any], name: str, overrides: Sequence[tuple[str, str]]) -> bool:
    """Whether a system, under all overrides, has this field: one of its own kinds, or one outside of what makes a system."""
    section, _, rest = name.partition(".")
    option = FIELDS[name]
    if section not in systems.SECTIONS or rest == "kind" or not option.kinds:
        return True
    kinds = f"{section}.kind"
    return dict(overrides).get(kinds, tree[section].get("kind", FIELDS[kinds].default)) in option.kinds
