"""From systems, files and options to a `Config`: defaults < system < file < `--section.field
VALUE`. An unknown name is refused with the nearest one.

    >>> load_config(None, [("learner.epochs", "3")]).learner.epochs
    3

`FIELDS` lists every field of the models; `add_options` makes each an option of a command line.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from lmeraser_ray.config import Config
from lmeraser_ray.config.foreign_yaml import lines_of, read_yaml_text, write_yaml_text
from lmeraser_ray.config.layers import DEFAULT, OPTION, Layer, Layers, Tree, shortened
from lmeraser_ray.config.presets import system_layer
from lmeraser_ray.config.quickstart import NAME, QUICKSTART
from lmeraser_ray.config.several import several
from lmeraser_ray.config.slips import guess, near
from lmeraser_ray.config.wording import expected
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.storage.foreign_json import read_bounded

UNION_PART = re.compile(r"int\Z|tuple\[|constrained-tuple")
"""What Pydantic calls the types of a field that may be a number or a list."""
DOCUMENT_END = "...\n"
"""What PyYAML writes after a lone scalar."""


def load_config(
    path: Path | None, overrides: Sequence[tuple[str, str]], *, system: str | None = None
) -> Config:
    """Return the configuration of the defaults, a system, a YAML file (or `quickstart`) and
    overrides, each above what is named before it. Errors: `ConfigError`."""
    return validated(laid(path, overrides, system=system), named(path))


def print_config(
    path: Path | None, overrides: Sequence[tuple[str, str]], *, system: str | None = None
) -> str:
    """Return the effective configuration as YAML that `load_config` reads back, each value with
    where it is from in a comment. Errors: `ConfigError`."""
    layers = laid(path, overrides, system=system)
    config = validated(layers, named(path))
    return "\n".join(commented(config.model_dump(mode="json"), layers)) + "\n"


def commented(level: Tree, layers: Layers, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the lines of a configuration's tree."""
    for name, value in level.items():
        here, indent = (*path, name), "  " * len(path)
        if isinstance(value, dict):
            yield f"{indent}{name}:"
            yield from commented(value, layers, here)
        else:
            written = f"{on_one_line(name)}: {on_one_line(value)}"
            origin = layers.origin(".".join(here))
            safe = origin if origin.isprintable() else ascii(origin)
            yield f"{indent}{written:<{40 - len(indent)}} # {safe}"


def on_one_line(value: object) -> str:
    """Return a value of a field, or its name, as YAML on one line."""
    return write_yaml_text(value, flow=True).removesuffix(DOCUMENT_END).rstrip()


def laid(
    path: Path | None, overrides: Sequence[tuple[str, str]], *, system: str | None = None
) -> Layers:
    """Return the layers of a configuration, unvalidated. Errors: `ConfigError`."""
    layers = Layers()
    if system:
        layers.lay(system_layer(system))
    if path:
        layers.lay(file_layer(path))
    return layers.lay(option_layer(overrides))


def named(path: Path | None) -> str:
    """Return what messages call the whole configuration."""
    return str(path) if path else "the options"


def override(config: Config, overrides: Sequence[tuple[str, str]]) -> Config:
    """Return a configuration with some fields replaced. Errors: `ConfigError`."""
    if not several(overrides, "overrides"):
        return config
    return with_overrides(config.model_dump(mode="json"), overrides, source="the options")


def file_layer(path: Path) -> Layer:
    """Read a YAML mapping safely, or take the quickstart where it is named and no such file is
    there. Errors: `ConfigError` with the line."""
    if str(path) == NAME and not path.exists():
        return Layer(QUICKSTART, f"configuration {NAME}")
    try:
        text = read_bounded(path).decode()
        read, lines = read_yaml_text(text), lines_of(text)
    except OSError as error:
        raise ConfigError(
            f"--config {path} cannot be read ({error.strerror}): give the path of a YAML file, or "
            f"{NAME}."
        ) from error
    except ValueError as error:  # no YAML, or no Unicode
        raise ConfigError(f"--config {path} is not valid YAML: {error}") from error
    if read is not None and not isinstance(read, dict):
        raise ConfigError(
            f"--config {path} holds a {type(read).__name__}, expected sections such as `learner:` "
            "with fields below."
        )
    return Layer(read or {}, f"file {path}", lines)


def read_yaml(path: Path) -> Tree:
    """Return the tree of a file, or of the quickstart. Errors: as `file_layer`."""
    return file_layer(path).tree


def option_layer(overrides: Sequence[tuple[str, str]], origin: str = OPTION) -> Layer:
    """Return dotted names with their texts as a layer; of a name that comes twice the last one
    counts. Errors: `ConfigError`."""
    refuse_unknown(overrides)
    tree: Tree = {}
    for name, text in overrides:
        *sections, field = name.split(".")
        level = tree
        for section in sections:
            level = level.setdefault(section, {})
        level[field] = value_of(name, text)
    return Layer(tree, origin)


def with_overrides(tree: Tree, overrides: Sequence[tuple[str, str]], *, source: str) -> Config:
    """Return a tree with dotted names set as a valid configuration. source: names the tree in
    messages. Errors: `ConfigError`."""
    layers = Layers().lay(Layer(tree, source))
    return validated(layers.lay(option_layer(overrides, source)), source)


def validated(layers: Layers, source: str) -> Config:
    """Return what the layers come to. source: names the whole in messages. Errors:
    `ConfigError`."""
    try:
        return Config.model_validate(layers.tree)
    except ValidationError as error:
        raise ConfigError(explained(error, layers, source)) from error


def refuse_unknown(overrides: Sequence[tuple[str, str]]) -> None:
    """Refuse names that are no field. Errors: `ConfigError` with the nearest name; `TypeError`
    where the overrides are no pairs."""
    for name, _ in several(overrides, "overrides", tuple, list):
        if name not in FIELDS:
            raise ConfigError(
                f"--{name} is no field of the configuration{nearest(name)} (`lmeraser help "
                "config` lists all)"
            )


def value_of(name: str, text: str) -> Any:
    """Return the value of an option's text by its field's type: `null` is None where the type has
    it, a list or a mapping is YAML, and all else is left to the type. Errors: `ConfigError`."""
    option = FIELDS[name]
    if type(None) in option.types and (
        text == "null" or (text in ("none", "None") and not option.types & TEXTS)
    ):
        return None
    if not option.types & COLLECTIONS or not text.startswith(("[", "{")):
        return text
    try:
        return read_yaml_text(text)
    except ValueError as error:
        raise ConfigError(f"--{name} {text[:80]!r} is not valid YAML: {error}") from error


def explained(error: ValidationError, layers: Layers, source: str) -> str:
    """Return the first validation error as a sentence with the field's name and where its value is
    from."""
    first = error.errors()[0]
    name = name_at(first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{source}: {message}."
    source = {DEFAULT: source, OPTION: "the options"}.get(layers.origin(name), layers.origin(name))
    if first["type"] == "extra_forbidden" and name in FIELDS:
        return (
            f"{name} in {source} goes with {name.split('.')[0]}.kind "
            f"{' or '.join(FIELDS[name].kinds)} only: set that, or leave it out."
        )
    if first["type"] == "extra_forbidden":
        return (
            f"{name} in {source} is no field of the configuration{nearest(name)} (`lmeraser help "
            "config` lists all)"
        )
    if first["type"] == "union_tag_invalid":
        found = first["ctx"]["tag"][:80]
        known = [tag.strip("'") for tag in first["ctx"]["expected_tags"].split(", ")]
        return (
            f"{name}.kind is {found!r} in {source}, expected one of "
            f"{', '.join(known)}{guess(found, known) or '.'}"
        )
    wanted = expected(first["type"], first.get("ctx", {})) or "another value"
    return f"{name} is {shortened(first['input'])} in {source}, expected {wanted}."


def name_at(place: Sequence[int | str]) -> str:
    """Return the dotted name of a place in the configuration: Pydantic names the kind of a section
    too, and which of its types a value was taken for."""
    parts = list(map(str, place))
    kinds = (kinds_of(before) for before in ["", *parts])
    return ".".join(
        part
        for part, known in zip(parts, kinds, strict=False)
        if part not in known and not UNION_PART.match(part)
    )[:200]


def nearest(name: str, known: Iterable[str] | None = None) -> str:
    """`: did you mean …?` for the known name that looks most like this one; the whole name is
    compared first, then its last part. known: the fields, unless given."""
    names = list(FIELDS if known is None else known)
    sections = {name.rpartition(".")[0] for name in names} - {""}
    whole = guess(name, sorted({*names, *sections}))
    last = {field.rpartition(".")[2]: field for field in reversed(names)}
    part = near(name.rpartition(".")[2], last)
    return whole or (f": did you mean {last[part]}?" if part else "")


@dataclass(frozen=True)
class Option:
    """A field that can be set: its default, its description, and the values of a choice. kinds: the
    kinds of its section that have the field, empty where the section has one kind; types: what its
    values may be."""

    default: Any
    about: str
    choices: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    types: frozenset[type] = frozenset()


TEXTS, COLLECTIONS = frozenset({str, Path}), frozenset({tuple, list, dict})
"""Types of fields that take any text, and those that a text gives as YAML."""


def fields(
    model: type[BaseModel] = Config, prefix: str = "", kinds: tuple[str, ...] = ()
) -> Iterator[tuple[str, Option]]:
    """Yield every field that can be set, by its dotted name; a field of several kinds of a section
    comes once for each kind."""
    for name, field in model.model_fields.items():
        sections = sections_in(field.annotation)
        for section in sections:
            own = (str(section.model_fields["kind"].default),) if len(sections) > 1 else kinds
            yield from fields(section, f"{prefix}{name}.", own)
        if not sections:
            choices, types = choices_in(field.annotation), types_in(field.annotation)
            about = field.description or ""
            yield f"{prefix}{name}", Option(field.default, about, choices, kinds, types)


def sections_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the section, or the kinds of section, in a field's type; none for a plain value, and
    for a list of sections, which is given as a whole."""
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    if get_origin(annotation) is tuple:
        return []
    return [section for part in get_args(annotation) for section in sections_in(part)]


def choices_in(annotation: Any) -> tuple[str, ...]:
    """Return the values that a field's type lists, `null` included; none where it lists none."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    found = [value for part in get_args(annotation) for value in choices_in(part)]
    return (*found, "null") if found and type(None) in get_args(annotation) else tuple(found)


def types_in(annotation: Any) -> frozenset[type]:
    """Return the types that a field's value may have: `str` for a choice of texts, and what holds a
    collection without its members."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return frozenset(map(type, parts))
    if origin is Annotated:
        return types_in(parts[0])
    if origin in (Union, UnionType):
        return frozenset[type]().union(*map(types_in, parts))
    return frozenset({origin or annotation})


def all_fields() -> dict[str, Option]:
    """Return every field once. A field of several kinds has the first kind's default."""
    found: dict[str, Option] = {}
    for name, option in fields():
        known = found.setdefault(name, option)
        if known is not option:
            choices = tuple(dict.fromkeys((*known.choices, *option.choices)))
            found[name] = replace(
                known,
                choices=choices,
                kinds=(*known.kinds, *option.kinds),
                types=known.types | option.types,
            )
    return found


FIELDS: Mapping[str, Option] = all_fields()
CHANGEABLE = ("execution.", "queue.", "serve.", "backbone.weights")
"""How the names of the fields begin that may differ from the workspace's last training."""


def kinds_of(section: str) -> list[str]:
    """Return the kinds of a section in the configuration's order; none for a section of one
    kind."""
    return list(FIELDS[f"{section}.kind"].kinds) if f"{section}.kind" in FIELDS else []


def to_yaml(config: Config) -> str:
    """Return the effective configuration as YAML that `load_config` reads back."""
    return write_yaml_text(config.model_dump(mode="json"))


def add_options(parser: argparse.ArgumentParser, starts: Sequence[str] = ("",)) -> None:
    """Register the fields as options that the parser's help does not show: `lmeraser help config`
    does. starts: how the names of the wanted fields begin. The parsed pairs of name and text are
    `overrides`, in their order."""
    for name, option in FIELDS.items():
        if name.startswith(tuple(starts)):
            parser.add_argument(
                f"--{name}",
                dest="overrides",
                action="append",
                default=[],
                type=partial(pair, name),
                metavar=f"{{{','.join(option.choices)}}}" if option.choices else "VALUE",
                help=argparse.SUPPRESS,
            )


def pair(name: str, text: str) -> tuple[str, str]:
    """Return an option's name and text."""
    return name, text


def about(section: str) -> str:
    """Return the first paragraph of the module that defines a section."""
    model = (
        sections_in(Config.model_fields[section].annotation)[0]
        if section in Config.model_fields
        else Config
    )
    return (sys.modules[model.__module__].__doc__ or "").split("\n\n")[0]


def help_of(name: str, option: Option) -> str:
    """Return what a field does, the kinds that have it where not all do, and its default."""
    of_some = option.kinds and option.kinds != tuple(kinds_of(name.split(".", maxsplit=1)[0]))
    kinds = f"[{', '.join(option.kinds)}] " if of_some else ""
    default = option.default
    if default is None or isinstance(default, bool):  # 1 and 0.0 are no booleans, though equal
        default = on_one_line(default)
    elif default == ():
        default = "an empty list"
    return " ".join(f"{kinds}{option.about} ({default})".split())
