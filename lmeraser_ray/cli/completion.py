"""The verb `completion`: a script with which a shell completes verbs, options and their choices.

shtab reads the same parsers that parse the command line. The fields of the configuration are
completed for the verbs that take all of them.
"""

import argparse
from collections.abc import Callable, Iterable

from lmeraser_ray.cli.verb import Argument, Arguments, Report, Verb
from lmeraser_ray.config.options import FIELDS
from lmeraser_ray.pipeline.progress import Progress

COMPLETION = (Argument("shell", "the shell that is to complete", choices=("bash", "zsh", "tcsh")),)


def completion(verbs: Callable[[], Iterable[Verb]]) -> Verb:
    """Return the verb. verbs: gives all verbs, this one among them."""

    def run_completion(args: Arguments, _: Progress) -> Report:
        """Print a script that completes verbs and options in a shell.

        bash: `eval "$(lmeraser completion bash)"` in ~/.bashrc; zsh: write it to a file `_lmeraser`
        in a folder of `$fpath`; tcsh: `lmeraser completion tcsh` into ~/.cshrc.
        """
        import shtab

        return Report(shtab.complete(whole_parser(verbs()), args.shell), None)

    return Verb("completion", run_completion, COMPLETION)


def whole_parser(verbs: Iterable[Verb]) -> argparse.ArgumentParser:
    """Return a parser of all verbs, whose fields its help shows: shtab completes what is shown."""
    from lmeraser_ray.cli.words import parser_of

    whole = argparse.ArgumentParser("lmeraser", description="Exact unlearning.")
    parts = whole.add_subparsers()
    for verb in verbs:
        short = verb.help.splitlines()[0].replace("%", "%%")
        parser = parser_of(verb)
        for action in parser._actions:
            name = next(iter(action.option_strings), "").removeprefix("--")
            if verb.configures and name in FIELDS:
                action.help = FIELDS[name].about.split(".")[0].replace("%", "%%")
                action.choices = FIELDS[name].choices or None
        parts.add_parser(verb.name, parents=[parser], add_help=False, help=short)
    return whole
