"""What every verb is made of: its options, what it calls, and its report as text and as JSON."""

import argparse
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lmeraser_ray.errors import ConfigError
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.paths import goes_with_job

Parser = argparse.ArgumentParser
Arguments = argparse.Namespace
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Is set in the driver of a job."""


@dataclass(frozen=True)
class Report:
    """What a verb says. `notes` go to stderr."""

    text: str
    data: dict[str, Any] | None
    notes: tuple[str, ...] = ()
    exit_code: int = 0


@dataclass(frozen=True)
class Verb:
    """One verb."""

    name: str
    about: str
    options: Callable[[Parser], None]
    run: Callable[[Arguments, Progress], Report]
    folder: Literal["workspace", "study"] = "workspace"
    """What it works in: the option that names the folder."""


def session_of(args: Arguments, progress: Progress) -> Session:
    """The session that the common options ask for."""
    return Session(args.workspace, progress, overrides=args.overrides)


def in_job() -> bool:
    """Whether this is the driver of a job that `ray job submit` has sent: what it prints, Ray keeps
    in the cluster's logs, where an absence scan finds whoever is named."""
    return JOB_VARIABLE in os.environ


def refuse_names(named: bool, files: Iterable[Path]) -> None:
    """Errors: `ConfigError` where Ray would keep who is named: the command line of a job is in the
    cluster's logs, and what is sent with it in the session folder, where the absence scan would
    find it as long as the cluster lives. named: whether options name somebody."""
    if (in_job() and named) or any(map(goes_with_job, files)):
        raise ConfigError(
            "Ray keeps the command line of a job and what is sent with it, so whom it names "
            "would never be gone: name them in a file elsewhere (--file, --subjects_file, with "
            "its whole path), or outside of a job."
        )


def timed(progress: Progress) -> str:
    """The seconds of each stage on one line."""
    return "seconds " + ", ".join(f"{name} {value:.1f}" for name, value in progress.seconds.items())


def share(value: float | None) -> str:
    """A share as a percentage."""
    return "n/a" if value is None else f"{value:.2%}"


def counted(number: int, what: str) -> str:
    """`1 record`, `2 records`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def no_options(_: Parser) -> None:
    """The common options are enough."""
