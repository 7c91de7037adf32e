"""From files and options to a `Config`: YAML below, `--section.field VALUE` above. An unknown name
is refused with the nearest one.

    >>> load_config(None, [("learner.epochs", "3")]).learner.epochs
    3

`FIELDS` lists every field of the models; `add_options` makes each an option of a command line.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from lmeraser_ray.config import Config
from lmeraser_ray.config.presets import with_system
from lmeraser_ray.config.quickstart import QUICKSTART
from lmeraser_ray.errors import ConfigError

Tree = dict[str, Any]


def load_config(
    path: Path | None, overrides: Sequence[tuple[str, str]], *, system: str | None = None
) -> Config:
    """Return the configuration of a YAML file (or the quickstart's), with a system's sections and
    overrides on top. Errors: `ConfigError`."""
    tree = read_yaml(path) if path else deepcopy(QUICKSTART)
    if system:
        tree = with_system(tree, system)
    return with_overrides(tree, overrides, source=str(path) if path else "the options")


def override(config: Config, overrides: Sequence[tuple[str, str]]) -> Config:
    """Return a configuration with some fields replaced. Errors: `ConfigError`."""
    if not overrides:
        return config
    return with_overrides(config.model_dump(mode="json"), overrides, source="the options")


def read_yaml(path: Path) -> Tree:
    """Read a YAML mapping safely. Errors: `ConfigError` with the line."""
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"--config {path} cannot be read ({error.strerror}): give the path of a YAML file."
        ) from error
    except (yaml.YAMLError, ValueError) as error:  # no YAML, no Unicode, or no date of a calendar
        raise ConfigError(
            f"--config {path} is not valid YAML: {' '.join(str(error).split())}"
        ) from error
    if read is not None and not isinstance(read, dict):
        raise ConfigError(
            f"--config {path} holds a {type(read).__name__}, expected sections such as `learner:` "
            "with fields below."
        )
    return read or {}


def with_overrides(tree: Tree, overrides: Sequence[tuple[str, str]], *, source: str) -> Config:
    """Set dotted names in a tree, and return it as a valid configuration. source: names the tree in
    messages. Errors: `ConfigError`."""
    refuse_unknown(overrides)
    for name, text in sorted(
        overrides, key=lambda pair: (not pair[0].endswith(".kind"), pair[0].count("."))
    ):  # kinds first, the outer before
        *sections, field = name.split(".")
        level = tree
        for section in sections:
            if level.get(section) is None:  # a section whose fields are all commented out
                level[section] = {}
            level = level[section]
            if not isinstance(level, dict):
                raise ConfigError(f"{section} is {level!r} in {source}, expected fields below it.")
        if (
            field == "kind"
            and len(sections) == 1
            and text != level.get(field, FIELDS[name].default)
        ):
            level.clear()  # the fields of another kind
        level[field] = value_of(name, text)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(explained(error, source)) from error


def refuse_unknown(overrides: Sequence[tuple[str, str]]) -> None:
    """Refuse names that are no field. Errors: `ConfigError` with the nearest name."""
    for name, _ in overrides:
        if name not in FIELDS:
            raise ConfigError(
                f"--{name} is no field of the configuration{nearest(name)} (`lmeraser train "
                "--help` lists all)"
            )


def value_of(name: str, text: str) -> Any:
    """Return the value of an option's text: `null` is None, lists and mappings are YAML, all else
    is left to the field's own type. Errors: `ConfigError`."""
    if text in ("null", "none", "None"):
        return None
    if not text.startswith(("[", "{")):
        return text
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(
            f"--{name} {text!r} is not valid YAML: {' '.join(str(error).split())}"
        ) from error


def explained(error: ValidationError, source: str) -> str:
    """Return the first validation error as a sentence with the field's name."""
    first = error.errors()[0]
    name = ".".join(
        str(part)
        for at, part in enumerate(first["loc"])
        if not (at == 1 and part in kinds_of(str(first["loc"][0])))
    )
    if first["type"] == "extra_forbidden" and name in FIELDS:
        return (
            f"{name} in {source} goes with {name.split('.')[0]}.kind "
            f"{' or '.join(FIELDS[name].kinds)} only: set that, or leave it out."
        )
    if first["type"] == "extra_forbidden":
        return (
            f"{name} in {source} is no field of the configuration{nearest(name)} (`lmeraser train "
            "--help` lists all)"
        )
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{source}: {message}."
    if first["type"] == "union_tag_invalid":
        found = first["ctx"]["tag"]
        near = get_close_matches(found, kinds_of(name), 1)
        guess = f": did you mean {near[0]}?" if near else "."
        return (
            f"{name}.kind is {found!r} in {source}, expected one of "
            f"{', '.join(kinds_of(name))}{guess}"
        )
    return f"{name} is {first['input']!r} in {source}: {message[:1].lower()}{message[1:]}."


def nearest(name: str, known: Iterable[str] | None = None) -> str:
    """`: did you mean …?` for the known name that looks most like this one; the whole name is
    compared first, then its last part. known: the fields, unless given."""
    names = list(FIELDS if known is None else known)
    found = get_close_matches(name, names, 1, 0.75)
    if not found:
        last = {field.rpartition(".")[2]: field for field in names}
        found = [last[match] for match in get_close_matches(name.rpartition(".")[2], last, 1, 0.7)]
    return f": did you mean {found[0]}?" if found else ""


@dataclass(frozen=True)
class Option:
    """A field that can be set: its default, its description, and the values of a choice. kinds: the
    kinds of its section that have the field, empty where the section has one kind."""

    default: Any
    about: str
    choices: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


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
            choices = choices_in(field.annotation)
            yield f"{prefix}{name}", Option(field.default, field.description or "", choices, kinds)


def sections_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the section, or the kinds of section, in a field's type; none for a plain value."""
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [section for part in get_args(annotation) for section in sections_in(part)]


def choices_in(annotation: Any) -> tuple[str, ...]:
    """Return the values that a field's type lists, `null` included; none where it lists none."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    found = [value for part in get_args(annotation) for value in choices_in(part)]
    return (*found, "null") if found and type(None) in get_args(annotation) else tuple(found)


def all_fields() -> dict[str, Option]:
    """Return every field once. A field of several kinds has the first kind's default."""
    found: dict[str, Option] = {}
    for name, option in fields():
        known = found.setdefault(name, option)
        if known is not option:
            choices = tuple(dict.fromkeys((*known.choices, *option.choices)))
            found[name] = replace(known, choices=choices, kinds=(*known.kinds, *option.kinds))
    return found


FIELDS: Mapping[str, Option] = all_fields()
CHANGEABLE = ("execution.", "queue.", "backbone.weights")
"""How the names of the fields begin that may differ from the workspace's last training."""


def kinds_of(section: str) -> list[str]:
    """Return the kinds of a section in the configuration's order; none for a section of one
    kind."""
    return list(FIELDS[f"{section}.kind"].kinds) if f"{section}.kind" in FIELDS else []


def to_yaml(config: Config) -> str:
    """Return the effective configuration as YAML that `load_config` reads back."""
    return str(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def add_options(parser: argparse.ArgumentParser, starts: Sequence[str] = ("",)) -> None:
    """Register the fields as options in a group for each section. starts: how the names of the
    wanted fields begin. The parsed pairs of name and text are `overrides`, in their order."""
    groups: dict[str, Callable[..., object]] = {}
    for name, option in FIELDS.items():
        if not name.startswith(tuple(starts)):
            continue
        section = name.split(".")[0] if "." in name else "configuration"
        if section not in groups:
            groups[section] = parser.add_argument_group(section, about(section)).add_argument
        groups[section](
            f"--{name}",
            dest="overrides",
            action="append",
            default=[],
            type=lambda text, name=name: (name, text),
            metavar=f"{{{','.join(option.choices)}}}" if option.choices else "VALUE",
            help=help_of(name, option).replace("%", "%%"),
        )


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
    default = {None: "null", True: "true", False: "false"}.get(option.default, option.default)
    return " ".join(f"{kinds}{option.about} ({default})".split())
