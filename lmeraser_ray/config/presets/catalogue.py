"""The catalogue of systems: finds, reads and checks the YAML files beside this module.

    >>> "lmeraser" in names()
    True
    >>> read("sisa")["aggregation"]
    {'kind': 'all', 'combine': 'vote'}

`lmeraser train --system NAME` trains one, `lmeraser compare --systems a,b` several side by side. A
system may also be the path of a YAML file. Invariant: a system decides `SECTIONS` and how the
backbone is read, and nothing else of a configuration.
"""

from importlib import resources
from pathlib import Path

from lmeraser_ray.config.foreign_yaml import read_yaml_text
from lmeraser_ray.config.layers import Layer, Layers, Tree
from lmeraser_ray.config.slips import guess
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.storage.foreign_json import read_bounded

SECTIONS = ("partition", "learner", "aggregation")
"""The sections that make a system."""


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
            text = read_bounded(Path(system)).decode()
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"The system {system} cannot be read ({error}): give the path of a YAML file."
            ) from error
    else:
        raise ConfigError(
            f"{system!r} is no system{guess(system, known) or '.'} There are "
            f"{', '.join(known)}, or give a YAML file."
        )
    return checked(system, text)


def checked(system: str, text: str) -> Tree:
    """The sections in a system's YAML. Errors: `ConfigError`."""
    try:
        tree = read_yaml_text(text)
    except ValueError as error:
        raise ConfigError(f"The system {system} is not valid YAML: {error}") from error
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
        raise ConfigError(
            f"The system {system} has the section {str(foreign[0])[:80]}, which is "
            f"none{guess(str(foreign[0]), (*SECTIONS, 'backbone')) or '.'}"
        )
    missing = [name for name in SECTIONS if name not in tree]
    if missing:
        raise ConfigError(
            f"The system {system} has no section {missing[0]}: a system is a choice of "
            f"{', '.join(SECTIONS)}."
        )
    return tree


def system_layer(system: str) -> Layer:
    """A system's sections, and what it says of the backbone. A whole configuration serves as a
    system too: its data and execution are left aside. Errors: as `read`."""
    chosen = read(system)
    tree = {name: chosen[name] for name in (*SECTIONS, "backbone") if name in chosen}
    return Layer(tree, f"system {system}")


def with_system(base: Tree, system: str) -> Tree:
    """A system's tree with that of a configuration on top: what a file says stands over what a
    system says."""
    return Layers().lay(system_layer(system)).lay(Layer(base, "configuration")).tree
