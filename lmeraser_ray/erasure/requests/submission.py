"""A submission: a request before its COMMIT, and its rows."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert

from lmeraser_ray.erasure.requests.reasons import kept_reason, without_names
from lmeraser_ray.erasure.requests.request import (
    ErasureRequest,
    State,
    Target,
    month_after,
    request_of,
)
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.database.tables import requests, targets
from lmeraser_ray.storage.digests import canonical_json
from lmeraser_ray.storage.times import to_text, typed_moment


@dataclass(frozen=True, slots=True)
class SubmissionNotes:
    """What whoever submits a request notes with it, each a sentence or None. legal_basis: why the
    law has it erased, such as `GDPR art. 17(1)(b)`; identity: how it was checked who asks."""

    legal_basis: str | None = None
    identity: str | None = None

    def kept(
        self, connection: Connection, names: Pseudonymizer, own: Sequence[Target]
    ) -> dict[str, str]:
        """The notes as they are kept: without the names of the erased, and without those that the
        request itself names. Errors: those of `kept_reason`."""
        mine = {target.name for target in own if target.name}
        return {
            name: without_names(kept_reason(connection, names, text, option=f"--{name}"), mine)
            for name, text in asdict(self).items()
            if text is not None
        }


NO_NOTES = SubmissionNotes()


@dataclass(frozen=True, slots=True)
class Submission:
    """A request before its COMMIT. row: its columns in the table `requests`; notes: as they were
    typed; facts: those of its ledger entry, without ids; keys, submitters: the hashes of
    idempotency key and submitter, and contents: the row's `content`, under every version of the
    secret."""

    row: dict[str, Any]
    notes: SubmissionNotes
    targets: tuple[Target, ...]
    facts: dict[str, Any]
    keys: tuple[str, ...]
    submitters: tuple[str, ...]
    contents: tuple[str, ...]

    @property
    def id(self) -> str:
        """The request's id."""
        return str(self.row["id"])


def content_of(names: Pseudonymizer, found: Sequence[Target], version: int) -> str:
    """The keyed hash over a request's targets, under one version of the secret."""
    hashed = (
        (target.what, names.hash(target.what, target.name or "", version=version))
        for target in found
    )
    listed = canonical_json([list(pair) for pair in sorted(hashed)]).decode()
    return names.hash("content", listed, version=version)


def insert_submission(
    connection: Connection, mine: Submission, names: Pseudonymizer
) -> ErasureRequest:
    """Insert a new request, its targets and its ledger entry, which has the notes' keyed hashes.
    Returns the request. Errors: those of `SubmissionNotes.kept`."""
    notes = mine.notes.kept(connection, names, mine.targets)
    row = {**mine.row, **notes}
    facts = {**mine.facts, **{name: names.hash(name, text) for name, text in notes.items()}}
    connection.execute(insert(requests), row)
    rows = [
        {
            "request_id": mine.id,
            "what": target.what,
            "hash": target.hash,
            "name": target.name,
            "outcome": target.outcome,
        }
        for target in mine.targets
    ]
    connection.execute(insert(targets), rows)
    ledger.append(connection, str(State.RECEIVED), mine.id, facts)
    return request_of(row, mine.targets)


def deadline_of(received: datetime, due: datetime | None) -> datetime:
    """The deadline of a request received at `received`: `due`, or a month later. Errors:
    `ConfigError` where `due` is later than that month, or past, or no moment at all."""
    month = month_after(received)
    if due is None:
        return month
    try:
        found = typed_moment(due)
    except ValueError as error:
        raise ConfigError(f"--due {error}: give a moment up to {to_text(month)}.") from error
    if not received < found <= month:
        raise ConfigError(
            f"--due {due.isoformat()} is "
            f"{'past' if found <= received else 'later than a month from now'}: "
            f"give a moment up to {to_text(month)}. A month is what the law gives; `lmeraser "
            "extend` puts it off, with a reason."
        )
    return found
