"""Intake: resolve received requests against the live records, then plan or refuse them.

    RECEIVED ─► its targets ─► its records, and their traces ─► one transaction:
                               for the absence scan             PLANNED, tombstones

A PLANNED request will be carried out, whatever crashes. A request that names an unknown id is
REFUSED as a whole.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from sqlalchemy import Connection, select

from lmeraser_ray.config import QueueConfig
from lmeraser_ray.erasure.queue.affected_constituents import PublishedState
from lmeraser_ray.erasure.queue.lease import Lease
from lmeraser_ray.erasure.queue.trace_gathering import gather_traces
from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import ErasureRequest, Outcome, State, Target
from lmeraser_ray.erasure.requests.transitions import ErasedRecord
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer, TargetKind
from lmeraser_ray.storage.database.tables import erased, tombstones
from lmeraser_ray.storage.database.tombstones import Tombstones
from lmeraser_ray.storage.times import utcnow

Covers = Callable[[Target], bool]

TOGETHER = 200
"""Requests that are planned in one transaction: others write to the database too."""
LEFT = erased.c.publication.is_(None)
"""Rows of records that have not left the published state."""
Planned = tuple[ErasureRequest, tuple[ErasedRecord, ...]]
"""A request, and its records that have not left the published state."""


@dataclass(frozen=True)
class Resolved:
    """A request against the live records. positions: of the records that leave, ascending;
    outcomes: of the targets, in their order."""

    positions: tuple[int, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def unknown(self) -> int:
        """How many targets are neither live nor were erased before."""
        return self.outcomes.count("unknown")


def resolve(current: PublishedState, targets: Sequence[Target], covers: Covers) -> Resolved:
    """Find the records of targets. covers: whether a target was erased before."""
    gone: set[int] = set()
    outcomes: list[Outcome] = []
    places = current.places(
        target.name for target in targets if target.what == "record" and target.name
    )
    for target in targets:
        name = target.name or ""
        found = (
            current.index.of_subject(name)
            if target.what == "subject"
            else [places[name]]
            if name in places
            else []
        )
        gone.update(found)
        outcomes.append("removed" if found else "already" if covers(target) else "unknown")
    return Resolved(tuple(sorted(gone)), tuple(outcomes))


def waits(received: datetime, now: datetime, window: float) -> bool:
    """Whether a request still waits for others to come, for `window` seconds. One that is from the
    future does not wait: the clock went back since, by who knows how much."""
    return now - timedelta(seconds=window) < received <= now


def unknown_reason(unknown: int, targets: int) -> str:
    """Why a request is refused. Names no ids, because the sentence is kept."""
    return (
        f"{unknown} of {targets} ids are neither in the workspace nor erased before: nothing was "
        "changed. Correct the ids and try again."
    )


@dataclass(frozen=True)
class Intake:
    """Plans or refuses the received requests of one workspace."""

    folder: WorkspaceFolder
    database: Database
    lease: Lease
    settings: QueueConfig

    def look(self, current: PublishedState, *, known: Container[str], hurry: bool) -> list[Planned]:
        """Plan or refuse the received requests, except those in `known`, that have waited for
        others to come for `queue.window` seconds (`waits`); with `hurry`, all. Returns the planned
        ones."""
        names = self.folder.names()
        received = RequestRepository(self.database, names).list({State.RECEIVED})
        now, window = utcnow(), 0.0 if hurry else self.settings.window
        ready = [
            request
            for request in received
            if request.id not in known and not waits(request.received_at, now, window)
        ]
        if not ready:
            return []
        covers = self._covers(names)
        found = [(request, resolve(current, request.targets, covers)) for request in ready]
        self._refuse([(request, resolved) for request, resolved in found if resolved.unknown])
        return self._plan(
            [(request, resolved) for request, resolved in found if not resolved.unknown], current
        )

    def _covers(self, names: Pseudonymizer) -> Covers:
        """Whether a target was erased before: also one whose name is wiped, and a subject all of
        whose records were named one by one."""
        stones = Tombstones(names, self.database)
        gone = ~LEFT | erased.c.hash.in_(select(tombstones.c.hash))  # a training took it out, too
        with self.database.read() as conn:
            people = set(conn.scalars(select(erased.c.subject).where(gone).distinct()))

        def covers(target: Target) -> bool:
            if stones.has(target.hash) or stones.covers(target.what, target.name or ""):
                return True
            mine = {target.hash, *names.hashes("subject", target.name or "")}
            return target.what == "subject" and not people.isdisjoint(mine)

        return covers

    def _refuse(self, found: Sequence[tuple[ErasureRequest, Resolved]]) -> None:
        """Refuse requests that name unknown ids."""
        if not found:
            return
        with self.lease.write() as conn:
            for request, resolved in found:
                reason = unknown_reason(resolved.unknown, len(request.targets))
                transitions.refuse_unknown(
                    conn, request.id, reason, outcomes_of(request, resolved, {"already", "unknown"})
                )
        self.database.vacuum_names()

    def _plan(
        self, found: Sequence[tuple[ErasureRequest, Resolved]], current: PublishedState
    ) -> list[Planned]:
        """Note which records leave, with tombstones over them."""
        if not found:
            return []
        names = self.folder.names()
        subjects = {
            t.name
            for request, _ in found
            for t in request.targets
            if t.what == "subject" and t.name
        }
        everyone = sorted({position for _, resolved in found for position in resolved.positions})
        traces = gather_traces(current, everyone, subjects)
        people = current.index.names("subject_id", np.array(everyone, np.int64))
        tested = current.index.test[everyone].tolist()
        named = list(zip(everyone, traces, people, tested, strict=True))
        rows = {
            (version, position): ErasedRecord(
                names.hash("record", each.record_id, version=version),
                each.record_id,
                each.to_bytes(),
                names.hash("subject", person, version=version),
                test,
            )
            for version in {request.secret for request, _ in found}
            for position, each, person, test in named
        }
        planned: list[Planned] = []
        for at in range(0, len(found), TOGETHER):
            with self.lease.write() as conn:
                for request, resolved in found[at : at + TOGETHER]:
                    leaving = tuple(
                        rows[request.secret, position] for position in resolved.positions
                    )
                    settled = (
                        {} if request.planned_at else outcomes_of(request, resolved, {"already"})
                    )  # else by its own tombstones
                    if transitions.plan(conn, request.id, leaving, settled).done:
                        planned.append(
                            (
                                request,
                                leaving if request.planned_at is None else noted(conn, request.id),
                            )
                        )
        return planned

    def resume(self) -> list[Planned]:
        """The requests that an earlier round planned and did not finish."""
        found = RequestRepository(self.database, self.folder.names()).list(
            State.where(lambda state: state.is_in_work)
        )
        with self.database.read() as conn:
            left = conn.execute(select(erased).where(LEFT)).all()
        rows: dict[str, list[ErasedRecord]] = {}
        for row in left:
            rows.setdefault(row.request_id, []).append(
                ErasedRecord(row.hash, row.name, row.needles)
            )
        return [(request, tuple(rows.get(request.id, ()))) for request in found]


def noted(conn: Connection, request: str) -> tuple[ErasedRecord, ...]:
    """The records of a request that was planned before which have not left the published state."""
    left = conn.execute(select(erased).where(LEFT, erased.c.request_id == request))
    return tuple(ErasedRecord(row.hash, row.name, row.needles) for row in left)


def outcomes_of(
    request: ErasureRequest, resolved: Resolved, which: Container[Outcome]
) -> dict[tuple[TargetKind, str], Outcome]:
    """The outcomes of a request's targets that are among `which`."""
    pairs = zip(request.targets, resolved.outcomes, strict=True)
    return {(target.what, target.hash): outcome for target, outcome in pairs if outcome in which}
