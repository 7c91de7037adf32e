"""The generated parts of the reference: what the parser, the configuration and the metrics say now.

A page holds a line `<!-- generated: NAME -->`; MkDocs calls `on_page_markdown` for each page, which
puts the text of `GENERATED[NAME]` in the line's place. Nothing generated is kept, so that nothing
goes stale.
"""

import argparse
import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lmeraser_ray.cli.verbs import VERBS
from lmeraser_ray.cli.words import parser_of
from lmeraser_ray.config import EXECUTION, Config

ROOT = Path(__file__).parents[1]
MARKER = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
BOUNDS = {
    annotated_types.Ge: "≥ {0.ge}",
    annotated_types.Gt: "> {0.gt}",
    annotated_types.Le: "≤ {0.le}",
    annotated_types.Lt: "< {0.lt}",
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the generated texts in the place of their markers. Errors: `KeyError` for a name that
    nothing generates."""
    return MARKER.sub(lambda found: GENERATED[found[1]](), markdown)


def verbs() -> str:
    """Every verb with what it does, and every option of its own."""
    return "\n\n".join(verb_section(name) for name in VERBS)


def verb_section(name: str) -> str:
    """One verb: heading, what it does, how it is called, its options."""
    verb = VERBS[name]
    own = [action for action in parser_of(verb)._actions if not is_common(action, verb.folder)]
    words = [metavar(action) for action in own if not action.option_strings]
    lines = [
        f"## {name}",
        "",
        verb.help,
        "",
        "```text",
        " ".join(
            ["lmeraser", name, *words, f"[--{verb.folder} {verb.folder[0].upper()}] [options]"]
        ),
        "```",
    ]
    if verb.configures:
        lines += ["", "Takes every [field of the configuration](configuration.md)."]
    if own:
        lines += ["", "| option | what it does |", "|---|---|"]
        lines += [f"| {spelled(action)} | {cell(action.help or '')} |" for action in own]
    return "\n".join(lines)


def is_common(action: argparse.Action, folder: str) -> bool:
    """Whether every verb has the option: help, the folder, the output's form, a field of the
    configuration."""
    names = {text.lstrip("-") for text in action.option_strings}
    common = {"help", folder, "json", "quiet", *(name for name, *_ in rows())}
    return bool(names & common) or action.help == argparse.SUPPRESS


def metavar(action: argparse.Action) -> str:
    """How a word without an option's name is shown."""
    if action.choices:
        return "{" + ",".join(map(str, action.choices)) + "}"
    shown = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return f"{shown}…" if action.nargs in ("*", "+") else shown


def spelled(action: argparse.Action) -> str:
    """An option as it is typed."""
    if not action.option_strings:
        return f"`{metavar(action)}`"
    value = "" if action.nargs == 0 else f" {metavar(action)}"
    return f"`{', '.join(action.option_strings)}{value}`"


def configuration() -> str:
    """Every section and field of the configuration: type, default, whether it is execution."""
    return "\n\n".join(
        table(f"## {name}", members_of(field.annotation), name, EXECUTION in field.metadata)
        if members_of(field.annotation)
        else f"## {name}\n\n{HEAD}\n{row(name, field, False)}"
        for name, field in Config.model_fields.items()
    )


HEAD = "| field | type | default | enters keys | what it decides |\n|---|---|---|---|---|"


def table(heading: str, members: list[type[BaseModel]], prefix: str, execution: bool) -> str:
    """A section: one table, or one for each of its kinds."""
    parts = [heading]
    for member in members:
        if len(members) > 1:
            parts.append(f"### {prefix}.kind: {member.model_fields['kind'].default}")
        parts.append(sentence(member.__doc__ or ""))
        fields = [
            row(name, field, marked)
            for name, field, marked in walk(member, f"{prefix}.", execution)
            if not (name == f"{prefix}.kind" and len(members) > 1)
        ]
        parts.append("\n".join([HEAD, *fields]))
    return "\n\n".join(parts)


def rows() -> Iterator[tuple[str, FieldInfo, bool]]:
    """Every field of the configuration by its dotted name."""
    yield from walk(Config, "", False)


def walk(
    model: type[BaseModel], prefix: str, execution: bool
) -> Iterator[tuple[str, FieldInfo, bool]]:
    """The fields of a section and of the sections within, and whether each is execution."""
    for name, field in model.model_fields.items():
        marked = execution or EXECUTION in field.metadata
        members = members_of(field.annotation)
        for member in members:
            yield from walk(member, f"{prefix}{name}.", marked)
        if not members:
            yield f"{prefix}{name}", field, marked


def members_of(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a field's type stands for: one, several kinds of one, or none. A list of
    sections is one value."""
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    if get_origin(annotation) is tuple:
        return []
    return [member for part in get_args(annotation) for member in members_of(part)]


def row(name: str, field: FieldInfo, execution: bool) -> str:
    """One line of a table of fields."""
    default = (
        json.dumps(field.default)
        if field.default in (None, ()) or isinstance(field.default, bool)
        else str(field.default)
    )
    kind = ", ".join([shown(field.annotation), *bounds(field.metadata)])
    about = cell(field.description or "")
    return f"| `{name}` | {kind} | `{default}` | {'no' if execution else 'yes'} | {about} |"


def shown(annotation: Any) -> str:
    """A field's type in words: `a` or `b`; whole number; text or null."""
    origin = get_origin(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        extra = [part for each in metadata for part in getattr(each, "metadata", [each])]
        return ", ".join([shown(inner), *bounds(extra)])
    if origin in (Union, UnionType):
        return " or ".join(shown(part) for part in get_args(annotation))
    if origin is tuple:
        parts = get_args(annotation)
        if Ellipsis not in parts:
            return f"{len(parts)} numbers"
        return "list of systems" if members_of(parts[0]) else f"list of {shown(parts[0])}s"
    names = {int: "whole number", float: "number", bool: "true or false", str: "text"}
    return {**names, Path: "path", type(None): "null"}.get(annotation, str(annotation))


def bounds(metadata: list[Any]) -> list[str]:
    """A number's bounds."""
    known = [(each, form) for each in metadata if (form := BOUNDS.get(type(each)))]
    return [form.format(each).replace(str(2**53), "2^53") for each, form in known]


def metrics() -> str:
    """Every metric of the queue, by the source of `lmeraser_ray/distributed/metrics.py`."""
    tree = ast.parse((ROOT / "lmeraser_ray" / "distributed" / "metrics.py").read_text())
    lines = ["| metric | kind | labels | |", "|---|---|---|---|"]
    for call in ast.walk(tree):
        kind = getattr(getattr(call, "func", None), "id", None)
        if isinstance(call, ast.Call) and kind in ("gauge", "counter", "histogram"):
            name, what, *labels = [
                each.value for each in call.args if isinstance(each, ast.Constant)
            ]
            total = "_total" if kind == "counter" else ""
            with_workspace = ", ".join(f"`{label}`" for label in ("workspace", *labels))
            lines.append(
                f"| `ray_lmeraser_{name}{total}` | {kind} | {with_workspace} | {cell(what)} |"
            )
    return "\n".join(lines)


def cell(text: str) -> str:
    """Text for a table: one line, no bars, no percent signs that argparse doubles."""
    flat = " ".join(text.split())
    return flat.replace("|", "\\|").replace("%%", "%").replace("<", "&lt;")


def sentence(text: str) -> str:
    """One line that begins with a capital and ends with a full stop."""
    flat = " ".join(text.split())
    return f"{flat[:1].upper()}{flat[1:].removesuffix('.')}." if flat else ""


GENERATED: dict[str, Callable[[], str]] = {
    "verbs": verbs,
    "configuration": configuration,
    "metrics": metrics,
}
