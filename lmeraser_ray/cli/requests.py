"""The verbs of erasure requests: `submit`, `status`, `wait`, `cancel`, `refuse`, `extend`, `retry`.
None needs Ray or torch."""

from argparse import ArgumentTypeError
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lmeraser_ray.cli.verb import Arguments, Parser, Report, Verb, refuse_names, workspace_of
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.operations.workspace import WITHDRAWN
from lmeraser_ray.pipeline.progress import Progress

if TYPE_CHECKING:
    from lmeraser_ray.erasure.requests.request import ErasureRequest
    from lmeraser_ray.erasure.requests.targets import ErasureTargets

REASON_HELP = "a sentence without ids; it stays with the request"


def named_options(parser: Parser) -> None:
    """Declare what is to be erased."""
    parser.add_argument(
        "--records", action="append", default=[], metavar="ID,…", help="record ids; may be repeated"
    )
    parser.add_argument(
        "--subjects",
        action="append",
        default=[],
        metavar="ID,…",
        help="subjects, with all their records; may be repeated",
    )
    parser.add_argument(
        "--file", type=Path, help="a file of record ids, one a line (for ids with commas too)"
    )
    parser.add_argument("--subjects_file", type=Path, help="a file of subjects, one a line")
    parser.add_argument(
        "--quarantine", action="store_true", help="what was trained on them stops answering at once"
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


def submit_options(parser: Parser) -> None:
    """Declare what is to be erased, for whom and by when."""
    named_options(parser)
    parser.add_argument(
        "--key", help="an idempotency key: the same key with the same ids is the same request"
    )
    parser.add_argument(
        "--due",
        type=moment,
        metavar="DATE",
        help="an earlier deadline than the month that the law gives (ISO 8601)",
    )
    parser.add_argument("--submitter", help="who asks, for the quota (the user of this process)")


def moment(text: str) -> datetime:
    """Return a date or time in ISO 8601; without a time zone, a local one."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError as error:
        raise ArgumentTypeError(
            f"{text!r} is no date such as 2026-12-24 or 2026-12-24T12:00:00+01:00"
        ) from error


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


def one_request(parser: Parser) -> None:
    """Declare the request."""
    parser.add_argument("request", metavar="ID", help="the id that `lmeraser submit` printed")


def status_options(parser: Parser) -> None:
    """Declare the request; without one, all that are open are meant."""
    parser.add_argument(
        "request", nargs="?", metavar="ID", help="a request; without it, the queue and what is open"
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


def wait_options(parser: Parser) -> None:
    """Declare the request and the longest wait."""
    one_request(parser)
    parser.add_argument(
        "--timeout", type=float, metavar="S", help="seconds to wait at most (for ever)"
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


def reason_options(parser: Parser) -> None:
    """Declare the request and a required reason."""
    one_request(parser)
    parser.add_argument("--reason", required=True, help=REASON_HELP)


def cancel_options(parser: Parser) -> None:
    """Declare the request and an optional reason."""
    one_request(parser)
    parser.add_argument("--reason", default=WITHDRAWN, help=f"{REASON_HELP} ({WITHDRAWN})")


def extend_options(parser: Parser) -> None:
    """Declare the request, the further months and the reason."""
    reason_options(parser)
    parser.add_argument("--months", type=int, default=2, help="further months, 1 or 2 (2)")


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
    Verb("submit", run_submit, submit_options),
    Verb("status", run_status, status_options),
    Verb("wait", run_wait, wait_options),
    Verb("cancel", run_cancel, cancel_options),
    Verb("refuse", run_refuse, reason_options),
    Verb("extend", run_extend, extend_options),
    Verb("retry", run_retry, one_request),
)
