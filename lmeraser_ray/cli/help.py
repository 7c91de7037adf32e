"""What `lmeraser help` shows: all verbs by group, one verb, or the fields of the configuration.

Everything is read from the verbs and from the fields, so that nothing here goes stale.
"""

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence

from lmeraser_ray.cli.verb import Verb
from lmeraser_ray.cli.verbs import GROUPS, VERBS
from lmeraser_ray.cli.words import parser_of
from lmeraser_ray.config import Config
from lmeraser_ray.config.options import FIELDS, Option, about, help_of, sections_in
from lmeraser_ray.config.slips import guess
from lmeraser_ray.errors import ConfigError

WIDTH = 100
"""Columns where the output is no terminal."""
LEAST = 40
REST = "configuration"
"""The section of the fields that are in none."""
EXAMPLES = """\
examples:
  lmeraser demo                                       the whole story on handwritten digits
  lmeraser train --config configs/folder.yaml         train on your own pictures
  lmeraser unlearn --subjects person-17               erase a person, up to the certificate"""
MORE = (
    "`lmeraser help VERB` (or `lmeraser VERB --help`) shows a verb's options, `lmeraser help "
    "config [SECTION]` the fields of the configuration, `lmeraser version` the version."
)


def help_about(words: Sequence[str]) -> str:
    """Return the help about all verbs, or about what the words name: a verb, or `config` with a
    section. Errors: `ConfigError` for anything else."""
    if not words:
        return overview()
    if words[0] == "config":
        return fields_help(words[1:])
    if words[0] in VERBS:
        return parser_of(VERBS[words[0]]).format_help().rstrip()
    raise ConfigError(
        f"{words[0]!r} is no verb{guess(words[0], (*VERBS, 'config')) or '.'} `lmeraser help` "
        "lists all; `lmeraser help config` the fields of the configuration."
    )


def overview() -> str:
    """Return the help about all verbs, by group."""
    width = columns()
    groups = [
        "\n".join([f"{name}:", *(line for verb in verbs for line in verb_lines(verb, width))])
        for name, verbs in GROUPS.items()
    ]
    return "\n\n".join(
        [
            "usage: lmeraser VERB [options]",
            "Exact unlearning for image classifiers.",
            *groups,
            EXAMPLES,
            textwrap.fill(MORE, width),
        ]
    )


def verb_lines(verb: Verb, width: int) -> list[str]:
    """Return a verb's name and what it does in short, in lines of this width."""
    first = f"  {verb.name:<12} "
    return textwrap.wrap(
        verb.help.splitlines()[0], width, initial_indent=first, subsequent_indent=" " * len(first)
    )


def columns() -> int:
    """Return how wide a line may be: one column less than the terminal."""
    return max(LEAST, shutil.get_terminal_size((WIDTH, 24)).columns) - 1


def fields_help(named: Sequence[str]) -> str:
    """Return the fields of the named sections, or of all, with their texts and choices. A name may
    go on to a part of a section, or to one field. Errors: `ConfigError` for a name of none."""
    sections = list(dict.fromkeys(section_of(name) for name in FIELDS))
    for name in named:
        if not chosen((name,)):
            raise ConfigError(
                f"{name!r} is no section of the configuration{guess(name, sections) or '.'} "
                f"Sections are {', '.join(sections)}."
            )
    wanted = chosen(named) if named else dict(FIELDS)
    width = columns()
    lines = textwrap.wrap(
        "Fields are options (`--section.field VALUE`), or lines of the YAML file that `--config` "
        "names. In brackets: the kinds that have a field, and the default.",
        width,
    )
    for section in dict.fromkeys(map(section_of, wanted)):
        head = textwrap.wrap(f"{section}: {' '.join(about(section).split())}", width)
        lines += ["", *head]
        for name, option in wanted.items():
            if section_of(name) == section:
                lines += ["", *field_lines(name, option, width)]
    return "\n".join(lines)


def chosen(named: Sequence[str]) -> dict[str, Option]:
    """Return the fields of sections, parts of sections, or single fields, by their names."""
    return {
        name: option
        for name, option in FIELDS.items()
        if any(
            section_of(name) == each or name == each or name.startswith(f"{each}.")
            for each in named
        )
    }


def section_of(name: str) -> str:
    """Return the section of a field."""
    return name.split(".", maxsplit=1)[0] if "." in name else REST


def field_lines(name: str, option: Option, width: int) -> Iterator[str]:
    """Yield a field's option, its text, and its choices."""
    yield f"  --{name} VALUE"
    indent = " " * 6
    told = [help_of(name, option), *kinds_told(name)]
    if option.choices and len(told) == 1:
        told.append(f"One of: {', '.join(map(str, option.choices))}.")
    for text in told:
        yield from textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent)


def kinds_told(name: str) -> list[str]:
    """Return what each kind of a section is, where a field chooses the section's kind."""
    section, _, field = name.partition(".")
    if field != "kind":
        return []
    return [
        f"{kind.model_fields['kind'].default}: {' '.join((kind.__doc__ or '').split())}"
        for kind in sections_in(Config.model_fields[section].annotation)
    ]


def print_help(words: Sequence[str]) -> None:
    """Print what `help_about` returns."""
    sys.stdout.write(f"{help_about(words)}\n")
