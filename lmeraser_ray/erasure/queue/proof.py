"""From PUBLISHED to PURGED: remove what nothing reaches, search every place, freeze the statement.

    purge ─► names taken out ─► absence scan of ─► for each request one transaction: names wiped,
             of typed reasons   every place        the database searched again, statement frozen,
                                                   PURGED

Invariant: a request is PURGED only after a scan that found nothing of its own records, and the
bytes of its statement never change from then on. A trace holds back the requests that it belongs
to, and no others: they stay PUBLISHED with the finding, the new state answers, nothing is called
done, and the next round looks again. A finding that an operator accepted by name is in the
certificate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from lmeraser_ray.config.data import TORCHVISION
from lmeraser_ray.erasure.absence.database_search import search_rows
from lmeraser_ray.erasure.absence.report import Hit, ScanReport, ScanReporter
from lmeraser_ray.erasure.absence.scan import scan
from lmeraser_ray.erasure.absence.traces import Traces
from lmeraser_ray.erasure.certificate.limitations import BACKUPS, TRANSIENT, sentences_of
from lmeraser_ray.erasure.certificate.statement import (
    AcceptedFinding,
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
from lmeraser_ray.erasure.circumstances import Circumstances
from lmeraser_ray.erasure.queue.lease import Lease
from lmeraser_ray.erasure.queue.publisher import Facts
from lmeraser_ray.erasure.queue.retrains import Retrains
from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.findings import Finding, accepted_in, held_reason
from lmeraser_ray.erasure.requests.reasons import take_out_of_reasons
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import ErasureRequest, State
from lmeraser_ray.errors import HeldBackError
from lmeraser_ray.pipeline.flow import Flow
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.publication import purge
from lmeraser_ray.pipeline.workspace_folder import LockedWorkspace
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.tables import erased, publications, targets
from lmeraser_ray.storage.paths import local_folder
from lmeraser_ray.storage.times import to_text, utcnow


@dataclass(frozen=True)
class ScanTargets:
    """What a scan looks for. traces: of the records that left; names: for each request the ids of
    its records, and the subjects all of whose records went; others: ids that requests name which
    are not worked off yet."""

    traces: list[Traces]
    names: dict[str, frozenset[str]]
    subjects: frozenset[str]
    others: frozenset[str]


@dataclass(frozen=True)
class Proof:
    """Purges, scans and freezes statements for the published requests of one workspace."""

    workspace: LockedWorkspace
    database: Database
    lease: Lease
    flow: Flow

    def prove(self, manifest: Manifest, retrains: Retrains) -> None:
        """Bring every PUBLISHED request to PURGED of which nothing is left.

        Errors, after all that could be proven was: `ExecutionError` where a file cannot be removed,
        `HeldBackError` where something of a record was found.
        """
        published = RequestRepository(self.database, self.workspace.names()).list({State.PUBLISHED})
        purged = purge(self.workspace, manifest, retrains.wanted())
        if not published:
            return
        wanted = self._wanted([request.id for request in published])
        self._take_out_of_reasons(wanted)
        report = scan(
            self.workspace,
            manifest,
            wanted.traces,
            database=self.database,
            subjects=wanted.subjects,
            open_names=wanted.others,
            keep=retrains.wanted(),
            expected=retrains.expected(),
            extra_roots=self.flow.engine.folders,
        )
        held = {
            request.id: found
            for request in published
            if (found := not_accepted(request, report.hits_of(wanted.names[request.id])))
        }
        clean = [request for request in published if request.id not in held]
        for _ in range(2):
            left = self._freeze(clean, wanted, report, purged, manifest)
            clean = [request for request in clean if request.id in left]
            if not clean:
                break
            self.database.rewrite()  # copies of rows in SQLite's pages
        held |= left
        with self.lease.write() as conn:
            for request_id, found in held.items():
                transitions.hold_back(conn, request_id, findings_of(found))
        self.database.vacuum_names()
        refuse_traces(held)

    def _freeze(
        self,
        clean: Sequence[ErasureRequest],
        wanted: ScanTargets,
        report: ScanReport,
        purged: int,
        manifest: Manifest,
    ) -> dict[str, tuple[Hit, ...]]:
        """Freeze the statements of requests of which only the database may have something left.
        Returns those of which it has, with the findings."""
        with self.lease.write() as conn:
            left, after = self._wipe(conn, clean, wanted, report)
            for request in clean:
                if request.id not in left:
                    names = wanted.names[request.id]
                    found = (*report.hits_of(names), *after.hits_of(names))
                    said = {**report.as_json(names, self._circumstances()), "found": len(found)}
                    exceptions = exceptions_among(request, found)
                    statement = self._statement(conn, request, said, exceptions, purged, manifest)
                    transitions.set_purged(conn, request.id, statement_of(statement))
        return left

    def _circumstances(self) -> Circumstances:
        """What decides which limitations apply."""
        return Circumstances(
            self.flow.engine.kind,
            self.database.dialect,
            in_object_storage=local_folder(self.workspace.root) is None,
            fetched=self.flow.config.data.source in TORCHVISION,
        )

    def _take_out_of_reasons(self, wanted: ScanTargets) -> None:
        """Take the names that leave out of what people typed, for these requests and for others."""
        with self.lease.write() as conn:
            take_out_of_reasons(conn, {name for each in wanted.names.values() for name in each})

    def _wipe(
        self,
        conn: Connection,
        clean: Sequence[ErasureRequest],
        wanted: ScanTargets,
        report: ScanReport,
    ) -> tuple[dict[str, tuple[Hit, ...]], ScanReport]:
        """Wipe the names of these requests, and search the database as it is then. Those of which
        it still has something keep their names, and are returned with the findings."""
        left: dict[str, tuple[Hit, ...]] = {}
        while True:
            with conn.begin_nested() as wiped:
                transitions.wipe_names(conn, [each.id for each in clean if each.id not in left])
                found = ScanReporter()
                search_rows(conn, report.patterns, found)
                after = found.finish(report.traces, report.patterns)
                more = {
                    request.id: hits
                    for request in clean
                    if request.id not in left
                    and (hits := not_accepted(request, after.hits_of(wanted.names[request.id])))
                }
                if not more:
                    return left, after
                wiped.rollback()
            left |= more

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
        names = {request: set[str]() for request in ids}
        for row in (*rows, *(row for row in named if row.request_id in names)):
            names[row.request_id].add(row.name)
        return ScanTargets(
            sorted(found, key=lambda traces: (traces.record_id, traces.digest)),
            {request: frozenset(each) for request, each in names.items()},
            frozenset(r.name for r in named if r.what == "subject" and r.request_id in names),
            frozenset(row.name for row in named if row.request_id not in names),
        )

    def _statement(
        self,
        conn: Connection,
        request: ErasureRequest,
        scanned: dict[str, Any],
        exceptions: tuple[AcceptedFinding, ...],
        purged: int,
        manifest: Manifest,
    ) -> Statement:
        """What the certificate of one request says."""
        rows = conn.execute(
            select(erased.c.hash, erased.c.publication, erased.c.test).where(
                erased.c.request_id == request.id
            )
        ).all()
        numbers = {row.publication for row in rows} | {request.publication}
        steps = conn.execute(
            select(publications).where(publications.c.id.in_(numbers)).order_by(publications.c.id)
        ).all()
        done = [Facts.from_json(step.facts) for step in steps]
        seen, removed = sum(facts.seen for facts in done), sum(facts.removed for facts in done)
        limits = self._circumstances()
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
            scan={**scanned, **tested_only([row.test for row in rows])},
            transient=sentences_of(TRANSIENT, limits),
            backups=sentences_of(BACKUPS, limits),
            execution=ExecutionKind(limits.engine, limits.dialect),
            code=Code.running(),
            configuration=manifest.identity,
            backbone=manifest.backbone.identity,
            seed=self.flow.config.seed,
            numerics=tuple(each for facts in done for each in facts.numerics),
            times=times_of(request),
            ledger=ledger.head(conn),
            choice=ChoiceCount(seen, removed) if manifest.choice else None,
            exceptions=exceptions,
        )


def tested_only(noted: Sequence[bool | None]) -> dict[str, int]:
    """What a certificate says, beside the scan, of how many of the removed records were held out
    for testing, so that nothing was trained on them; nothing where that was not noted of all."""
    return {} if None in noted else {"test_records": noted.count(True)}


def terms_of(request: ErasureRequest) -> RequestTerms:
    """What a certificate says of a request and its deadline."""
    extended = to_text(request.extended_at) if request.extended_at else None
    return RequestTerms(request.id, to_text(request.received_at), to_text(request.due_at), extended)


def targets_of(conn: Connection, request: str) -> tuple[ErasedTarget, ...]:
    """What became of each target, as the database has it within this transaction."""
    columns = (targets.c.what, targets.c.hash, targets.c.outcome)
    rows = conn.execute(select(*columns).where(targets.c.request_id == request))
    return tuple(ErasedTarget(*row) for row in rows)


def not_accepted(request: ErasureRequest, hits: Sequence[Hit]) -> tuple[Hit, ...]:
    """The findings that hold a request back: those that no operator accepted."""
    accepted = {(each.place, each.trace, each.file) for each in accepted_in(request.exceptions)}
    return tuple(hit for hit in hits if (hit.place, hit.trace, hit.path) not in accepted)


def exceptions_among(request: ErasureRequest, hits: Sequence[Hit]) -> tuple[AcceptedFinding, ...]:
    """The accepted findings of a request that the scan still has, as its certificate names them."""
    there = {(hit.place, hit.trace, hit.path) for hit in hits}
    return tuple(
        AcceptedFinding(each.place, each.trace, each.file, each.accepted, each.reason)
        for each in accepted_in(request.exceptions)
        if (each.place, each.trace, each.file) in there
    )


def findings_of(hits: Sequence[Hit]) -> list[Finding]:
    """Findings as a request keeps them."""
    return [Finding(hit.place, hit.trace, hit.path) for hit in hits]


def refuse_traces(held: Mapping[str, Sequence[Hit]]) -> None:
    """Errors: `HeldBackError` where findings hold requests back."""
    if held:
        request, hits = next(iter(held.items()))
        more = f" and {len(held) - 1} more" if held.keys() - {request} else ""
        raise HeldBackError(f"{request}{more}: {held_reason(findings_of(hits))}")


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
