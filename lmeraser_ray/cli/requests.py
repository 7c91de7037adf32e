"""The verbs of erasure requests: `submit`, `status`, `wait`, `cancel`, `refuse`, `extend`, `retry`.
None needs Ray or torch."""

import math
from argparse import ArgumentTypeError
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lmeraser_ray.cli.verb import Argument, Arguments, Report, Verb, refuse_names, workspace_of
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.operations.workspace import WITHDRAWN
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.storage.times import typed_moment

if TYPE_CHECKING:
    from lmeraser_ray.erasure.requests.events import Event
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
    """Return a date or time in ISO 8601, in UTC; without a time zone, a local one."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ArgumentTypeError(
            f"{text!r} is no date such as 2026-12-24 or 2026-12-24T12:00:00+01:00"
        ) from error
    try:
        return typed_moment(found)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def duration(text: str) -> float:
    """Return a number of seconds, from 0."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise ArgumentTypeError(f"{text!r} is no number of seconds, such as 0, 2.5 or 3600")
    return found


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
    Argument(
        "--legal_basis",
        "why the law has it erased, such as GDPR art. 17(1)(b); stays with the request, without "
        "the names of the erased",
        metavar="TEXT",
    ),
    Argument(
        "--identity", "how it was checked who asks; stays with the request likewise", metavar="TEXT"
    ),
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
        legal_basis=args.legal_basis,
        identity=args.identity,
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
        return history_report(workspace.status(args.request), workspace.history(args.request))
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
    lines += [
        f"{name.replace('_', ' ')}: {text}"
        for name in ("legal_basis", "identity")
        if (text := getattr(found, name))
    ]
    if found.certificate_sha256:
        lines.append(
            f"certificate SHA-256 {found.certificate_sha256}: `lmeraser certificate {found.id}`"
        )
    return "\n".join(lines)


def history_report(found: "ErasureRequest", history: "Sequence[Event]") -> Report:
    """Return the report about a request with all that happened to it."""
    told = [{"at": event.at, "event": event.what, **event.facts} for event in history]
    lines = [f"{shown(event.at)}  {event_line(event)}" for event in history]
    data = {**found.as_json(), "history": told}
    return Report("\n".join([request_line(found), "", *lines]), data)


def event_line(event: "Event") -> str:
    """Return what happened, with what a person wants to know of it."""
    facts = event.facts
    more = {
        "targets": f"{facts.get('targets')} named",
        "records": f"records to erase: {facts.get('records')}",
        "months": f"by {facts.get('months')} months",
        "due": f"due {shown(str(facts.get('due', '')))}",
    }
    said = [text for name, text in more.items() if name in facts]
    return f"{event.what.upper():<10} {', '.join(said)}".rstrip()


def shown(at: str) -> str:
    """Return a moment of the database, to the second."""
    return f"{at[:10]} {at[11:19]} UTC"


WAIT = (
    REQUEST,
    Argument("--timeout", "seconds to wait at most (for ever)", type=duration, metavar="S"),
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


CERTIFY = (
    *REASON,
    Argument(
        "--with_exceptions",
        "accept each finding that `lmeraser status ID` shows: the certificate names them",
        action="store_true",
        required=True,
    ),
)


def run_certify(args: Arguments, progress: Progress) -> Report:
    """Have an erasure certified although the absence scan found something that cannot go.

    The certificate names each accepted finding; one that is found later holds the request back
    again. Only a person decides this, and says why.
    """
    found = workspace_of(args, progress).certify(
        args.request, args.reason, with_exceptions=args.with_exceptions
    )
    note = "keep the reason: the certificate has its keyed hash only."
    return Report(request_line(found), found.as_json(), (note,))


VERBS = (
    Verb("submit", run_submit, SUBMIT),
    Verb("status", run_status, STATUS),
    Verb("wait", run_wait, WAIT),
    Verb("cancel", run_cancel, CANCEL),
    Verb("refuse", run_refuse, REASON),
    Verb("extend", run_extend, EXTEND),
    Verb("retry", run_retry, (REQUEST,)),
    Verb("certify", run_certify, CERTIFY),
)
