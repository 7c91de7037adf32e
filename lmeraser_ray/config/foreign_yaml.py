"""YAML that somebody else may have written: scalars, lists and mappings within bounds, or refused.

    >>> read_yaml_text("learner: {epochs: 3}")
    {'learner': {'epochs': 3}}
    >>> read_yaml_text("seed: 1\\nseed: 2")
    Traceback (most recent call last):
    ValueError: the key 'seed' stands on line 1 and again on line 2: keep one
    >>> read_yaml_text("a: &a [*a]")
    Traceback (most recent call last):
    ValueError: the anchor a holds itself

Invariants: whatever the text, a reader gets plain values or a `ValueError`. A plain scalar is what
the core schema of YAML 1.2 says (`yes`, `1:30`, `1_000` and `2026-01-01` are text), or refused
where YAML 1.1 reads another number. No value is lost to a second one of the same key. An alias
costs what it stands for, so that a few lines cannot become a billion values; no tag makes a type of
its own.
"""

import re
from collections.abc import Hashable
from typing import ClassVar

import yaml
from yaml.events import AliasEvent, Event
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode

MAX_CHARACTERS = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 100_000
"""Values, each alias counted as the values that it stands for."""
HOSTILE = (LookupError, TypeError, AttributeError, OverflowError, RecursionError)
"""What tags with a text that is none of theirs lead PyYAML into, besides its own errors."""
TAG = "tag:yaml.org,2002:"
CORE = {
    "null": re.compile(r"(?:~|null|Null|NULL|)\Z"),
    "bool": re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"),
    "int": re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"),
    "float": re.compile(
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
    ),
}
"""How YAML 1.2 writes each type of its core schema (section 10.3.2)."""
RESOLVERS = {
    None: [
        *((f"{TAG}{name}", written) for name, written in CORE.items()),
        (f"{TAG}merge", re.compile(r"<<\Z")),
    ]
}
"""The type of a plain scalar, whatever the scalar begins with."""
OCTAL = re.compile(r"[-+]?0[0-7]+")


def read_yaml_text(text: str) -> object:
    """The values in a text. Errors: `ValueError` that says what is wrong, on one line."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"it has more than {MAX_CHARACTERS:,} characters")
    try:
        return yaml.load(text, Loader=BoundedLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, *HOSTILE) as error:
        said = " ".join(str(error).split())[:500]
        raise ValueError(said or type(error).__name__) from error


def write_yaml_text(value: object, *, flow: bool = False) -> str:
    """Return plain values as a text that YAML 1.1 and YAML 1.2 read alike, each text on a line.
    flow: a list or a mapping is on one line too."""
    return str(
        yaml.dump(
            value,
            Dumper=EitherDumper,
            default_flow_style=flow,
            sort_keys=False,
            allow_unicode=True,
            width=MAX_CHARACTERS,
        )
    )


def number_of(loader: yaml.SafeLoader, node: ScalarNode) -> int | float:
    """Return the number of a scalar. Errors: `ValueError` where the scalar is none, or where its
    leading zero makes it an octal number in YAML 1.1 only."""
    text, line = loader.construct_scalar(node), node.start_mark.line + 1
    if CORE["int"].match(text):
        if OCTAL.fullmatch(text) and int(text, 8) != int(text):
            raise ValueError(
                f"{text[:80]} on line {line} is {int(text, 8)} in YAML 1.1 and {int(text)} in YAML "
                "1.2: leave the leading zeros out, or put a text in quotes"
            )
        return int(text, 0 if text[:2] in ("0o", "0x") else 10)
    if CORE["float"].match(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    raise ValueError(f"{text[:80]!r} on line {line} is no number")


def truth_of(loader: yaml.SafeLoader, node: ScalarNode) -> bool:
    """Return what a scalar says. Errors: `ValueError` where it says neither true nor false."""
    text = loader.construct_scalar(node)
    if not CORE["bool"].match(text):
        raise ValueError(f"{text[:80]!r} on line {node.start_mark.line + 1} is no bool")
    return text.lower() == "true"


def nothing_of(loader: yaml.SafeLoader, node: ScalarNode) -> None:
    """Errors: `ValueError` where a scalar says something."""
    if not CORE["null"].match(loader.construct_scalar(node)):
        raise ValueError(f"{node.value[:80]!r} on line {node.start_mark.line + 1} is no null")


def lines_of(text: str) -> dict[str, int]:
    """The line of each key by its dotted name, counted from 1, in a text that `read_yaml_text`
    reads; of a name that comes twice, the last one's."""
    found: dict[str, int] = {}

    def walk(node: Node | None, name: str) -> None:
        for key, value in node.value if isinstance(node, MappingNode) else ():
            if isinstance(key, ScalarNode):
                below = f"{name}.{key.value}" if name else str(key.value)
                found[below] = key.start_mark.line + 1
                walk(value, below)

    walk(yaml.compose(text, Loader=BoundedLoader), "")
    return found


class BoundedLoader(yaml.SafeLoader):
    """A `SafeLoader` of YAML 1.2 that counts what it composes, and refuses a key that comes
    twice."""

    yaml_implicit_resolvers = RESOLVERS
    yaml_constructors: ClassVar = {
        None: yaml.SafeLoader.construct_undefined,
        f"{TAG}null": nothing_of,
        f"{TAG}int": number_of,
        f"{TAG}float": number_of,
        f"{TAG}bool": truth_of,
        **{
            f"{TAG}{name}": yaml.SafeLoader.yaml_constructors[f"{TAG}{name}"]
            for name in ("str", "seq", "map")
        },
    }

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._open: list[str | None] = []
        """The anchors of the collections that are being composed."""
        self._sizes: dict[int, int] = {}
        self._nodes = 0
        self._lines: dict[int, dict[Hashable, int]] = {}
        """The line of each key of a mapping, by the identity of its node."""

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        """Compose one node. Errors: `ValueError` beyond the bounds, and for a key that its mapping
        has already."""
        event: Event = self.peek_event()  # type: ignore[no-untyped-call]
        anchor: str | None = getattr(event, "anchor", None)
        if isinstance(event, AliasEvent) and anchor in self._open:
            raise ValueError(f"the anchor {anchor} holds itself")
        if len(self._open) >= MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
        before = self._nodes
        self._open.append(None if isinstance(event, AliasEvent) else anchor)
        node: Node | None = super().compose_node(parent, index)
        self._open.pop()
        if isinstance(event, AliasEvent):
            self._nodes += self._sizes.get(id(node), 1)
        else:
            self._nodes += 1
            if isinstance(node, CollectionNode):
                self._sizes[id(node)] = self._nodes - before
        if self._nodes > MAX_NODES:
            raise ValueError(f"it has more than {MAX_NODES:,} values")
        if isinstance(parent, MappingNode) and index is None and isinstance(node, ScalarNode):
            self._refuse_twice(parent, node, event.start_mark.line + 1)
        return node

    def _refuse_twice(self, mapping: MappingNode, key: ScalarNode, line: int) -> None:
        """Errors: `ValueError` where the mapping has the key already: Python would keep the last
        value and drop the first."""
        value: Hashable = key.tag, key.value
        if key.tag != f"{TAG}merge":
            value = self.construct_object(key)
        lines = self._lines.setdefault(id(mapping), {})
        if value in lines:
            raise ValueError(
                f"the key {key.value[:80]!r} stands on line {lines[value]} and again on line "
                f"{line}: keep one"
            )
        lines[value] = line


class EitherDumper(yaml.SafeDumper):
    """A `SafeDumper` that puts a text in quotes where either version reads something else."""

    yaml_implicit_resolvers = yaml.SafeDumper.yaml_implicit_resolvers | RESOLVERS
