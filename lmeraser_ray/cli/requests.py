"""The verbs of erasure requests: `submit`, `status`, `wait`, `cancel`, `refuse`, `extend`, `retry`.
None needs Ray or torch."""

from argparse import ArgumentTypeError
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lmeraser_ray.cli.verb import Argument, Arguments, Report, Verb, refuse_names, workspace_of
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.operations.workspace import WITHDRAWN
from lmeraser_ray.pipeline.progress import Progress

if TYPE_CHECKING:
    from lmeraser_ray.erasure.requests.request import ErasureRequest
    from lmeraser_ray.erasure.requests.targets import ErasureTargets

REASON_HELP = "a sentence without ids; it stays with the request"


NAMED = (
    Argument(
        "--records", "record ids; may be repeated", action="append", default=[], metavar="ID,…"
    ),
    Argument(
        "--subjects",
        "subjects, with all their records; may be repeated",
        action="append",
        default=[],
        metavar="ID,…",
    ),
    Argument("--file", "a file of record ids, one a line (for ids with commas too)", type=Path),
    Argument("--subjects_file", "a file of subjects, one a line", type=Path),
    Argument(
        "--quarantine", "what was trained on them stops answering at once", action="store_true"
    ),
)


def named_by(args: Arguments) -> "ErasureTargets":
    """Return the records and subjects that the options name. Errors: `ConfigError` as
    `refuse_names`."""
    from lmeraser_ray.erasure.requests.targets import read_targets

    refuse_names(
        bool(args.records or args.subjects),
        [path for path in (args.file, args.subjects_file) if path],
    )
    return read_targets(args.records, args.subjects, args.file, args.subjects_file)


def moment(text: str) -> datetime:
    """Return a date or time in ISO 8601; without a time zone, a local one."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError as error:
        raise ArgumentTypeError(
            f"{text!r} is no date such as 2026-12-24 or 2026-12-24T12:00:00+01:00"
        ) from error


SUBMIT = (
    *NAMED,
    Argument("--key", "an idempotency key: the same key with the same ids is the same request"),
    Argument(
        "--due",
        "an earlier deadline than the month that the law gives (ISO 8601)",
        type=moment,
        metavar="DATE",
    ),
    Argument("--submitter", "who asks, for the quota (the user of this process)"),
)


def run_submit(args: Arguments, progress: Progress) -> Report:
    """Commit an erasure request and print its id."""
    named = named_by(args)
    made = workspace_of(args, progress).submit(
        records=named.records,
        subjects=named.subjects,
        key=args.key,
        due=args.due,
        submitter=args.submitter,
        quarantine=args.quarantine,
    )
    return Report(made.id, made.as_json())


REQUEST = Argument("request", "the id that `lmeraser submit` printed", metavar="ID")


STATUS = (
    Argument(
        "request", "a request; without it, the queue and what is open", nargs="?", metavar="ID"
    ),
)


def run_status(args: Arguments, progress: Progress) -> Report:
    """Print where a request is, or how the queue stands."""
    workspace = workspace_of(args, progress)
    if args.request:
        return request_report(workspace.status(args.request))
    from lmeraser_ray.cli.live_table import LONGEST_LIST, plain

    seen = workspace.overview(first=LONGEST_LIST)
    return Report(plain(seen, epochs=None), seen.as_json())


def request_line(found: "ErasureRequest") -> str:
    """Return a request in a few lines: its state, its times, its reason, its certificate."""
    from lmeraser_ray.storage.times import utcnow

    alert = found.alert(utcnow())
    extended = f" (extended: {found.extension_reason or ''})" if found.extended_at else ""
    used = f", {alert}% of the time is used" if alert else ""
    lines = [
        f"{found.id}  {found.state}",
        f"received {found.received_at:%Y-%m-%d %H:%M:%S} UTC, due "
        f"{found.deadline:%Y-%m-%d %H:%M:%S} UTC{extended}{used}",
    ]
    if found.reason:
        lines.append(found.reason)
    if found.certificate_sha256:
        lines.append(
            f"certificate SHA-256 {found.certificate_sha256}: `lmeraser certificate {found.id}`"
        )
    return "\n".join(lines)


WAIT = (
    REQUEST,
    Argument("--timeout", "seconds to wait at most (for ever)", type=float, metavar="S"),
)


def run_wait(args: Arguments, progress: Progress) -> Report:
    """Wait until a request is certified, or closed otherwise.

    Exit code 0 when it is certified, 3 when refused or cancelled, 5 when it failed or the time is
    over.
    """
    from lmeraser_ray.operations.requests import exit_code_of

    found = workspace_of(args, progress).wait(args.request, timeout_s=args.timeout)
    return Report(
        request_line(found),
        found.as_json(),
        exit_code=exit_code_of(found.state, ExecutionError.exit_code),
    )


REASON = (REQUEST, Argument("--reason", REASON_HELP, required=True))


CANCEL = (REQUEST, Argument("--reason", f"{REASON_HELP} ({WITHDRAWN})", default=WITHDRAWN))


EXTEND = (*REASON, Argument("--months", "further months, 1 or 2 (2)", type=int, default=2))


def request_report(found: "ErasureRequest") -> Report:
    """Return the report about a request."""
    return Report(request_line(found), found.as_json())


def run_cancel(args: Arguments, progress: Progress) -> Report:
    """Withdraw a request that no queue has begun."""
    return request_report(workspace_of(args, progress).cancel(args.request, args.reason))


def run_refuse(args: Arguments, progress: Progress) -> Report:
    """Refuse a request, with a reason: a legal hold."""
    return request_report(workspace_of(args, progress).refuse(args.request, args.reason))


def run_extend(args: Arguments, progress: Progress) -> Report:
    """Put the deadline of a request off, once, with a reason."""
    found = workspace_of(args, progress).extend(args.request, args.reason, months=args.months)
    note = "tell the person of it, and why, within the first month (GDPR art. 12(3))."
    return Report(request_line(found), found.as_json(), (note,))


def run_retry(args: Arguments, progress: Progress) -> Report:
    """Have a failed request tried again."""
    return request_report(workspace_of(args, progress).retry(args.request))


VERBS = (
    Verb("submit", run_submit, SUBMIT),
    Verb("status", run_status, STATUS),
    Verb("wait", run_wait, WAIT),
    Verb("cancel", run_cancel, CANCEL),
    Verb("refuse", run_refuse, REASON),
    Verb("extend", run_extend, EXTEND),
    Verb("retry", run_retry, (REQUEST,)),
)
