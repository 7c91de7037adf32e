"""From the words of a command line to a verb's arguments, parsed once by argparse.

>>> from lmeraser_ray.cli import train
>>> parse(train.VERBS[0], ["--workspace", "W", "--learner.epochs", "3"]).overrides
(('learner.epochs', '3'),)
"""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from lmeraser_ray.cli.verb import Verb
from lmeraser_ray.config.options import CHANGEABLE, FIELDS, add_options, nearest
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.storage.paths import location, on_disk

EVERY = "Every field of the configuration is an option too: `lmeraser help config` lists them."
SOME = (
    "Fields that may differ from the last training are options too: `lmeraser help config "
    "execution queue serve backbone.weights` lists them."
)


class VerbParser(argparse.ArgumentParser):
    """A parser that raises its errors."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse says as a `ConfigError`."""
        said = message.replace(
            ": expected one argument",
            " has no value: give one, as --name=VALUE where it begins with a dash",
        )
        raise ConfigError(f"{said.removeprefix('argument ')} (`{self.prog} --help` says more).")


def parse(verb: Verb, words: Sequence[str]) -> argparse.Namespace:
    """Return a verb's arguments; `overrides` are the fields of the configuration among them, as
    pairs of name and text in the order of the words. Errors: `ConfigError` for any mistake."""
    parser = parser_of(verb)
    if "--" in words:  # Python 3.11 takes the words after it for options when it parses intermixed
        args, unknown = parser.parse_known_args(words)
    else:
        args, unknown = parser.parse_known_intermixed_args(words)
    if unknown:
        raise ConfigError(mistake(verb, args, unknown[0]))
    args.overrides = tuple(args.overrides)
    return args


def mistake(verb: Verb, args: argparse.Namespace, word: str) -> str:
    """Return what is wrong with a word that the verb's parser does not know."""
    name = word.removeprefix("--").partition("=")[0]
    if not word.startswith("--") or not name:
        return (
            f"{word!r} was not understood: options are --name VALUE, fields of the configuration "
            "--section.field VALUE."
        )
    if name in FIELDS:
        return (
            f"--{name} would change what this workspace is: only execution, queue and serve "
            "fields can differ here. Train another workspace."
        )
    known = [*FIELDS, *(option for option in vars(args) if option != "overrides")]
    return (
        f"--{name} is no option of `lmeraser {verb.name}` and no field of the configuration"
        f"{nearest(name, known)} (`lmeraser help {verb.name}` and `lmeraser help config` list all)"
    )


def parser_of(verb: Verb) -> argparse.ArgumentParser:
    """Return the parser of a verb: its own options, and the fields that the verb takes, which its
    help does not list."""
    parser = VerbParser(
        f"lmeraser {verb.name}",
        description=verb.help,
        epilog=EVERY if verb.configures else SOME,
        allow_abbrev=False,
    )
    kind, where = (location, "folder or URL") if verb.folder == "workspace" else (on_disk, "folder")
    parser.add_argument(
        f"--{verb.folder}",
        type=kind,
        default=verb.folder,
        help=f"the {where} of the {verb.folder} ({verb.folder})",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    for argument in verb.arguments:
        argument.add_to(parser)
    usage = parser.format_usage().removeprefix("usage: ").replace("%", "%%")
    parser.usage = f"{usage}{' ' * len(f'usage: {parser.prog} ')}[--section.field VALUE ...]"
    add_options(parser, ("",) if verb.configures else CHANGEABLE)
    return parser
