"""Erasure requests as counts and times, and as a table that can be passed on.

    requests ─► RequestFigures (a page) or rows of CSV

Invariant: no id of a record or subject, no hash of one, and no text that a person typed: reasons,
references and whoever asked are left out.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import StringIO

from lmeraser_ray.erasure.requests.request import ErasureRequest, State
from lmeraser_ray.storage.times import to_text

COLUMNS = ("request", "state", "received", "due", "closed", "deadline_met", "kind")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a cell begins with that a spreadsheet computes (OWASP, CSV injection)."""


@dataclass(frozen=True)
class RequestFigures:
    """How erasure requests went. states: how many are in each that occurs; met, missed: of those
    that are answered, or overdue; running: unanswered before their deadline; median, longest: from
    receipt to the answer of those that are answered, None where none is; extended: how many have
    a later deadline."""

    states: dict[str, int]
    met: int
    missed: int
    running: int
    extended: int
    median: timedelta | None
    longest: timedelta | None

    @property
    def all(self) -> int:
        """How many there are."""
        return sum(self.states.values())


def answered_at(request: ErasureRequest) -> datetime | None:
    """When a request had its answer: an erasure when it was purged and searched, as certificates
    have it; None while it is unanswered."""
    if not request.state.is_answered:
        return None
    return request.purged_at if request.state is State.CERTIFIED else request.closed_at


def deadline_met(request: ErasureRequest, now: datetime) -> bool | None:
    """Whether a request was answered in time; None while it is unanswered and not overdue."""
    answered = answered_at(request)
    if answered is None:
        return False if now > request.deadline else None
    return answered <= request.deadline


def figures_of(requests: Sequence[ErasureRequest], now: datetime) -> RequestFigures:
    """Count requests."""
    met = Counter(deadline_met(each, now) for each in requests)
    counts = Counter(each.state for each in requests)
    ends = ((answered_at(each), each.received_at) for each in requests)
    times = sorted(end - begin for end, begin in ends if end is not None)
    return RequestFigures(
        {str(state).lower(): counts[state] for state in State if counts[state]},
        met[True],
        met[False],
        met[None],
        sum(each.extended_at is not None for each in requests),
        times[len(times) // 2] if times else None,
        times[-1] if times else None,
    )


def kind_of(request: ErasureRequest) -> str:
    """Return what a request names: `record`, `subject`, or `record and subject`."""
    return " and ".join(sorted({target.what for target in request.targets}))


def csv_of_requests(requests: Iterable[ErasureRequest], now: datetime) -> bytes:
    """Return requests as CSV in UTF-8 (RFC 4180), the newest first as they come."""
    sink = StringIO(newline="")
    writer = csv.writer(sink)
    writer.writerow(COLUMNS)
    for each in requests:
        met = {True: "yes", False: "no", None: ""}[deadline_met(each, now)]
        ended = to_text(each.closed_at) if each.closed_at else ""
        moments = (to_text(each.received_at), to_text(each.deadline), ended)
        row = (each.id, str(each.state), *moments, met, kind_of(each))
        writer.writerow([harmless(cell) for cell in row])
    return sink.getvalue().encode()


def harmless(cell: str) -> str:
    """Return a cell's text, behind an apostrophe where a spreadsheet would compute it.

    >>> harmless("=1+1"), harmless("er-7")
    ("'=1+1", 'er-7')
    """
    return f"'{cell}" if cell.startswith(FORMULA) else cell
