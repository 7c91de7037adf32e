"""From files and options to a `Config`: YAML below, `--section.field value` above, every unknown
name refused with the nearest one."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

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
    """The configuration of a YAML file (or the quickstart's), a system's sections and overrides on
    top. Errors: `ConfigError`."""
    tree = read_yaml(path) if path else deepcopy(QUICKSTART)
    if system:
        tree = with_system(tree, system)
    return with_overrides(tree, overrides, source=str(path) if path else "the options")


def override(config: Config, overrides: Sequence[tuple[str, str]]) -> Config:
    """A configuration with some fields replaced."""
    if not overrides:
        return config
    return with_overrides(config.model_dump(mode="json"), overrides, source="the options")


def read_yaml(path: Path) -> Tree:
    """A YAML mapping, read safely. Errors: `ConfigError` with the line."""
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"--config {path} cannot be read ({error.strerror}): give the path of a YAML file."
        ) from error
    except (
        yaml.YAMLError,
        ValueError,
    ) as error:  # ValueError: no Unicode, or a date that does not exist
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
    """Validate a tree after setting dotted names in it."""
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
    """Errors: `ConfigError` with the nearest name where one is no field."""
    for name, _ in overrides:
        if name not in FIELDS:
            raise ConfigError(
                f"--{name} is no field of the configuration{nearest(name)} (`lmeraser train "
                "--help` lists all)"
            )


def value_of(name: str, text: str) -> Any:
    """An option's text: `null` is None, lists and mappings are YAML, all else is left to the
    field's own type."""
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
    """The first validation error as a sentence with the field's name."""
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


def nearest(name: str) -> str:
    """`: did you mean …?` for a field that looks like this one; by the whole name first, then by
    its last part."""
    found = get_close_matches(name, FIELDS, 1, 0.75)
    if not found:
        last = {field.rpartition(".")[2]: field for field in FIELDS}
        found = [last[match] for match in get_close_matches(name.rpartition(".")[2], last, 1, 0.7)]
    return f": did you mean {found[0]}?" if found else ""


@dataclass(frozen=True)
class Option:
    """A field that can be set: its default and description. kinds: those of its section that have
    it, empty where there is one kind."""

    default: Any
    about: str
    kinds: tuple[str, ...] = ()


def fields(
    model: type[BaseModel] = Config, prefix: str = "", kinds: tuple[str, ...] = ()
) -> Iterator[tuple[str, Option]]:
    """Every field that can be set, by its dotted name; one that several kinds of a section have
    comes several times."""
    for name, field in model.model_fields.items():
        sections = sections_in(field.annotation)
        for section in sections:
            own = (str(section.model_fields["kind"].default),) if len(sections) > 1 else kinds
            yield from fields(section, f"{prefix}{name}.", own)
        if not sections:
            yield f"{prefix}{name}", Option(field.default, field.description or "", kinds)


def sections_in(annotation: Any) -> list[type[BaseModel]]:
    """The section, or the kinds of section, that a field's type stands for; none for a plain
    value."""
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [section for part in get_args(annotation) for section in sections_in(part)]


def all_fields() -> dict[str, Option]:
    """Every field once. Of one that several kinds have, the first kind's default."""
    found: dict[str, Option] = {}
    for name, option in fields():
        known = found.get(name)
        found[name] = replace(known, kinds=(*known.kinds, *option.kinds)) if known else option
    return found


FIELDS: Mapping[str, Option] = all_fields()


def kinds_of(section: str) -> list[str]:
    """The kinds of a section, by the configuration's own order; none for a section of one kind."""
    return list(FIELDS[f"{section}.kind"].kinds) if f"{section}.kind" in FIELDS else []


def to_yaml(config: Config) -> str:
    """The effective configuration as YAML that `load_config` reads back."""
    return str(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def split_overrides(rest: Sequence[str]) -> list[tuple[str, str]]:
    """`--a.b value` and `--a.b=value` as pairs. Errors: `ConfigError` for anything else."""
    pairs: list[tuple[str, str]] = []
    waiting = list(rest)
    while waiting:
        word = waiting.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name:
            raise ConfigError(
                f"{word!r} was not understood: options are --name value, fields of the "
                "configuration --section.field value."
            )
        if not equals:
            if not waiting or waiting[0].startswith("--"):
                raise ConfigError(
                    f"{word} has no value: give one, for instance `{word} "
                    f"true`.{'' if name in FIELDS else nearest(name)}"
                )
            value = waiting.pop(0)
        pairs.append((name, value))
    return pairs


def divide(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Fields of the configuration with their values, and all other words: a field's value must not
    be taken for a picture."""
    fields: list[str] = []
    others: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        name, equals, _ = word.removeprefix("--").partition("=")
        if word == "--":
            return fields, [*others, word, *waiting]
        if not word.startswith("--") or ("." not in name and name not in FIELDS):
            others.append(word)
            continue
        fields.append(word)
        if not equals and waiting and not waiting[0].startswith("--"):
            fields.append(waiting.pop(0))
    return fields, others


def help_text() -> str:
    """All fields with their defaults, for `--help`."""
    lines = ["fields of the configuration (YAML, or --section.field value):", ""]
    for name, option in FIELDS.items():
        shown = "null" if option.default is None else option.default
        section = name.split(".")[0]
        some = (
            f" [{', '.join(option.kinds)}]"
            if option.kinds and option.kinds != tuple(kinds_of(section))
            else ""
        )
        choice = f"one of {', '.join(option.kinds)}. " if name == f"{section}.kind" else ""
        lines += [
            f"  --{name} ({shown}){some}",
            f"        {choice}{' '.join(option.about.split())}",
        ]
    return "\n".join(lines).replace("%", "%%")
