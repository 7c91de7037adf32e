"""What `verify` and `audit` both compare of a workspace's evidence: the ledger, the rows of
requests and publications, frozen statements, tombstones and the file `database`.

Each function yields a sentence for each difference, and changes nothing.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from lmeraser_ray.erasure.certificate.cross_checks import (
    publication_differences,
    request_differences,
)
from lmeraser_ray.erasure.certificate.database_view import View, proofs_of, take_view
from lmeraser_ray.erasure.certificate.ledger_head import SignedHead, head_differences
from lmeraser_ray.erasure.certificate.recomputation import PublishedRecords, Recomputation
from lmeraser_ray.erasure.certificate.standing_erasures import standing_erasures
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.database_location import DatabaseLocation


@dataclass(frozen=True)
class Evidence:
    """A view of the database, and what does not hold of it, the first difference first."""

    view: View
    differences: tuple[str, ...]


def check_evidence(
    folder: WorkspaceFolder, database: Database, heads: tuple[SignedHead, ...] = ()
) -> Evidence:
    """Compare all but the certificates. heads: signed heads of the ledger, kept elsewhere."""
    while True:
        view = take_view(folder, database)
        found = tuple(differences(folder, database, view, heads))
        current = folder.current()
        if (current.key if current else None) == view.current:
            return Evidence(view, found)


def differences(
    folder: WorkspaceFolder, database: Database, view: View, heads: tuple[SignedHead, ...]
) -> Iterator[str]:
    """What does not hold of a view, a sentence each."""
    yield from (f"The request database: {what}." for what in database.check())
    location = DatabaseLocation.read(folder.root, folder.names())
    if location is not None and not location.intact:
        yield "The workspace's file database is damaged: it is not as it was written."
    yield from (f"{what[:1].upper()}{what[1:]}." for what in view.broken)
    yield from request_differences(view)
    yield from publication_differences(view)
    yield from unreadable_facts(view)
    for head in heads:
        yield from head_differences(head, folder.names().workspace_id, view.hashes)
    yield from against_published(folder, database, view)


def unreadable_facts(view: View) -> Iterator[str]:
    """The publications whose facts are no JSON object."""
    for row in view.publications.values():
        try:
            readable = isinstance(json.loads(row.facts), dict)
        except (ValueError, TypeError, RecursionError):
            readable = False
        if not readable:
            yield f"The facts of publication {row.id} cannot be read: they were changed."


def against_published(folder: WorkspaceFolder, database: Database, view: View) -> Iterator[str]:
    """Compare frozen statements, and what must not come back, with the published state."""
    try:
        manifest = folder.published()
        records = PublishedRecords.read(folder, manifest) if manifest else None
    except VerificationError as error:
        yield str(error)
        return
    recomputation = Recomputation(view, folder.names(), records)
    purged = [row for row in view.rows.values() if row.state == State.PURGED]
    with database.read() as conn:
        proofs = proofs_of(conn, purged)
        standing = standing_erasures(conn, view.entries)
    for proof in proofs:
        for what in recomputation.differences(proof):
            yield f"The statement of {proof.row.id} {what}."
    yield from standing.differences(records.hashes if records else frozenset())
