"""Which requests a list asks for: filters, all of which must hold.

Idempotency keys and submitters are looked for by their keyed hashes, under every version of the
secret: nothing else is kept of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func

from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.database.tables import requests
from lmeraser_ray.storage.times import to_text

DEADLINE = func.coalesce(requests.c.extended_at, requests.c.due_at)


@dataclass(frozen=True, slots=True)
class RequestSearch:
    """What is asked for. states: any of these, none for every one; id: a part of the request's id;
    key: its idempotency key; submitter: who asked; due: the deadline is at this moment or before;
    since, until: it was received from this moment on, and before that one."""

    states: tuple[State, ...] = ()
    id: str | None = None
    key: str | None = None
    submitter: str | None = None
    due: datetime | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self, names: Pseudonymizer) -> Iterator[ColumnElement[bool]]:
        """Yield the conditions on a row of the table `requests`."""
        columns = requests.c
        if self.states:
            yield columns.state.in_([str(state) for state in self.states])
        if self.id is not None:
            yield columns.id.contains(self.id, autoescape=True)
        if self.key is not None:
            yield columns.idempotency.in_(names.hashes("key", self.key))
        if self.submitter is not None:
            yield columns.submitter.in_(names.hashes("submitter", self.submitter))
        if self.due is not None:
            yield to_text(self.due) >= DEADLINE
        if self.since is not None:
            yield columns.received_at >= to_text(self.since)
        if self.until is not None:
            yield columns.received_at < to_text(self.until)
