"""The catalogue of systems: finds, reads and checks the YAML files beside this module.

    >>> "lmeraser" in names()
    True
    >>> read("sisa")["aggregation"]
    {'kind': 'all', 'combine': 'vote'}

`lmeraser train --system NAME` trains one, `lmeraser compare --systems a,b` several side by side. A
system may also be the path of a YAML file. Invariant: a system decides `SECTIONS` and how the
backbone is read, and nothing else of a configuration.
"""

from copy import deepcopy
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from lmeraser_ray.errors import ConfigError

SECTIONS = ("partition", "learner", "aggregation")
"""The sections that make a system."""
Tree = dict[str, Any]
"""A configuration as YAML has it: sections, fields, values."""


def names() -> list[str]:
    """The names of the systems, in alphabetical order."""
    return sorted(
        item.name.removesuffix(".yaml")
        for item in resources.files(__package__).iterdir()
        if item.name.endswith(".yaml")
    )


def read(system: str) -> Tree:
    """A system's sections. `system` is a name, or the path of a YAML file. Errors: `ConfigError`
    with the nearest name."""
    known = names()
    if system in known:
        text = resources.files(__package__).joinpath(f"{system}.yaml").read_text(encoding="utf-8")
    elif system.endswith((".yaml", ".yml")):
        try:
            text = Path(system).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"The system {system} cannot be read ({error}): give the path of a YAML file."
            ) from error
    else:
        near = get_close_matches(system, known, 1)
        raise ConfigError(
            f"{system!r} is no system{f': did you mean {near[0]}?' if near else '.'} There are "
            f"{', '.join(known)}, or give a YAML file."
        )
    return checked(system, text)


def checked(system: str, text: str) -> Tree:
    """The sections in a system's YAML. Errors: `ConfigError`."""
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"The system {system} is not valid YAML: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(tree, dict) or not all(
        isinstance(tree.get(name, {}), dict) for name in (*SECTIONS, "backbone")
    ):
        raise ConfigError(
            f"The system {system} must consist of the sections {', '.join(SECTIONS)}, each with "
            "fields below."
        )
    foreign = [
        name for name in tree if name not in (*SECTIONS, "data", "backbone", "execution", "seed")
    ]
    if foreign:
        near = get_close_matches(foreign[0], (*SECTIONS, "backbone"), 1)
        raise ConfigError(
            f"The system {system} has the section {foreign[0]}, which is "
            f"none{f': did you mean {near[0]}?' if near else '.'}"
        )
    missing = [name for name in SECTIONS if name not in tree]
    if missing:
        raise ConfigError(
            f"The system {system} has no section {missing[0]}: a system is a choice of "
            f"{', '.join(SECTIONS)}."
        )
    return tree


def with_system(base: Tree, system: str) -> Tree:
    """A configuration's tree with a system's sections in the place of its own; what a system says
    of the backbone goes on top.

    A whole configuration serves as a system too: its data and execution are left aside.
    """
    tree, chosen = deepcopy(base), read(system)
    for name in SECTIONS:
        tree[name] = chosen[name]
    tree["backbone"] = merged(tree.get("backbone") or {}, chosen.get("backbone", {}))
    return tree


def merged(below: Tree, above: Tree) -> Tree:
    """Two trees, the second one's values on top."""
    found = deepcopy(below)
    for name, value in above.items():
        found[name] = merged(found.get(name) or {}, value) if isinstance(value, dict) else value
    return found
