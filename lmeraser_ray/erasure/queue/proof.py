"""From PUBLISHED to PURGED: remove what nothing reaches, search every place, freeze the statement.

    purge ─► absence scan of ─► one transaction: names wiped, ─► scan of the database itself
             every place        statement frozen, PURGED

Invariant: a request is PURGED only after a scan that found nothing, and the bytes of its statement
never change from then on. Where a file cannot be removed, or a trace is found, the request stays
PUBLISHED: the new state answers, nothing is called done, and the next round tries again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from sqlalchemy import Connection, select

from lmeraser_ray.config import Config
from lmeraser_ray.erasure.absence.report import Hit, ScanReport
from lmeraser_ray.erasure.absence.scan import left_in_database, scan
from lmeraser_ray.erasure.absence.traces import Traces
from lmeraser_ray.erasure.certificate.limitations import backup_sentences, transient_sentences
from lmeraser_ray.erasure.certificate.statement import (
    ChoiceCount,
    Code,
    ConstituentChange,
    ErasedHashes,
    ErasedTarget,
    ExecutionKind,
    PurgedFiles,
    RequestTerms,
    StateChange,
    Statement,
    Times,
    statement_of,
)
from lmeraser_ray.erasure.queue.lease import Lease
from lmeraser_ray.erasure.queue.publisher import Facts
from lmeraser_ray.erasure.queue.retrains import Retrains
from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import ErasureRequest, State
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.publication import purge
from lmeraser_ray.pipeline.workspace_folder import LockedWorkspace
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.tables import erased, publications, targets
from lmeraser_ray.storage.times import to_text, utcnow

LEFT = (
    "After its names were removed from the request database the absence scan still found some "
    "there: restore it from a backup."
)


@dataclass(frozen=True)
class ScanTargets:
    """What a scan looks for. subjects: those all of whose records went; others: ids that requests
    name which are not worked off yet."""

    traces: list[Traces]
    subjects: frozenset[str]
    others: frozenset[str]


class Changes(TypedDict):
    """The part of `ErasureFacts` that the publications of a request tell."""

    before: str
    after: str
    rebuilt: tuple[str, ...]
    reused: int
    reused_digest: str
    reclustered: bool
    passes: int
    numerics: tuple[dict[str, Any], ...]
    seen: tuple[int, int] | None


@dataclass(frozen=True)
class Proof:
    """Purges, scans and freezes statements for the published requests of one workspace."""

    workspace: LockedWorkspace
    database: Database
    lease: Lease
    config: Config

    def prove(self, manifest: Manifest, retrains: Retrains) -> list[str]:
        """Bring every PUBLISHED request to PURGED. Returns their ids.

        Errors: `ExecutionError` where a file cannot be removed, `VerificationError` where something
        of a record was found.
        """
        published = RequestRepository(self.database, self.workspace.names()).list({State.PUBLISHED})
        purged = purge(self.workspace, manifest, retrains.wanted())
        ids = [request.id for request in published]
        if not ids:
            return []
        wanted = self._wanted(ids)
        report = scan(
            self.workspace,
            manifest,
            wanted.traces,
            database=self.database,
            subjects=wanted.subjects,
            open_names=wanted.others,
            keep=retrains.wanted(),
            expected=retrains.expected(),
            extra_roots=retrains.flow.engine.folders,
        )
        refuse_traces(report.hits)
        with self.lease.write() as conn:
            transitions.wipe_names(conn, ids)
            for request in published:
                statement = self._statement(conn, request, report, purged, manifest)
                transitions.set_purged(conn, request.id, statement_of(statement))
        self.database.vacuum_names()
        left = left_in_database(self.workspace, self.database, wanted.traces, wanted.subjects)
        if left:  # nobody can scan again, because the traces are wiped: a person must look
            with self.lease.write() as conn:
                transitions.fail_purged(conn, ids, LEFT)
        refuse_traces(left)
        return ids

    def _wanted(self, ids: Sequence[str]) -> ScanTargets:
        """What to look for: the traces that these requests noted before their records left."""
        with self.database.read() as conn:
            rows = conn.execute(
                select(erased).where(erased.c.request_id.in_(ids), erased.c.name.is_not(None))
            ).all()
            named = conn.execute(
                select(targets.c.what, targets.c.name, targets.c.request_id).where(
                    targets.c.name.is_not(None)
                )
            ).all()
        noted = {(row.name, bytes(row.needles)) for row in rows if row.needles}
        found = {traces for name, data in noted for traces in Traces.from_bytes(data, name)}
        subjects = frozenset(
            row.name for row in named if row.what == "subject" and row.request_id in ids
        )
        return ScanTargets(
            sorted(found, key=lambda traces: (traces.record_id, traces.digest)),
            subjects,
            frozenset(row.name for row in named if row.request_id not in ids),
        )

    def _statement(
        self,
        conn: Connection,
        request: ErasureRequest,
        report: ScanReport,
        purged: int,
        manifest: Manifest,
    ) -> Statement:
        """What the certificate of one request says."""
        rows = conn.execute(
            select(erased.c.hash, erased.c.publication).where(erased.c.request_id == request.id)
        ).all()
        numbers = {row.publication for row in rows} | {request.publication}
        steps = conn.execute(
            select(publications).where(publications.c.id.in_(numbers)).order_by(publications.c.id)
        ).all()
        done = [Facts.from_json(step.facts) for step in steps]
        seen, removed = sum(facts.seen for facts in done), sum(facts.removed for facts in done)
        engine, dialect = self.config.execution.engine, self.database.dialect
        return Statement(
            request=terms_of(request),
            erased=ErasedHashes(targets_of(conn, request.id), tuple(row.hash for row in rows)),
            state=StateChange(steps[0].before, steps[-1].after),
            constituents=ConstituentChange(
                tuple({key for facts in done for key in facts.rebuilt}),
                done[-1].reused,
                done[-1].reused_digest,
            ),
            reclustered=any(facts.reclustered for facts in done),
            passes=sum(facts.passes for facts in done),
            purged=PurgedFiles(purged),
            scan=report.as_json(),
            transient=transient_sentences(engine=engine, dialect=dialect),
            backups=backup_sentences(dialect=dialect),
            execution=ExecutionKind(engine, dialect),
            code=Code.running(),
            configuration=manifest.identity,
            backbone=manifest.backbone.identity,
            seed=self.config.seed,
            numerics=tuple(each for facts in done for each in facts.numerics),
            times=times_of(request),
            ledger=ledger.head(conn),
            choice=ChoiceCount(seen, removed) if manifest.choice else None,
        )


def terms_of(request: ErasureRequest) -> RequestTerms:
    """What a certificate says of a request and its deadline."""
    extended = to_text(request.extended_at) if request.extended_at else None
    return RequestTerms(request.id, to_text(request.received_at), to_text(request.due_at), extended)


def targets_of(conn: Connection, request: str) -> tuple[ErasedTarget, ...]:
    """What became of each target, as the database has it within this transaction."""
    columns = (targets.c.what, targets.c.hash, targets.c.outcome)
    rows = conn.execute(select(*columns).where(targets.c.request_id == request))
    return tuple(ErasedTarget(*row) for row in rows)


def refuse_traces(hits: Sequence[Hit]) -> None:
    """Errors: `VerificationError` where a trace of an erased record was found."""
    if hits:
        raise VerificationError(
            f"The absence scan found the {hits[0].trace} of an erased record in {hits[0].place} "
            f"({hits[0].path}; {len(hits)} findings in all): the new state answers, but the "
            "erasure is not certified while it is there. Remove what is no part of the "
            "workspace; the queue looks again."
        )


def times_of(request: ErasureRequest) -> Times:
    """The moments at which a published request came to each state; PURGED is now."""
    planned, training, published = (
        to_text(moment) if moment else None
        for moment in (request.planned_at, request.training_at, request.published_at)
    )
    return Times(
        to_text(request.received_at),
        planned,
        training,
        published or to_text(utcnow()),
        to_text(utcnow()),
    )
