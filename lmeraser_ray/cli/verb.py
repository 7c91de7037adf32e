"""What every verb is made of: its options, the function that it runs, and its report as text and as
JSON."""

import argparse
import inspect
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lmeraser_ray.config.kept import say_ignored
from lmeraser_ray.errors import ConfigError, LmeraserError
from lmeraser_ray.operations.workspace import Workspace
from lmeraser_ray.pipeline.outlet import print_line
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.storage.paths import goes_with_job

Arguments = argparse.Namespace
NO_TIME = 0.05
"""Seconds below which a stage is not told."""
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray sets this variable in the driver of a job."""


@dataclass(frozen=True)
class Report:
    """What a verb prints: `text`, or `data` as JSON, on stdout, and `notes` on stderr."""

    text: str
    data: dict[str, Any] | None
    notes: tuple[str, ...] = ()
    exit_code: int = 0


@dataclass(frozen=True)
class Argument:
    """One option or positional word of a verb; the fields are those of
    `argparse.ArgumentParser.add_argument`."""

    name: str
    help: str
    type: Callable[[str], object] | None = None
    default: object = None
    metavar: str | None = None
    choices: tuple[str, ...] | None = None
    action: str | None = None
    nargs: str | None = None
    const: object = None
    dest: str | None = None
    required: bool | None = None

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Declare the argument on a parser."""
        settings = {name: value for name, value in vars(self).items() if value is not None}
        parser.add_argument(settings.pop("name"), **settings)


KEEP = Argument(
    "--keep", "keep the records and models under STUDY/work for another run", action="store_true"
)
KEYS = Argument(
    "--keys",
    "the folder of signing keys (else LMERASER_KEYS, else ~/.config/lmeraser_ray/keys)",
    type=Path,
    metavar="DIR",
)


@dataclass(frozen=True)
class Verb:
    """One verb of the command line. `run` does the work, and its docstring is the verb's
    help."""

    name: str
    run: Callable[[Arguments, Progress], Report]
    arguments: tuple[Argument, ...] = ()
    folder: Literal["workspace", "study"] = "workspace"
    """The kind of folder that the verb works in, and the option that names the folder."""
    configures: bool = False
    """Whether the verb takes every field of the configuration; otherwise only those that may differ
    from the workspace's last training."""

    @property
    def help(self) -> str:
        """What the verb does; the first line says it in short."""
        return inspect.getdoc(self.run) or ""


def workspace_of(args: Arguments, progress: Progress) -> Workspace:
    """Return the workspace that the common options name. Says on stderr what its configuration
    names and only an option, or the environment, may name."""
    found = Workspace(args.workspace, overrides=args.overrides, progress=progress)
    given = dict(args.overrides)
    with suppress(LmeraserError):  # what the verb needs of the configuration, it reads itself
        kept = found.session.folder.kept()
        left = {name: value for name, value in kept.ignored.items() if name not in given}
        for sentence in say_ignored(f"{args.workspace}/configuration.json", left):
            print_line(f"note: {sentence}")
    return found


def in_job() -> bool:
    """Return whether this process is the driver of a job of `ray job submit`. Ray keeps what a job
    prints in the cluster's logs, where an absence scan would find the ids in it."""
    return JOB_VARIABLE in os.environ


def refuse_names(named: bool, files: Iterable[Path]) -> None:
    """Refuse ids that Ray would keep: a job's command line is in the cluster's logs, and files that
    are sent with the job are in the session folder as long as the cluster lives; an absence scan
    would find the ids there. named: whether options name records or subjects; files: those that
    list them. Errors: `ConfigError`."""
    if (in_job() and named) or any(map(goes_with_job, files)):
        raise ConfigError(
            "Ray keeps the command line of a job and what is sent with it, so whom it names "
            "would never be gone: name them in a file elsewhere (--file, --subjects_file, with "
            "its whole path), or outside of a job."
        )


def timed(progress: Progress) -> str:
    """Return how long the command's stages took together, and each that took a tenth of a second,
    on one line."""
    each = [
        f"{name} {spoken(value)}" for name, value in progress.seconds.items() if value >= NO_TIME
    ]
    total = spoken(sum(progress.seconds.values()))
    return f"took {total}{': ' if each else ''}{', '.join(each)}"


def spoken(seconds: float) -> str:
    """Return a span of time in words: `4.2 s`, `2 min 5 s`, `3 h 0 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def share(value: float | None) -> str:
    """Return a share as a percentage."""
    return "n/a" if value is None else f"{value:.2%}"


def counted(number: int, what: str) -> str:
    """Return a number with its noun: `1 record`, `2 records`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
