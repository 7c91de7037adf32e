"""The command line: `lmeraser VERB` and `python -m lmeraser_ray.VERB` are this one function.

    >>> run("fingerprint", ["--workspace", "nowhere"])  # and says why on stderr
    2

Results go to stdout, progress and notes to stderr; with `--json` stdout is one JSON object. Exit
codes: see `errors.py`; they speak of the work, whatever became of what was printed. Only what
`main` needs to handle signals is imported at the top: every import before that is time in which
Ctrl-C shows a traceback.
"""

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lmeraser_ray import __version__
from lmeraser_ray.errors import INTERRUPTED, ConfigError, LmeraserError
from lmeraser_ray.operations.interruption import SENTENCE, leave, listen
from lmeraser_ray.pipeline.outlet import on_terminal, print_line, steady_streams, why_lost

if TYPE_CHECKING:
    from lmeraser_ray.cli.verb import Verb

SOON_S = 0.3
"""Seconds until a terminal shows that a command has begun."""
HELP, VERSION = ("help", "--help", "-h"), ("version", "--version", "-V")


def run(verb: str | None = None, argv: Sequence[str] | None = None) -> int:
    """Run a verb (the first argument unless given). Returns the exit code; never raises for what a
    user can cause."""
    from lmeraser_ray.cli.exhaustion import exhausted, explained_exhaustion, require_limits

    words = list(sys.argv[1:] if argv is None else argv)
    try:
        require_limits()
        if verb is None:
            verb, words = choose(words)
        from lmeraser_ray.cli.verbs import VERBS  # may already exceed a limit of this process

        return perform(VERBS[verb], words)
    except Exception as error:
        what = exhausted(error)
        if what is not None:
            return refused(explained_exhaustion(what))
        if isinstance(error, LmeraserError):
            return refused(error)
        raise
    except KeyboardInterrupt as interrupt:  # `unlearn` says with it where its request is
        print_line(f"lmeraser: interrupted. {interrupt}" if interrupt.args else SENTENCE)
        return INTERRUPTED


def refused(error: LmeraserError) -> int:
    """Print an error, and return its exit code."""
    print_line(f"lmeraser: error: {visible(str(error))}")
    return error.exit_code


def visible(text: str) -> str:
    """Return a text with control characters but for line breaks and tabs spelled out: what a
    foreign file says must not steer the terminal."""
    import unicodedata

    return "".join(
        c if c in "\n\t" or unicodedata.category(c) != "Cc" else ascii(c)[1:-1] for c in text
    )


def choose(words: list[str]) -> tuple[str, list[str]]:
    """Return the verb among the arguments, and the rest. Help and the version are printed, and end
    the command."""
    if words and words[0] in VERSION:
        print(f"lmeraser_ray {__version__}")
        raise SystemExit(0)
    from lmeraser_ray.cli.help import print_help
    from lmeraser_ray.cli.verbs import VERBS
    from lmeraser_ray.config.options import nearest

    if not words or words[0] in HELP:
        print_help(words[1:])
        raise SystemExit(0 if words else 2)
    if words[0] not in VERBS:
        known = (*VERBS, HELP[0], VERSION[0])
        raise ConfigError(
            f"{words[0]!r} is no verb{nearest(words[0], known) or '.'} Verbs are "
            f"{', '.join(VERBS)}."
        )
    return words[0], words[1:]


def perform(verb: "Verb", words: list[str]) -> int:
    """Parse a verb's arguments, do it, print its report, and return the exit code."""
    import json

    from lmeraser_ray.cli.words import parse
    from lmeraser_ray.pipeline.progress import Progress

    args = parse(verb, words)
    progress = Progress(quiet=True if args.quiet else None)
    report = verb.run(args, progress)
    for note in report.notes:
        print_line(f"note: {visible(note)}")
    if args.json and report.data is not None:
        print(json.dumps(report.data))
    else:
        print(visible(report.text))
    return report.exit_code


@contextmanager
def begun(verb: str | None, words: Sequence[str]) -> Iterator[None]:
    """Say on a terminal, where bars are to come, that a command has begun, if it has not ended
    soon: what it imports may take long."""
    name = " ".join(["lmeraser", *([verb] if verb else words[:1])])
    soon = threading.Timer(SOON_S, print_line, [f"{visible(name)}: loading the program"])
    soon.daemon = True
    if on_terminal(sys.stderr) and "--quiet" not in words:
        soon.start()
    try:
        yield
    finally:
        soon.cancel()


def main(verb: str | None = None) -> None:
    """Run and exit: the entry point of `lmeraser` and of `python -m lmeraser_ray.VERB`."""
    steady_streams()
    listen()
    # Pydantic would look for plugins among the files of every package that is installed.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    with begun(verb, sys.argv[1:]):
        code = run(verb)
    if lost := why_lost(sys.stdout):
        print_line(f"note: what was printed could not be written ({lost}).")
    leave(code)
