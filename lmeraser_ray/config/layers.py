"""The layers of a configuration, and which of them each value is from: defaults < system < file <
options, always.

    >>> layers = Layers().lay(Layer({"partition": {"shards": 70}}, "system lmeraser"))
    >>> layers = layers.lay(Layer({"partition": {"shards": 12}}, "file my.yaml", {"partition": 3}))
    >>> layers.tree, layers.origin("partition.shards"), layers.origin("seed")
    ({'partition': {'shards': 12}}, 'file my.yaml:3', 'default')

Place in the flow: `options` lays a system, a file and the options over each other, and validates
the tree that comes out. Invariants: a layer changes the values that it names and no other, but for
two rules. Another `kind` of a section begins the section anew: its fields are others. A partition
is cut by a threshold or into shards, so that a layer that sets one takes the other away.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lmeraser_ray.config.configuration import Config
from lmeraser_ray.config.section import Section
from lmeraser_ray.errors import ConfigError

Tree = dict[str, Any]
"""A configuration as YAML has it: sections, fields, values."""
DEFAULT, OPTION = "default", "option"
"""Where a value is from that no layer names, and one that the command line names."""
CUTS = {"threshold": "shards", "shards": "threshold"}
"""What a partition is cut by, each with its alternative."""


@dataclass(frozen=True)
class Layer:
    """Some values of a configuration. origin: what they are from; lines: the line of each section
    and field by dotted name, where they are from a file."""

    tree: Tree
    origin: str
    lines: Mapping[str, int] = field(default_factory=dict)

    def origin_of(self, path: tuple[str, ...]) -> str:
        """Where a field of this layer is from, with its line or that of its section (an anchor
        holds no field of its own)."""
        names = (".".join(path[:end]) for end in range(len(path), 0, -1))
        line = next((self.lines[name] for name in names if name in self.lines), None)
        return self.origin if line is None else f"{self.origin}:{line}"


@dataclass
class Layers:
    """What the layers so far come to."""

    tree: Tree = field(default_factory=dict)
    _origins: dict[str, str] = field(default_factory=dict)

    def origin(self, name: str) -> str:
        """Where the value of a field is from; of a section, where the last of its values is
        from."""
        below = [self._origins[known] for known in self._origins if known.startswith(f"{name}.")]
        return self._origins.get(name) or (below[-1] if below else DEFAULT)

    def lay(self, layer: Layer) -> "Layers":
        """Lay a layer on top. Errors: `ConfigError` where it has fields below what is a value."""
        self._lay(self.tree, layer.tree, (), layer)
        return self

    def _lay(self, below: Tree, above: Tree, path: tuple[str, ...], layer: Layer) -> None:
        section = ".".join(path)
        default = getattr(getattr(Config(), section, None), "kind", None)
        if default and above.get("kind", below.get("kind", default)) != below.get("kind", default):
            self._take(below, section, list(below))
        for cut, other in CUTS.items():
            if section == "partition" and above.get(cut) is not None and other not in above:
                self._take(below, section, [other])
        for name, value in above.items():
            self._set(below, name, value, (*path, str(name)), layer)

    def _set(
        self, below: Tree, name: str, value: object, path: tuple[str, ...], layer: Layer
    ) -> None:
        if value is None and is_section(path):
            return  # all of its fields are commented out
        if not isinstance(value, dict):
            below[name] = value
            self._origins[".".join(path)] = layer.origin_of(path)
            return
        known = below.setdefault(name, {})
        if not isinstance(known, dict):
            dotted = ".".join(path)
            raise ConfigError(
                f"{dotted} is {shortened(known)} in {self.origin(dotted)}, expected fields below "
                "it."
            )
        self._lay(known, value, path, layer)

    def _take(self, below: Tree, section: str, names: list[str]) -> None:
        for name in names:
            below.pop(name, None)
            for known in list(self._origins):
                if f"{known}.".startswith(f"{section}.{name}."):
                    del self._origins[known]


def is_section(path: tuple[str, ...]) -> bool:
    """Whether a name is that of a section, in the default kinds."""
    found: object = Config()
    for name in path:
        found = getattr(found, name, None)
    return isinstance(found, Section)


def shortened(value: object) -> str:
    """Return a value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
