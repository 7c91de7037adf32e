"""Findings that hold a published request back, as its row keeps them, and what an operator accepts.

    absence scan → findings of the request → (accepted by name) → exceptions → certificate

Invariant: only what a scan found can be accepted, and whatever it finds later holds the request
back again. A finding names a place, a kind of trace and a masked file; no id.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from lmeraser_ray.storage.times import to_text


@dataclass(frozen=True, order=True)
class Finding:
    """What the absence scan found: the place, the kind of trace, and the file within the place."""

    place: str
    trace: str
    file: str


@dataclass(frozen=True, order=True)
class Accepted(Finding):
    """A finding that an operator accepted. accepted: when; reason: the keyed hash of why."""

    accepted: str
    reason: str


def findings_text(findings: Iterable[Finding]) -> str:
    """Return the JSON that a request's row keeps of findings, or of accepted ones."""
    return json.dumps([asdict(each) for each in sorted(set(findings))])


def findings_in(text: str | None) -> tuple[Finding, ...]:
    """Return the findings that hold a request back."""
    return tuple(Finding(**each) for each in json.loads(text or "[]"))


def accepted_in(text: str | None) -> tuple[Accepted, ...]:
    """Return the findings of a request that an operator accepted."""
    return tuple(Accepted(**each) for each in json.loads(text or "[]"))


def accept(findings: str, before: str | None, at: datetime, reason: str) -> str:
    """Return the accepted findings of a request once those in `findings` are accepted too."""
    new = (
        Accepted(each.place, each.trace, each.file, to_text(at), reason)
        for each in findings_in(findings)
    )
    return findings_text([*accepted_in(before), *new])


def held_reason(findings: Sequence[Finding]) -> str:
    """Return why a published request is not certified."""
    first = findings[0]
    more = f"; {len(findings)} findings in all" if len(findings) > 1 else ""
    return (
        f"The absence scan found the {first.trace} of an erased record in {first.place} "
        f"({first.file}{more}): the new state answers, but the erasure is not certified while it "
        "is there. Remove what is no part of the workspace, and the queue looks again; or certify "
        "with the finding named: `lmeraser certify ID --with_exceptions --reason WHY`."
    )
