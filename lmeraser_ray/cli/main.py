"""The command line: `lmeraser VERB` and `python -m lmeraser_ray.VERB` are this one function.

    >>> run("fingerprint", ["--workspace", "nowhere"])  # and says why on stderr
    2

Results go to stdout, progress and notes to stderr; with `--json` stdout is one JSON object. Exit
codes: see `errors.py`.
"""

import json
import sys
from collections.abc import Sequence

from lmeraser_ray import __version__
from lmeraser_ray.cli.verb import Verb
from lmeraser_ray.cli.verbs import GROUPS, VERBS
from lmeraser_ray.cli.words import parse
from lmeraser_ray.config.options import nearest
from lmeraser_ray.errors import INTERRUPTED, ConfigError, LmeraserError
from lmeraser_ray.pipeline.progress import Progress


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
    """Return the verb among the arguments, and the rest. `--help` and `--version` print and
    exit."""
    if not words or words[0] in ("-h", "--help"):
        print(overview())
        raise SystemExit(0 if words else 2)
    if words[0] == "--version":
        print(f"lmeraser_ray {__version__}")
        raise SystemExit(0)
    if words[0] not in VERBS:
        raise ConfigError(
            f"{words[0]!r} is no verb{nearest(words[0], VERBS) or '.'} Verbs are "
            f"{', '.join(VERBS)}."
        )
    return words[0], words[1:]


def overview() -> str:
    """Return the help about all verbs, by group."""
    groups = [
        "\n".join(
            [f"{name}:", *(f"  {verb.name:<12} {verb.help.splitlines()[0]}" for verb in verbs)]
        )
        for name, verbs in GROUPS.items()
    ]
    return "\n\n".join(
        [
            "usage: lmeraser VERB [options]",
            "Exact unlearning for image classifiers.",
            *groups,
            "`lmeraser VERB --help` says more.",
        ]
    )


def perform(verb: Verb, words: list[str]) -> int:
    """Parse a verb's arguments, do it, print its report, and return the exit code."""
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


def main(verb: str | None = None) -> None:
    """Run and exit: the entry point of `lmeraser` and of `python -m lmeraser_ray.VERB`."""
    sys.exit(run(verb))
