"""The verb `requests`: a list of erasure requests, as a table, CSV or JSON. No ids of records."""

import csv
from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from io import StringIO
from typing import TYPE_CHECKING

from lmeraser_ray.cli.requests import moment
from lmeraser_ray.cli.table import table
from lmeraser_ray.cli.verb import Argument, Arguments, Report, Verb, counted, workspace_of
from lmeraser_ray.pipeline.progress import Progress

if TYPE_CHECKING:
    from lmeraser_ray.erasure.requests.request import ErasureRequest, State

DAY = len("2026-12-24")
COLUMNS = (
    *("request", "state", "due", "extended"),
    *("received", "planned", "training", "published", "purged", "closed"),
    *("records_named", "subjects_named", "quarantine", "attempts"),
    *("legal_basis", "identity", "reason"),
)
"""Of CSV and JSON. due: the deadline, `extended` or not; received to closed: the moments at which
the request came to these states, the last ones where it came twice; closed: CERTIFIED, REFUSED,
CANCELLED or FAILED; records_named, subjects_named: how many ids."""


def states(text: str) -> "tuple[State, ...]":
    """Return the states that words between commas name; `open` is each that is worked on."""
    from lmeraser_ray.erasure.requests.request import State

    named = {
        "open": State.where(lambda state: state.is_open),
        **{each.lower(): (each,) for each in State},
    }
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in named:
            raise ArgumentTypeError(f"{word!r} is no state: give some of {', '.join(named)}")
    if not words:
        raise ArgumentTypeError(f"{text!r} names no state: give some of {', '.join(named)}")
    return tuple(dict.fromkeys(state for word in words for state in named[word]))


def end_of(text: str) -> datetime:
    """Return a moment as `moment` does; of a day without a time its end."""
    found = moment(text)
    if len(text) > DAY:
        return found
    following = datetime.fromisoformat(text).date() + timedelta(days=1)
    return moment(following.isoformat())


def positive(text: str) -> int:
    """Return a number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no number of requests: give 1 or more")
    return int(text)


REQUESTS = (
    Argument(
        "--state",
        "in one of these states, such as certified; open: all that are worked on",
        type=states,
        metavar="STATE,…",
    ),
    Argument("--due", "to be answered by then (ISO 8601)", type=end_of, metavar="DATE"),
    Argument("--since", "received from then on", type=moment, metavar="DATE"),
    Argument("--until", "received up to then, a day included", type=end_of, metavar="DATE"),
    Argument("--submitter", "asked by this submitter"),
    Argument("--key", "submitted with this idempotency key"),
    Argument("--id", "with this in the request's id"),
    Argument("--limit", "the newest of them, so many (all)", type=positive, metavar="N"),
    Argument("--csv", "print CSV, with all moments and notes", action="store_true"),
)


def run_requests(args: Arguments, progress: Progress) -> Report:
    """List erasure requests, the newest first, or those that the filters leave."""
    from lmeraser_ray.erasure.requests.search import RequestSearch

    asked = RequestSearch(
        states=args.state or (),
        id=args.id,
        key=args.key,
        submitter=args.submitter,
        due=args.due,
        since=args.since,
        until=args.until,
    )
    found = workspace_of(args, progress).requests(asked, limit=args.limit)
    rows = [row_of(each) for each in found]
    text = csv_of(rows) if args.csv else listed(found)
    return Report(text, {"requests": rows})


def row_of(found: "ErasureRequest") -> dict[str, object]:
    """Return a request as a row of CSV or JSON."""
    from lmeraser_ray.storage.times import to_text

    kinds = Counter(target.what for target in found.targets)
    moments = (getattr(found, f"{name}_at") for name in COLUMNS[4:10])
    values = (
        *(found.id, str(found.state), to_text(found.deadline), found.extended_at is not None),
        *(None if moment is None else to_text(moment) for moment in moments),
        *(kinds["record"], kinds["subject"], bool(found.quarantine), found.attempts),
        *(found.legal_basis, found.identity, found.reason or found.extension_reason),
    )
    return dict(zip(COLUMNS, values, strict=True))


def csv_of(rows: Sequence[dict[str, object]]) -> str:
    """Return rows as CSV (RFC 4180, lines end with a line feed), without the last line's end."""
    sink = StringIO()
    writer = csv.DictWriter(sink, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue().rstrip("\n")


def overdue(found: "ErasureRequest") -> str:
    """Return what is said of an open request in the place of its end."""
    from lmeraser_ray.erasure.requests.request import ALERTS
    from lmeraser_ray.storage.times import utcnow

    return "overdue" if found.alert(utcnow()) == max(ALERTS) else ""


def listed(found: Sequence["ErasureRequest"]) -> str:
    """Return requests as a table, and how many they are."""
    head = ["request", "state", "received (UTC)", "due", "ended", "named"]
    rows = [
        [
            each.id,
            each.state.lower(),
            f"{each.received_at:%Y-%m-%d %H:%M}",
            f"{each.deadline:%Y-%m-%d}",
            f"{each.closed_at:%Y-%m-%d}" if each.closed_at else overdue(each),
            f"{len(each.targets):,}",
        ]
        for each in found
    ]
    return f"{table(head, rows, left=5)}\n{counted(len(found), 'request')}"


VERBS = (Verb("requests", run_requests, REQUESTS),)
