"""The command line: `lmeraser VERB` and `python -m lmeraser_ray.VERB` are this one function.

Results go to stdout, progress and notes to stderr; with `--json` stdout is one JSON object. Exit
codes: see `errors.py`.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from lmeraser_ray import __version__
from lmeraser_ray.cli.verb import Verb
from lmeraser_ray.cli.verbs import VERBS
from lmeraser_ray.config.options import divide, help_text, refuse_unknown, split_overrides
from lmeraser_ray.errors import INTERRUPTED, ConfigError, LmeraserError
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.storage.paths import location, on_disk


def run(verb: str | None = None, argv: Sequence[str] | None = None) -> int:
    """Run a verb (the first argument unless given). Returns the exit code; never raises for what a
    user can cause."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if verb is None:
            verb, words = choose(words)
        return perform(VERBS[verb], words)
    except LmeraserError as error:
        print(f"lmeraser: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(
            "lmeraser: interrupted. What is finished is kept: run the same command again to go on.",
            file=sys.stderr,
        )
        return INTERRUPTED
    except BrokenPipeError:
        return 0


def choose(words: list[str]) -> tuple[str, list[str]]:
    """The verb among the arguments, and the rest."""
    if not words or words[0] in ("-h", "--help"):
        listed = "\n".join(f"  {name:<12} {verb.about}" for name, verb in VERBS.items())
        print(
            "usage: lmeraser VERB [options]\n\nExact unlearning for image "
            f"classifiers.\n\n{listed}\n\n`lmeraser VERB --help` says more."
        )
        raise SystemExit(0 if words else 2)
    if words[0] == "--version":
        print(f"lmeraser_ray {__version__}")
        raise SystemExit(0)
    if words[0] not in VERBS:
        from difflib import get_close_matches

        near = get_close_matches(words[0], VERBS, 1)
        raise ConfigError(
            f"{words[0]!r} is no verb{f': did you mean {near[0]}?' if near else '.'} Verbs are "
            f"{', '.join(VERBS)}."
        )
    return words[0], words[1:]


def perform(verb: Verb, words: list[str]) -> int:
    """Parse a verb's arguments, do it, print its report."""
    args = parse(verb, words)
    progress = Progress(quiet=True if args.quiet else None)
    report = verb.run(args, progress)
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    if args.json and report.data is not None:
        print(json.dumps(report.data))
    else:
        print(report.text)
    return report.exit_code


def parse(verb: Verb, words: list[str]) -> argparse.Namespace:
    """A verb's arguments; `overrides` are the fields of the configuration among them."""
    fields, others = divide(words)
    args, rest = parser_of(verb).parse_known_args(others)
    args.overrides = tuple(split_overrides([*fields, *rest]))
    refuse_unknown(args.overrides)
    return args


def parser_of(verb: Verb) -> argparse.ArgumentParser:
    """A verb's own options; all other `--a.b value` are fields of the configuration."""
    shown = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        f"lmeraser {verb.name}",
        description=verb.about,
        epilog=help_text(),
        formatter_class=shown,
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
    verb.options(parser)
    return parser


def main(verb: str | None = None) -> None:
    """Run and exit: the entry point of `lmeraser` and of `python -m lmeraser_ray.VERB`."""
    sys.exit(run(verb))
